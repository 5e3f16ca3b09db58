"""What is wrong with a recipe, in the recipe's own words: a line for each problem, with its place and a hint."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from localpsych_recipes.errors import UserError, visible
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.recipe_file.extending import Document, Loc, Origin

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
    "dataset": "data.source",
    "system_prompt": "data.system",
}
# kinds of pydantic's errors -> what a recipe has there
EXPECTED = {
    "model_type": "keys with their values, indented below it",
    "dict_type": "keys with their values, indented below it",
    "tuple_type": "a list",
    "string_type": "text",
}
NO_TEXT = {"float_type": "a number", "int_type": "a whole number", "bool_type": "true or false"}
# pydantic names the branch of a union in the location; the reader of a recipe has no use for it
BRANCH = re.compile(r"str|int|float|constrained-.*|.*\[.*")
MOST = 20  # problems told; a file with more of them is some other file


class RecipeError(UserError):
    """Everything that is wrong with one recipe, a line each: file:line: key: what is wrong."""

    def __init__(self, path: Path | str, problems: list[str]) -> None:
        self.problems = problems
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        super().__init__(
            f"{path}: {count}\n" + "\n".join(f"  {p}" for p in problems),
            "a recipe as `python -m localpsych_recipes.recipe` describes it, such as gemma4-e4b-psych.yaml",
            "mend the lines above; `localpsych check` tries a recipe without running it",
        )


def problems(document: Document, error: ValidationError) -> list[str]:
    """The errors found, and the contradictions that only show once the offending keys are out of the way."""
    found = _errors(error)
    rest = copy.deepcopy(document.values)
    every = list(found)
    for _ in range(5):
        removed = [_remove(rest, e["loc"]) for e in found]
        if not any(removed):
            break
        try:
            Recipe.model_validate(rest)
            break
        except ValidationError as more:
            found = _errors(more)
            every += [e for e in found if e["type"] == "value_error" and e not in every and _new(e, every)]
    texts = [text for e in every for text in _texts(e)]
    located = sorted((_origin(text, document), text) for text in dict.fromkeys(texts))
    told = [f"{origin}: {text}" for origin, text in located[:MOST]]
    return told + ([f"and {len(located) - MOST:,} more"] if located[MOST:] else [])


def _errors(error: ValidationError) -> list[dict[str, Any]]:
    """Pydantic's errors, located by keys alone; the first of them, where there are more than anybody reads."""
    return [{**e, "loc": _keys(e)} for e in error.errors(include_url=False)[: 5 * MOST]]


def _keys(error: Mapping[str, Any]) -> Loc:
    *above, last = error["loc"] or ("",)
    kept = [part for part in above if not BRANCH.fullmatch(str(part))]
    own = error["type"] == "extra_forbidden" or not BRANCH.fullmatch(str(last))  # an unknown key may look like a branch
    return (*kept, last) if own and error["loc"] else tuple(kept)


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


def _origin(text: str, document: Document) -> Origin:
    """Where the key stands that a problem begins with, or the nearest section around it."""
    loc: Loc = tuple(int(p) if p.isdecimal() else p for p in text.partition(":")[0].split("."))
    return next(document.origins[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in document.origins)


def _texts(error: Mapping[str, Any]) -> list[str]:
    """One pydantic error as "key: what is wrong" texts in the recipe's own words."""
    loc: Loc = error["loc"]
    keys = ".".join(_short(visible(str(part))) for part in loc)
    kind, given = error["type"], error.get("input")
    if kind == "value_error":
        prefix = f"{keys}." if keys else ""
        return [prefix + problem for problem in str(error["ctx"]["error"]).splitlines()]
    if kind == "extra_forbidden":
        return [f"{keys}: unknown key{_did_you_mean(loc)}"]
    if kind == "missing":
        return [f"{keys}: missing{'; it is never taken over by `extends`' if keys == 'name' else ''}"]
    if kind == "literal_error":
        close = difflib.get_close_matches(str(given), [w.strip("'") for w in error["ctx"]["expected"].split(", ")], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return [f"{keys}: {_shown(given)} is not one of {error['ctx']['expected']}{hint}"]
    if kind == "too_short":
        return [f"{keys}: {error['ctx']['actual_length']} entries; {error['ctx']['min_length']} at least"]
    if kind in EXPECTED:
        quotes = "; put it in quotes" if kind == "string_type" and isinstance(given, (bool, int, float)) else ""
        return [f"{keys}: {_shown(given)}, expected {EXPECTED[kind]}{quotes}"]
    if isinstance(given, str) and kind in NO_TEXT:
        return [f"{keys}: {_shown(given)} is text, expected {NO_TEXT[kind]}, without quotes"]
    return [f"{keys}: {_shown(given)}: {error['msg'][0].lower()}{error['msg'][1:]}"]


def _shown(value: Any) -> str:
    words = {None: "nothing", True: "true", False: "false"}
    plain = value is None or isinstance(value, bool)
    text = words[value] if plain else "a mapping" if isinstance(value, dict) else repr(value)
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _did_you_mean(loc: Loc) -> str:
    key = str(loc[-1])[:60]
    if key in RENAMED:
        return f"; it is called {RENAMED[key]} here"
    section = _section_at(loc[:-1])
    here = list(section.model_fields) if section else []
    if close := difflib.get_close_matches(key, here, 1):
        return f"; did you mean {close[0]}?"
    homes = list(_homes(key, Recipe, ""))
    return f"; it belongs in {' or '.join(homes)}" if homes else f"; known here: {', '.join(here)}"


def _section_at(loc: Loc) -> type[BaseModel] | None:
    """The section that a key stands in; numbers of entries and names of the user's own, such as a quant's, are no keys."""
    section: type[BaseModel] | None = Recipe
    names = iter([part for part in loc if isinstance(part, str)])
    for name in names:
        field = section.model_fields.get(name) if section else None
        section = _section_of(section, name) if section else None
        if field and get_origin(field.annotation) is dict:
            next(names, None)
    return section


def _homes(key: str, section: type[BaseModel], path: str) -> Iterator[str]:
    """The sections that have the key: the outer ones alone, since in `data` a key also stands in each mixture entry."""
    for name in section.model_fields:
        if inner := _section_of(section, name):
            place = f"{path}.{name}".lstrip(".")
            yield from [place] if key in inner.model_fields else _homes(key, inner, place)


def _section_of(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = section.model_fields.get(name)
    options = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
