"""The recipe as it may leave this machine: resolved, pinned to commits, without paths and server addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from localpsych_recipes import __version__, recipe_file
from localpsych_recipes.recipe import Augment, Recipe, is_local

HERE = "the folder that you run this in"  # which paths in a recipe are relative to
_PRIVATE = re.compile(r"^(/|~|\.{1,2}/|[A-Za-z]:\\|[a-z][a-z0-9+.-]*://)")  # a path or an address


def dump(recipe: Recipe, pins: dict[str, Any]) -> str:
    """YAML that `recipe_file.load` reads: local files by name alone, their SHA-256 in comments above."""
    values = recipe.model_dump(mode="json")
    notes = _base(values["base"], pins["base"])
    sources = values["data"]["mixture"] or [values["data"]]
    for source, pin in zip(sources, pins["datasets"], strict=True):
        notes += _data(source, pin)
    if values["augment"]:
        values["augment"]["server"] = Augment.model_fields["server"].default  # whose it was is nobody's business
    for stage in ("sft", "dpo"):
        if values[stage]:
            values[stage]["trainer"] = _public(values[stage]["trainer"])
    head = [f"# {recipe.name} {recipe.version}, made by localpsych-recipes {__version__}; run it again with", "#",
            "#   accelerate launch -m localpsych_recipes recipe.yaml", *(f"#\n# {note}" for note in notes)]  # fmt: skip
    return "\n".join(head) + "\n\n" + recipe_file.dump(Recipe.model_validate(values))


def _base(base: dict[str, Any], pin: dict[str, Any]) -> list[str]:
    local = pin.get("local")
    if not local and not is_local(base["model"]):
        base["revision"] = pin.get("commit") or base["revision"]
        return []
    name = file_name((local or {}).get("name") or base["model"])
    base["model"] = base["hub_id"] or f"./{name}"
    base["revision"] = None
    where = f"this fetches {base['hub_id']} as it is now" if base["hub_id"] else f"put that folder into {HERE}"
    return [f"The base was the local folder {name}{_digest(local)}; {where}."]


def _data(data: dict[str, Any], pin: dict[str, Any]) -> list[str]:
    if pin.get("id"):
        data["revision"] = pin.get("commit") or data["revision"]
        return []
    name = file_name(pin.get("file") or data["source"])
    data["source"], data["revision"] = f"./{name}", None
    return [f"The rows were those of {name}{_digest(pin)}; put that file into {HERE}."]


def _digest(pin: dict[str, Any] | None) -> str:
    digest = (pin or {}).get("sha256")
    return f" (sha256 {digest})" if isinstance(digest, str) else ""


def _public(value: Any) -> Any:
    """Without the strings that are a path or an address, wherever they stand."""
    if isinstance(value, dict):
        return {k: _public(v) for k, v in value.items() if not _is_private(v)}
    if isinstance(value, list):
        return [_public(v) for v in value if not _is_private(v)]
    return value


def _is_private(value: Any) -> bool:
    return isinstance(value, str) and bool(_PRIVATE.match(value))


def file_name(source: str) -> str:
    """The last part of a path or an address, without the address's query, which may hold a key."""
    return "".join(c if c.isprintable() else "_" for c in Path(source.partition("?")[0]).name)
