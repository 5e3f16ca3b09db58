"""Pins the base and the dataset to commits, downloads them, and writes the rows that the later stages read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from localpsych_recipes import data, families, hub, models, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.hub.reading import Kind
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Base, Data, is_local


def run(run: Run) -> dict[str, Any]:
    """Results: the pins and the counts of rows. Nothing is written before base and rows have both been read."""
    from datasets import disable_progress_bars

    before = rundir.read_json(run.dir.pins) or {}  # what the Hub said, without the recipe's own licences
    pins = {"base": _pin_base(run.recipe.base, before), "dataset": _pin_dataset(run.recipe.data, before)}
    disable_progress_bars()
    prepared = data.prepare(run.recipe.data, revision=pins["dataset"].get("commit"))
    run.say("      " + data.describe(prepared.counts))
    refuse_system_turn(run.recipe.data, models.base_folder(run.recipe.base, pins))
    rundir.write_json(run.dir.pins, pins)
    shutil.rmtree(run.dir.cache, ignore_errors=True)
    with rundir.replacing(run.dir.data) as folder:
        data.write(prepared, folder)
    return {"counts": prepared.counts, "pins": pins}


def refuse_system_turn(rows: Data, base: Path) -> None:
    """UserError where the system prompt would stand in a turn that the base's chat template does not know."""
    model_type = json.loads((base / "config.json").read_text(encoding="utf-8"))["model_type"]
    if rows.system and rows.system_in == "system" and not families.of(model_type).system_turn:
        raise UserError(
            f"data.system_in: system, with a base of type {model_type}",
            "a place that its chat template knows: it raises on a system turn",
            "set data.system_in: user",
        )


def _pin_base(base: Base, before: dict[str, Any]) -> dict[str, Any]:
    asked = {"model": base.model, "revision": base.revision}
    if is_local(base.model):
        folder = Path(base.model).expanduser()
        local = {"name": folder.name, "sha256": rundir.fingerprint(rundir.source_identity(folder))}
        said = hub.card_license(folder)
        return {"model": base.hub_id, "commit": None, **said, "local": local, "asked": asked}
    return _pin(base.model, "model", base.revision, asked, before.get("base"))


def _pin_dataset(rows: Data, before: dict[str, Any]) -> dict[str, Any]:
    asked = {"model": rows.source, "revision": rows.revision}
    if is_local(rows.source):
        path = Path(rows.source).expanduser()
        identity = rundir.source_identity(path)
        return {"id": None, "commit": None, "file": path.name, "sha256": identity, "license": None}
    if rows.source.startswith(("http://", "https://")):
        # without the query, which may hold a key
        return {"id": None, "commit": None, "file": Path(urlsplit(rows.source).path).name, "license": None}
    return _pin(rows.source, "dataset", rows.revision, asked, before.get("dataset"))


def _pin(
    repo_id: str, kind: Kind, revision: str | None, asked: dict[str, Any], before: dict[str, Any] | None
) -> dict[str, Any]:
    """The commit of the first run is kept as long as the recipe asks for the same thing."""
    if before and before.get("asked") == asked:
        return before
    pin = hub.pin(repo_id, kind, revision)
    return {
        "model" if kind == "model" else "id": repo_id,
        "commit": pin.commit,
        "license": pin.license,
        "license_name": pin.license_name,
        "license_link": pin.license_link,
        "asked": asked,
    }
