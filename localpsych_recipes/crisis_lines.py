"""Outdated and wrong help lines in training texts and recipes. Which these are stands in model_cards/crisis.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from localpsych_recipes.recipe import Recipe, Source
from localpsych_recipes.resources import resource

# between two digits: spaces, dots and hyphens of every kind
_GAP = r"[\s./·•_*\-\u00ad\u200b\u2010-\u2015\u2212\ufe58\ufe63\uff0d]{0,3}"
# no further digit before it, at once or behind a hyphen, and no country code but its own
_NOT_BEFORE = (
    r"(?<![\d+])(?<!\d[-.\u2010-\u2015])(?<!\+\d[\s-])(?<!\+\d\d[\s-])(?<!\+\d\d\d[\s-])(?<!\(0\))(?<!\(0\)\s)"
)
_NOT_AFTER = r"(?![-.\u2010-\u2015]?\d)"
# most texts hold nothing like it, and a million of them pass through here
_A_NUMBER = re.compile(r"(?:\d[\W_]{0,4}){6}")


@dataclass(frozen=True)
class Outdated:
    """One help line that should no longer be named. pattern: every way of writing it; now: what stands in its place."""

    name: str
    pattern: re.Pattern[str]
    now: str


def find(text: str) -> list[str]:
    """The names of the outdated help lines in a text, each as often as it occurs, "1-800-... (TALK)" once."""
    if not _A_NUMBER.search(text):
        return []
    return [line.name for line in _outdated() for _ in line.pattern.finditer(text)]


def replace(text: str) -> str:
    """The text with today's line in the place of every outdated one; "988 or 1-800-..." becomes "988" alone."""
    if _A_NUMBER.search(text):
        for line in _outdated():
            text = line.pattern.sub(line.now, text)
    return text


def in_recipe(recipe: Recipe) -> dict[str, list[str]]:
    """Name of an outdated line -> keys of the recipe whose text holds it. They are mended by hand, where they stand."""
    found: dict[str, list[str]] = {}
    for key, text in _texts(recipe):
        for name in dict.fromkeys(find(text)):
            found.setdefault(name, []).append(key)
    return found


def warnings(recipe: Recipe) -> list[str]:
    """One line for each outdated help line in the recipe's own words; none where the recipe has them replaced."""
    found = in_recipe(recipe) if recipe.data.crisis_lines == "report" else {}
    return [
        f"warning: {', '.join(keys)}: an outdated help line ({name}); today's stand in model_cards/crisis.yaml"
        for name, keys in found.items()
    ]


def _texts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Keys and texts of a recipe that become part of what a model reads or writes."""
    if recipe.data.system:
        yield "data.system", recipe.data.system
    for number, source in enumerate(recipe.data.sources):
        place = f"data.mixture[{number}]" if recipe.data.mixture else "data"
        yield from ((f"{place}.{key}", text) for key, text in _texts_of(source))
    if recipe.augment:
        yield from (("augment.prompt", recipe.augment.prompt), ("augment.answer", recipe.augment.answer))


def _texts_of(source: Source) -> Iterator[tuple[str, str]]:
    yield from ((f"columns.{part}", template) for part, template in source.columns.parts.items())
    for column, words in source.labels.items():
        yield from ((f"labels.{column}", text) for text in words.values())


@cache
def _outdated() -> tuple[Outdated, ...]:
    from ruamel.yaml import YAML

    entries = YAML(typ="safe", pure=True).load(resource("model_cards", "crisis.yaml"))["outdated"]
    return tuple(Outdated(entry["name"], _pattern(entry), entry["now"]) for entry in entries)


def _pattern(entry: dict[str, Any]) -> re.Pattern[str]:
    """The number in every way of writing, with the same number once more, or today's, right beside it."""
    words = "".join(rf"|{word}(?!\w)" for word in entry.get("words", ()))
    last = rf"(?:{_spaced(entry['number'][-1])}{_NOT_AFTER}{words})"
    first, *middle = map(_spaced, entry["number"][:-1])
    prefix = "|".join(rf"(?:\+|00)?{_spaced(p)}{_GAP}(?:\(0\){_GAP})?" if p else "" for p in entry["prefixes"])
    one = _GAP.join([rf"(?:{prefix})(?:\({first}\)|{first})", *middle, last])
    now = rf"{_spaced(entry['now'].replace(' ', ''))}(?!\d)"
    before = rf"(?:(?<!\d){now}\s*(?:or|/|,)\s*)?"
    after = rf"(?:\s*\(\s*(?:{one}|{last}|{now})\s*\)|\s*(?:or|/)\s*(?:{one}|{now}))?"
    # the look ahead alone decides at nearly every position, which is ten times as fast
    return re.compile(rf"(?=[+(\d]){before}{_NOT_BEFORE}{one}{after}", re.IGNORECASE)


def _spaced(digits: str) -> str:
    return _GAP.join(re.sub(r"\D", "", digits))
