"""The only reader and writer of YAML: text -> values with line numbers -> a checked `Recipe`, or all errors at once."""

from __future__ import annotations

import copy
import difflib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import STAGE_SECTIONS, Recipe
from localpsych_recipes.resources import resource

MAX_BYTES = 1_000_000  # a recipe is a page or two; anything larger is some other file
# what people write -> the key of today, from the renamings that broke recipes elsewhere
RENAMED = {
    "max_seq_length": "max_length",
    "model_name_or_path": "base.model",
    "load_in_4bit": "base.quantization: nf4",
    "load_in_8bit": "base.quantization: int8",
    "quantisation": "quantization",
    "licence": "license",
    "warmup_ratio": "warmup_steps",
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "rank": "r",
}
Loc = tuple[str | int, ...]


class RecipeError(UserError):
    """Everything that is wrong with one recipe, a line each: file:line: key: what is wrong."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.problems = problems
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        super().__init__(
            f"{path}: {count}\n" + "\n".join(f"  {p}" for p in problems),
            "a recipe as `python -m localpsych_recipes.recipe` describes it, such as gemma4-e4b-psych.yaml",
            "mend the lines above; `localpsych check` tries a recipe without running it",
        )


def load(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads, overrides and checks a recipe.

    overrides: "section.key=value" strings as given to --set; the value is YAML (`1e-4`, `[a, b]`, `null`, `false`).
    Raises RecipeError with every problem at once, or UserError for a file that cannot be read.
    """
    path = find(Path(path))
    text = _read(path)
    values, lines = _parse(path, text)
    for override in overrides:
        _override(values, lines, override)
    _stages_off(values)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(path, _all_problems(path, values, lines, error)) from None


def shipped_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in resource("recipes").glob("*.yaml"))


def find(path: Path) -> Path:
    """The file itself, else the recipe that ships with the package under that name: recipes/NAME.yaml, or NAME."""
    shipped = resource("recipes") / path.with_suffix(".yaml").name
    by_name = not path.exists() and path.parent in (Path(), Path("recipes"))
    return shipped if by_name and shipped.is_file() else path


def dump(recipe: Recipe) -> str:
    """The fully resolved recipe as YAML; `load` reads it back to an equal recipe."""
    values = recipe.model_dump(mode="json")
    values = {k: v for k, v in values.items() if not (k in STAGE_SECTIONS and v is None)}
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(values, out)
    return out.getvalue()


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: {path.stat().st_size} bytes", "a recipe of at most 1 MB", "name a recipe file")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(
            f"{path}: cannot be read ({reason})",
            "a YAML recipe",
            f"check the path; these ship with the package: {', '.join(shipped_names())}",
        ) from None


def _parse(path: Path, text: str) -> tuple[dict[str, Any], dict[Loc, int]]:
    yaml = YAML(typ="safe", pure=True)  # YAML 1.2: 2e-4 is a number, `on` and `no` are words
    try:
        node = yaml.compose(text)
        if node is not None:
            _refuse_aliases(text)
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise RecipeError(path, [f"{where}: not YAML: {error.problem}"]) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(path, [f"not YAML: {(str(error) or type(error).__name__).splitlines()[0]}"]) from None
    if not isinstance(values, dict):
        raise RecipeError(path, [f"line 1: a {type(values).__name__}, not a mapping of keys"])
    lines: dict[Loc, int] = {}
    _collect_lines(node, (), lines)
    return values, lines


def _refuse_aliases(text: str) -> None:
    # an alias can make ten lines of YAML a gigabyte of values, and no recipe needs one
    for event in YAML(typ="safe", pure=True).parse(text):
        if type(event).__name__ == "AliasEvent":
            raise MarkedYAMLError(problem="aliases (*name) are not allowed in a recipe", problem_mark=event.start_mark)


def _collect_lines(node: Node, loc: Loc, lines: dict[Loc, int]) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        for key, value in node.value:
            lines[(*loc, key.value)] = key.start_mark.line + 1
            _collect_lines(value, (*loc, key.value), lines)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, (*loc, index), lines)


def _override(values: dict[str, Any], lines: dict[Loc, int], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = tuple(key.strip().split("."))
    if not equals or not all(parts):
        raise UserError(f"--set {override}", "--set section.key=value", "write it as in --set sft.learning_rate=1e-4")
    try:
        value = YAML(typ="safe", pure=True).load(text) if text.strip() else None
    except (YAMLError, RecursionError, ValueError):
        raise UserError(
            f"--set {override}", "a YAML value behind the =", "quote it, as in --set 'name=\"x\"'"
        ) from None
    target = values
    for part in parts[:-1]:
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[parts[-1]] = value
    lines[parts] = 0  # 0: from the command line


def _stages_off(values: dict[str, Any]) -> None:
    """`merge:` with nothing behind it is a stage with its defaults; `merge: false` is none."""
    for name in STAGE_SECTIONS:
        if name in values and values[name] is None:
            values[name] = {}
        elif values.get(name) is False:
            values[name] = None


def _all_problems(path: Path, values: dict[str, Any], lines: dict[Loc, int], error: ValidationError) -> list[str]:
    """The errors found, and the contradictions that only show once the offending keys are out of the way."""
    found = error.errors()
    rest = copy.deepcopy(values)
    problems = list(found)
    for _ in range(5):
        if not any([_remove(rest, e["loc"]) for e in found]):
            break
        try:
            Recipe.model_validate(rest)
            break
        except ValidationError as more:
            found = more.errors()
            problems += [e for e in found if e["type"] == "value_error" and e not in problems and _new(e, problems)]
    texts = [text for e in problems for text in _texts(e)]
    located = sorted((_line(text, lines), text) for text in dict.fromkeys(texts))
    return [_located(path, line, text) for line, text in located]


def _new(error: Mapping[str, Any], problems: list[Any]) -> bool:
    """False for a contradiction that merely follows from a key taken out for another error."""
    removed = {str(part) for p in problems for part in p["loc"][-1:]}
    return not any(word.strip("`,.:;").split(".")[-1] in removed for word in str(error["msg"]).split())


def _remove(values: Any, loc: Loc) -> bool:
    for part in loc[:-1]:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    if isinstance(values, dict) and loc and loc[-1] in values:
        del values[loc[-1]]
        return True
    return False


def _line(text: str, lines: dict[Loc, int]) -> int:
    """The line of the key that a problem begins with, or of the nearest section around it."""
    loc: Loc = tuple(int(p) if p.isdecimal() else p for p in text.partition(":")[0].split("."))
    return next(lines[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in lines)


def _located(path: Path, line: int, text: str) -> str:
    return f"--set: {text}" if line == 0 else f"{path}:{line}: {text}"


def _texts(error: Mapping[str, Any]) -> list[str]:
    """One pydantic error as "key: what is wrong" texts in the recipe's own words."""
    loc: Loc = error["loc"]
    keys = _dotted(loc)
    kind, given = error["type"], error.get("input")
    if kind == "value_error":
        prefix = f"{keys}." if keys else ""
        return [prefix + problem for problem in str(error["ctx"]["error"]).splitlines()]
    if kind == "extra_forbidden":
        return [f"{keys}: unknown key{_did_you_mean(loc)}"]
    if kind == "missing":
        return [f"{keys}: missing"]
    if kind == "literal_error":
        close = difflib.get_close_matches(str(given), [w.strip("'") for w in error["ctx"]["expected"].split(", ")], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return [f"{keys}: {_shown(given)} is not one of {error['ctx']['expected']}{hint}"]
    if isinstance(given, str) and kind in ("float_type", "int_type", "bool_type"):
        return [f"{keys}: {_shown(given)} is text, expected a {kind.removesuffix('_type')}; write it without quotes"]
    return [f"{keys}: {_shown(given)}: {error['msg'][0].lower()}{error['msg'][1:]}"]


def _dotted(loc: Loc) -> str:
    # pydantic names the branch of a union in the location; the reader of a recipe has no use for it
    kept = [str(p) for p in loc if not (isinstance(p, str) and (p in ("str", "int", "float") or "[" in p))]
    return ".".join(kept)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, dict) else "a mapping"
    return text if len(text) <= 60 else text[:57] + "..."


def _did_you_mean(loc: Loc) -> str:
    key = str(loc[-1])
    if key in RENAMED:
        return f"; it is called {RENAMED[key]} here"
    section: type[BaseModel] | None = Recipe
    for part in loc[:-1]:
        section = _section_of(section, str(part)) if section else None
    here = list(section.model_fields) if section else []
    if close := difflib.get_close_matches(key, here, 1):
        return f"; did you mean {close[0]}?"
    homes = [n for n in Recipe.model_fields if (s := _section_of(Recipe, n)) and key in s.model_fields]
    return f"; it belongs in {' or '.join(homes)}" if homes else f"; known here: {', '.join(here)}"


def _section_of(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = section.model_fields.get(name)
    options = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
