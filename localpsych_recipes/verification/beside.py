"""What lies beside the weights and changes what a model says: the base that an adapter names, settings, other weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localpsych_recipes import rundir
from localpsych_recipes.merging.shards import weight_files
from localpsych_recipes.recipe import Base, is_local
from localpsych_recipes.verification.release import CONFIG

ENDS = "eos_token_id"  # of generation_config.json: the merge may add the end of a turn; hop stops judges it
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf"}


def other_base(adapter: Path, base: Base) -> str | None:
    """What is wrong with the base that an adapter's configuration has PEFT load it on; None if nothing is."""
    settings = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    named, expected = settings["base_model_name_or_path"], base.hub_id or base.model
    if named != expected and not (is_local(expected) and "/" not in named):  # by its folder's name, until it has an id
        return f"{CONFIG} names another base than the recipe"
    if settings.get("revision") not in (None, base.revision):
        return f"{CONFIG} names another revision of the base than the recipe"
    return None


def other_settings(merged: Path, base: Path) -> str | None:
    """The settings or code of a merged model that are not the base's; None if all are."""
    names = ["config.json", *sorted(path.relative_to(merged).as_posix() for path in merged.rglob("*.py"))]
    other = [name for name in names if _bytes(merged / name) != _bytes(base / name)]
    other += ["generation_config.json"] * (_generation(merged) != _generation(base))
    return f"{', '.join(other)}: not the base's" if other else None


def stray_weights(merged: Path) -> str | None:
    """Weights in a model's folder that are none of it, and that somebody's loader may prefer; None without any."""
    own = {path.name for path in weight_files(merged)}
    stray = sorted(
        p.name for p in merged.rglob("*") if p.suffix in WEIGHTS and not (p.parent == merged and p.name in own)
    )
    return f"{', '.join(stray)}: no weights of this model" if stray else None


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _generation(folder: Path) -> dict[str, Any]:
    settings = rundir.read_json(folder / "generation_config.json") or {}
    return {key: value for key, value in settings.items() if key != ENDS}
