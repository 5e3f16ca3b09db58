"""Pins the base and the dataset to commits, downloads them, and writes the rows that the later stages read."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from localpsych_recipes import data, families, hub, licences, models, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.hub.reading import Kind
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Base, Data, Source, is_local


def run(run: Run) -> dict[str, Any]:
    """Results: the pins and the counts of rows. Nothing is written before base and rows have both been read."""
    from datasets import disable_progress_bars

    rows, before = run.recipe.data, rundir.read_json(run.dir.pins) or {}  # without the recipe's own licences
    pins = {
        "base": _pin_base(run.recipe.base, before.get("base")),
        "datasets": [_pin_dataset(source, before.get("datasets", ())) for source in rows.sources],
    }
    disable_progress_bars()
    # the rows first: what is wrong with them shows before gigabytes of weights are fetched
    small = models.tokenizer_folder(run.recipe.base, pins["base"]["commit"])
    refuse_system_turn(rows, small)
    tokenizer, template = models.load_tokenizer(small), families.of(families.type_of(small)).chat_template_kwargs
    commits, fetched = [pin["commit"] for pin in pins["datasets"]], {}
    tokens = data.token_counter(tokenizer, template)
    prepared = data.prepare(rows, commits, tokens=tokens, fetched=fetched, say=run.say)
    for source, pin in zip(rows.sources, pins["datasets"], strict=True):
        if source.source in fetched:  # an address has no commits: what stood there is known by its digest
            pin["sha256"] = fetched[source.source]
    run.say(f"      {data.describe(prepared.counts)}; more in {run.dir.data.name}/report.txt")
    keep_agreements(run, models.base_folder(run.recipe.base, pins))
    rundir.write_json(run.dir.pins, pins)
    shutil.rmtree(run.dir.cache, ignore_errors=True)
    with rundir.replacing(run.dir.data) as folder:
        data.write(prepared, folder)
        lengths = data.count_lengths(folder, tokenizer, template, say=run.say)
        rundir.write_json(folder / "lengths.json", lengths)
        data.write_report(folder, run.recipe, prepared.counts, lengths)
    return {"counts": prepared.counts, "pins": pins}


def keep_agreements(run: Run, base: Path) -> None:
    """The base's LICENSE, NOTICE and the like: they go with whatever is released."""
    with rundir.replacing(run.dir.agreements) as folder:
        for path in licences.agreement_files(base):
            shutil.copyfile(path, folder / path.name)


def refuse_system_turn(rows: Data, base: Path) -> None:
    """UserError where the system prompt would stand in a turn that the base's chat template does not know."""
    model_type = families.type_of(base)
    if rows.system and rows.system_in == "system" and not families.of(model_type).system_turn:
        raise UserError(
            f"data.system_in: system, with a base of type {model_type}",
            "a place that its chat template knows: it raises on a system turn",
            "set data.system_in: user",
        )


def _pin_base(base: Base, before: dict[str, Any] | None) -> dict[str, Any]:
    asked = {"model": base.model, "revision": base.revision}
    if is_local(base.model):
        folder = Path(base.model).expanduser()
        local = {"name": folder.name, "sha256": rundir.fingerprint(rundir.source_identity(folder))}
        said = hub.card_license(folder)
        return {"model": base.hub_id, "commit": None, **said, "local": local, "asked": asked}
    return _pin(base.model, "model", base.revision, asked, before)


def _pin_dataset(rows: Source, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    asked = {"model": rows.source, "revision": rows.revision}
    nothing = {"id": None, "commit": None, "license": None, "license_name": None, "license_link": None}
    if is_local(rows.source):
        path = Path(rows.source).expanduser()
        return {**nothing, "file": path.name, "sha256": rundir.source_identity(path)}
    if rows.source.startswith(("http://", "https://")):
        # without the query, which may hold a key
        return {**nothing, "file": Path(urlsplit(rows.source).path).name}
    return _pin(
        rows.source, "dataset", rows.revision, asked, next((p for p in before if p.get("asked") == asked), None)
    )


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
