"""Columns and first rows -> the mapping that a recipe could begin with, and why. Names decide; content can overrule them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from localpsych_recipes.data.columns import shown
from localpsych_recipes.data.peek import Peek

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
_TAG = re.compile(r"</?(p|br|div|span|a|li|ul|strong|em)\b[^>]*>", re.IGNORECASE)


Columns = dict[str, tuple[str, str]]  # part of a conversation -> column or template, why


@dataclass(frozen=True)
class Proposal:
    """A mapping under the recipe's own keys."""

    columns: Columns
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    html: bool = False
    repeated: bool = False  # prompts with several rows

    @property
    def pairs(self) -> bool:
        return bool({"rejected", "score"} & self.columns.keys())


def propose(peek: Peek) -> Proposal | None:
    """The first of RULES that fits; None if none does."""
    rows = _Rows(peek)
    for rule in RULES:
        if columns := rule(rows):
            response = columns.get("response", ("", ""))[0]
            labels = {response: rows.labels(response)} if rule is _label else {}
            return Proposal(columns, labels, html=rows.html(columns), repeated=rows.repeats(columns.get("prompt")))
    return None


class _Rows:
    """What is asked of the first rows: which column a name means, and what its cells are."""

    def __init__(self, peek: Peek) -> None:
        self.peek = peek
        self.by_name = {re.sub(r"[\W_]", "", name).casefold(): name for name in reversed(peek.columns)}

    def cells(self, column: str) -> list[Any]:
        return [cell for record in self.peek.records if (cell := record.get(column)) not in (None, "", [])]

    def all(self, column: str, fits: Callable[[Any], bool]) -> bool:
        cells = self.cells(column)
        return bool(cells) and all(map(fits, cells))

    def named(self, part: str, fits: Callable[[Any], bool]) -> str | None:
        found = (self.by_name[name] for name in NAMES[part] if name in self.by_name)
        return next((column for column in found if self.all(column, fits)), None)

    def labels(self, column: str) -> dict[str, str]:
        """The different values of a column -> words, where these are few and short."""
        if names := self.peek.classes.get(column):
            return {str(number): name for number, name in enumerate(names)}
        cells = self.cells(column)
        values = sorted({str(cell).strip() for cell in cells if isinstance(cell, (str, int))})
        few = len(values) <= min(MOST_LABELS, max(2, len(cells) // 2))
        short = all(len(value) <= LONGEST_LABEL and len(value.split()) <= 4 for value in values)
        return {value: value for value in values} if few and short and self.all(column, _is_label) else {}

    def html(self, columns: Columns) -> bool:
        cells = [cell for column, _ in columns.values() for cell in self.cells(column) if isinstance(cell, str)]
        return sum(bool(_TAG.search(cell)) for cell in cells) * 20 > len(cells)

    def repeats(self, prompt: tuple[str, str] | None) -> bool:
        cells = [str(cell) for cell in self.cells(prompt[0])] if prompt else []
        return len(set(cells)) < len(cells)


def _conversation_pairs(rows: _Rows) -> Columns:
    chosen, rejected = rows.named("chosen", _holds_its_prompt), rows.named("rejected", _holds_its_prompt)
    if not chosen or not rejected:
        return {}
    return {
        "chosen": (chosen, "conversations; what they share is the prompt"),
        "rejected": (rejected, "their worse end"),
    }


def _conversations(rows: _Rows) -> Columns:
    named = rows.named("messages", _is_conversation)
    found = [named] if named else [name for name in rows.peek.columns if rows.all(name, _is_spoken)]
    return {"messages": (found[0], "lists of turns")} if len(found) == 1 and shown(found[0]) == repr(found[0]) else {}


def _pairs(rows: _Rows) -> Columns:
    prompt, chosen, rejected = (rows.named(part, _is_text) for part in ("prompt", "chosen", "rejected"))
    if not (prompt and chosen and rejected):
        return {}
    return {
        "prompt": (prompt, "by its name"),
        "chosen": (chosen, "by its name the better answer; also what SFT learns"),
        "rejected": (rejected, "by its name the worse answer; never a target of SFT"),
    }


def _instruction(rows: _Rows) -> Columns:
    instruction, given, output = (rows.by_name.get(name) for name in ("instruction", "input", "output"))
    if not (instruction and given and output and all(rows.all(name, _is_text) for name in (instruction, output))):
        return {}
    if not rows.cells(given):
        return {}
    prompt = f"{{{instruction}}}\n\n{{{given}}}"
    return {"prompt": (prompt, "the instruction, then what it is about"), "response": (output, "by its name")}


def _answers(rows: _Rows) -> Columns:
    prompt, response = rows.named("prompt", _is_text), rows.named("response", _is_text)
    if not prompt or not response:
        return {}
    columns = {"prompt": (prompt, "by its name"), "response": (response, "by its name")}
    score = rows.named("score", _is_number)
    if score and rows.repeats(columns["prompt"]):
        columns["score"] = (score, "numbers, and prompts with several answers: the best is learnt, pairs are made")
    return columns


def _label(rows: _Rows) -> Columns:
    text = rows.named("text", _is_text) or rows.named("prompt", _is_text)
    label = rows.named("label", _is_label)
    if not text or not label or not rows.labels(label):
        return {}
    return {"prompt": (text, "the text"), "response": (label, "few different values: each in words under `labels`")}


RULES = (_conversation_pairs, _conversations, _pairs, _instruction, _answers, _label)  # the first that fits


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str)


def _is_label(cell: Any) -> bool:
    return isinstance(cell, (str, int))


def _is_number(cell: Any) -> bool:
    try:
        return not isinstance(cell, bool) and float(cell) == float(cell)
    except (TypeError, ValueError):
        return False


def _is_conversation(cell: Any) -> bool:
    return _is_spoken(cell) or (isinstance(cell, list) and all(isinstance(turn, str) for turn in cell))


def _holds_its_prompt(cell: Any) -> bool:
    return _is_conversation(cell) and len(cell) > 1


def _is_spoken(cell: Any) -> bool:
    """Turns that say who speaks: {role, content} or {from, value}."""
    return isinstance(cell, list) and all(
        isinstance(turn, dict) and ({"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys())
        for turn in cell
    )
