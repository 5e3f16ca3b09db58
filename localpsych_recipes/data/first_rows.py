"""What is asked of the first rows of a dataset: which column a name means, and what its cells are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from localpsych_recipes.data.peek import Peek
from localpsych_recipes.recipe.data import columns_of

# the names that columns go by, without case and punctuation; where two fit, the earlier in this list
NAMES = {
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat"),
    "prompt": (
        "prompt",
        "question",
        "questiontext",
        "instruction",
        "query",
        "context",
        "user",
        "human",
        "patient",
        "input",
    ),
    "response": ("response", "answer", "answertext", "output", "completion", "reply", "assistant", "therapist"),
    "chosen": ("chosen", "responsej", "preferred", "better", "positive"),
    "rejected": ("rejected", "responsek", "dispreferred", "worse", "negative"),
    "score": ("score", "upvotes", "votes", "rating", "likes"),
    "text": ("text", "post", "sentence", "statement", "tweet", "selftext", "body", "content"),
    "label": ("label", "labels", "emotion", "class", "category", "sentiment", "status"),
}
MOST_LABELS = 30  # different values; a column with more holds names or texts
LONGEST_LABEL = 40  # characters
SPEAKERS = ("user", "human", "patient", "assistant", "therapist")  # so named, a column can also hold ids or names
VERDICTS = {"true", "false", "0", "1", "good", "bad", "chosen", "rejected"}  # on an answer, as in KTO's sets
_TAG = re.compile(r"</?(p|br|div|span|a|li|ul|strong|em)\b[^>]*>", re.IGNORECASE)
WORSE = re.compile(r"reject|disprefer|worse|worst|negative|dismissive|bad|los(er|ing)", re.IGNORECASE)
NUMBER = re.compile(r"\s*[-+]?\d[\d.,]*\s*")


class FirstRows:
    """The first rows, by column."""

    def __init__(self, peek: Peek) -> None:
        self.peek = peek
        usable = [name for name in reversed(peek.columns) if columns_of(name) == (name,) and "\n" not in name]
        self.by_name = {_plain(name): name for name in usable}

    def cells(self, column: str | None) -> list[Any]:
        return [cell for record in self.peek.records if (cell := record.get(column)) not in (None, "", [])]

    def all(self, column: str, fits: Callable[[Any], bool]) -> bool:
        cells = self.cells(column)
        return bool(cells) and all(map(fits, cells))

    def candidates(self, part: str, fits: Callable[[Any], bool]) -> list[str]:
        """The columns that a part of this name could be, the likeliest first."""
        found = [self.by_name[name] for name in NAMES[part] if name in self.by_name]
        return [
            column for column in found if self.all(column, fits) and (fits is not is_text or self.says(column, part))
        ]

    def named(self, part: str, fits: Callable[[Any], bool]) -> str | None:
        return next(iter(self.candidates(part, fits)), None)

    def says(self, column: str, part: str) -> bool:
        """Whether texts are what somebody says, rather than numbers, ids, names or one and the same text."""
        cells = [cell for cell in self.cells(column) if isinstance(cell, str)]
        different, single = len(set(cells)), all(cell.isascii() and len(cell.split()) < 2 for cell in cells)
        if all(map(NUMBER.fullmatch, cells)) or (single and (part == "prompt" or different > max(2, len(cells) // 2))):
            return False
        if _plain(column) in SPEAKERS:
            short = sum(cell.isascii() and len(cell.split()) < 4 for cell in cells)
            return max(short, len(cells) - different) * 2 < len(cells)
        return part != "prompt" or not self.constant(column)

    def differ(self, column: str) -> bool:
        return len(set(map(str, self.cells(column)))) > 1

    def constant(self, column: str) -> bool:
        cells = self.cells(column)
        return len(cells) >= 10 and not self.differ(column)

    def labels(self, column: str) -> dict[str, str]:
        """The different values of a column -> words, where these are few and short; an absent one -> no words."""
        if names := self.peek.classes.get(column):
            return {str(number): name for number, name in enumerate(names)}
        cells = self.cells(column)
        values = sorted({str(cell).strip() for cell in cells} - {""})
        few = 2 <= len(values) <= min(MOST_LABELS, max(2, len(cells) // 2))
        short = all(len(value) <= LONGEST_LABEL and len(value.split()) <= 4 for value in values)
        if not (few and short and self.all(column, is_label)):
            return {}
        absent = any(
            not str(record.get(column) or "").strip() for record in self.peek.records if record.get(column) != 0
        )
        return {value: value for value in values} | ({"": ""} if absent else {})

    def html(self, columns: list[str]) -> bool:
        cells = [cell for name in columns for cell in self.cells(name) if isinstance(cell, str)]
        return sum(bool(_TAG.search(cell)) for cell in cells) * 20 > len(cells)

    def repeats(self, prompt: str | None) -> bool:
        cells = list(map(str, self.cells(prompt)))
        return len(set(cells)) < len(cells)

    def rated(self, prompt: str, score: str) -> bool:
        """Whether answers to one prompt differ in their score; else no pair comes of it."""
        first: dict[str, float] = {}
        rated = [
            (str(row.get(prompt)), float(row[score])) for row in self.peek.records if row.get(score) not in (None, "")
        ]
        return any(first.setdefault(question, number) != number for question, number in rated)


def _plain(name: str) -> str:
    """A column's name without case and punctuation."""
    return re.sub(r"[\W_]", "", name).casefold()


def is_text(cell: Any) -> bool:
    return isinstance(cell, str)


def is_label(cell: Any) -> bool:
    return isinstance(cell, (str, int))


def is_number(cell: Any) -> bool:
    try:
        return not isinstance(cell, bool) and float(cell) == float(cell)
    except (TypeError, ValueError):
        return False


def is_verdict(cell: Any) -> bool:
    return str(cell).strip().casefold() in VERDICTS


def is_texts(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(turn, str) for turn in cell)


def holds_its_prompt(cell: Any) -> bool:
    return (is_spoken(cell) or is_texts(cell)) and len(cell) > 1


def is_spoken(cell: Any) -> bool:
    """Turns that say who speaks: {role, content} or {from, value}."""
    return isinstance(cell, list) and all(
        isinstance(turn, dict) and ({"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys())
        for turn in cell
    )


def assistant_opens(cell: Any) -> bool:
    said = [turn.get("role") or turn.get("from") for turn in cell if isinstance(turn, dict)]
    return next((speaker for speaker in said if speaker != "system"), None) in ("assistant", "gpt")
