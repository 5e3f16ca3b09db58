"""By what a proven file is known again when it is published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from localpsych_recipes import licences
from localpsych_recipes.pipeline import Run
from localpsych_recipes.verification.hops import ALL, Kind
from localpsych_recipes.verification.release import digest

BY_THE_CARD = ("README.md", "recipe.yaml", "results.json", "curves.png")  # written after the proof, beside agreements
Digests = Mapping[str, str]  # path in a release folder -> hex SHA-256


def files(run: Run) -> dict[Kind, Digests]:
    """The files of the release as they lie there now, by kind, but for those that the card stage writes."""
    makes: dict[Kind, bool] = {"adapter": True, "merged": bool(run.recipe.merge), "gguf": bool(run.recipe.gguf)}
    return {kind: _of_folder(run.dir.release(kind)) for kind in ALL if makes[kind]}


def proves(name: str) -> bool:
    """Whether a file of a release is one that has to be proven."""
    return name not in BY_THE_CARD and not licences.AGREEMENTS.fullmatch(name)


def other(proven: Digests, now: Digests) -> list[str]:
    """Names of files that are not as they were, are new, or are gone."""
    return sorted(name for name in proven.keys() | now.keys() if proven.get(name) != now.get(name))


def _of_folder(folder: Path) -> Digests:
    names = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: digest(path) for name, path in names.items() if proves(name)}
