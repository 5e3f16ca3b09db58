"""Which file a recipe is, and what it extends -> one checked `Recipe`, with the place of every value that was given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from localpsych_recipes import hub
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import STAGE_SECTIONS, Recipe
from localpsych_recipes.recipe_file import yaml_text
from localpsych_recipes.recipe_file.errors import RecipeError, problems
from localpsych_recipes.recipe_file.extending import HUB, Document, Origin, foreign_places, merged
from localpsych_recipes.recipe_file.yaml_text import Origins, dump
from localpsych_recipes.resources import resource

__all__ = ["Origins", "RecipeError", "dump", "find", "is_address", "load", "load_with_origins", "shipped_names"]

MAX_BYTES = 1_000_000  # a recipe is a page or two; anything larger is some other file
COMMAND_LINE = Origin(0, 0, "--set")


def load(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads a recipe and what it extends, overrides and checks it.

    path:      a file, a shipped recipe's name, or hf://USER/REPO[@REVISION], the recipe of a published release.
    overrides: "section.key=value" strings as given to --set; the value is YAML (`1e-4`, `[a, b]`, `null`, `false`).
    Raises RecipeError with every problem at once, or UserError for a file that cannot be read.
    """
    return load_with_origins(path, overrides)[0]


def load_with_origins(path: str | Path, overrides: Iterable[str] = ()) -> tuple[Recipe, Origins]:
    """The recipe, as `load` makes it, and where each value that was given stands; the others are defaults."""
    document = _with_what_it_extends(str(path) if is_address(path) else find(path))
    for override in overrides:
        _override(document, override)
    _stages_off(document.values)
    try:
        return Recipe.model_validate(document.values).without_unused_sources(), document.origins
    except ValidationError as error:
        raise RecipeError(document.where, problems(document, error)) from None


def shipped_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in resource("recipes").glob("*.yaml"))


def is_address(path: str | Path) -> bool:
    """Whether a recipe is named by its repository, hf://USER/REPO[@REVISION]. UserError for an address that is none."""
    if HUB.fullmatch(str(path)):
        return True
    if str(path).casefold().startswith("hf:"):
        expected = "hf://USER/REPO or hf://USER/REPO@REVISION, a published release"
        raise UserError(f"{path} is no address of a repository", expected, "check the address")
    return False


def find(path: str | Path) -> Path:
    """The file itself, else the recipe that ships with the package under that name: recipes/NAME.yaml, or NAME."""
    path = Path(path)
    by_name = not os.path.exists(path) and path.parent in (Path(), Path("recipes"))
    return _shipped(path.name) or path if by_name else path


def _with_what_it_extends(place: Path | str | None) -> Document:
    """The recipe over its origin, that over its own, and so on; `where` stays the recipe's own."""
    chain: list[tuple[Document, bool]] = []
    while place is not None:
        document = _document(place, depth=len(chain) + 1)
        seen = [earlier.where for earlier, _ in chain]
        if document.where in seen:
            raise RecipeError(seen[0], [f"extends: goes round in a circle, {' -> '.join([*seen, document.where])}"])
        chain.append((document, not isinstance(place, Path)))
        place = _extended(document, None if isinstance(place, str) else place.parent)
    result, foreign = chain.pop()
    while chain:
        child, child_foreign = chain.pop()
        result, foreign = merged(child, result, foreign=foreign), child_foreign
    return result


def _extended(document: Document, folder: Path | None) -> Path | str | None:
    """What a document extends: a file, an hf:// address, or None."""
    if "extends" not in document.values:
        return None
    origin, name = document.origins[("extends",)], document.values.pop("extends")
    if isinstance(name, str) and HUB.fullmatch(name):
        return name
    if isinstance(name, str) and name:
        beside = folder / name if folder else None  # a repository's recipe has no files beside it
        if beside and os.path.isfile(beside):  # Path.is_file raises on a name that is too long
            return beside
        if not Path(name).parent.name and (shipped := _shipped(name)):
            return shipped
    known = f"none of those that ship with the package ({', '.join(shipped_names())})"
    problem = f"{name!r} is no file beside this recipe, {known} and not hf://USER/REPO[@REVISION]"
    raise RecipeError(document.where, [f"{origin}: extends: {problem}"])


def _shipped(name: str) -> Path | None:
    path = resource("recipes") / f"{name.removesuffix('.yaml')}.yaml"
    return path if os.path.isfile(path) else None


def _document(place: Path | str, depth: int) -> Document:
    """place: a file, or the address of a published recipe."""
    where, path = (place, _published(place)) if isinstance(place, str) else (_shown(place), place)
    document = yaml_text.parse(where, depth, _read(path))
    if isinstance(place, str) and (problems := list(foreign_places(document))):
        raise RecipeError(where, problems)
    return document


def _published(address: str) -> Path:
    found = HUB.fullmatch(address)
    return hub.recipe_file(found["repo"], found["revision"])


def _shown(path: Path) -> str:
    """A path as it may be typed here: relative if it lies below this folder, of a shipped recipe its name alone."""
    path = Path(os.path.abspath(path))
    if path.is_relative_to(Path.cwd()):
        return path.relative_to(Path.cwd()).as_posix()
    by_name = Path("recipes", path.name)
    return by_name.as_posix() if find(by_name) == path else str(path)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:  # no more of it: a device or a pipe says no size, and never ends
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: more than 1 MB", "a recipe of at most 1 MB", "name a recipe file")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(
            f"{path}: cannot be read ({reason})",
            "a YAML recipe",
            f"check the path; these ship with the package: {', '.join(shipped_names())}",
        ) from None


def _override(document: Document, override: str) -> None:
    key, equals, text = override.partition("=")
    loc = _located(document.values, key.strip().split("."))
    if not equals or "" in loc:
        raise UserError(f"--set {override}", "--set section.key=value", "write it as in --set sft.learning_rate=1e-4")
    if loc == ("extends",):
        raise UserError(f"--set {override}", "keys of the recipe itself", "write `extends` into a file of your own")
    try:
        document.set(loc, yaml_text.value(text), COMMAND_LINE)
    except (IndexError, TypeError):  # a list's entries have numbers
        do = "count the entries from 0"
        raise UserError(f"--set {override}", "the number of an entry that is there", do) from None
    except ValueError:
        do = "quote it, as in --set 'name=\"x\"'"
        raise UserError(f"--set {override}", "a YAML value behind the =", do) from None


def _located(values: Any, parts: list[str]) -> tuple[str | int, ...]:
    """The place that a dotted key means: "data.mixture.0.weight" is of the first entry of a list."""
    loc: list[str | int] = []
    for part in parts:
        loc.append(int(part) if isinstance(values, list) and part.isdecimal() else part)
        try:
            values = values[loc[-1]]
        except (LookupError, TypeError):
            values = None
    return tuple(loc)


def _stages_off(values: dict[str, Any]) -> None:
    """`merge:` with nothing behind it is a stage with its defaults; `merge: false` is none."""
    for name in STAGE_SECTIONS:
        if name in values and values[name] is None:
            values[name] = {}
        elif values.get(name) is False:
            values[name] = None
