"""Columns and first rows -> the mapping that a recipe could begin with, and why. Names decide; content can overrule them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from localpsych_recipes.data.columns import shown
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
_WORSE = re.compile(r"reject|disprefer|worse|worst|negative|dismissive|bad|los(er|ing)", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[-+]?\d[\d.,]*\s*")


Columns = dict[str, tuple[str, str]]  # part of a conversation -> column or template, why


@dataclass(frozen=True)
class Proposal:
    """A mapping under the recipe's own keys."""

    columns: Columns
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    html: bool = False
    repeated: bool = False  # prompts with several rows
    opened: bool = False  # conversations that the assistant opens

    @property
    def pairs(self) -> bool:
        return bool({"rejected", "score"} & self.columns.keys())

    @property
    def wordless(self) -> bool:
        """Whether labels are numbers or truth values, which say nothing to a model."""
        words = [word for labels in self.labels.values() for word in labels.values() if word]
        return bool(words) and all(_NUMBER.fullmatch(word) or word.casefold() in ("true", "false") for word in words)


def propose(peek: Peek) -> Proposal | None:
    """The first of RULES that fits; None if none does, or if a column tells good answers from bad ones."""
    rows = _Rows(peek)
    for rule in RULES:
        if columns := rule(rows):
            response = columns.get("response", ("", ""))[0]
            labels = {response: rows.labels(response)} if rule is _label else {}
            prompt, messages = (columns.get(part, (None,))[0] for part in ("prompt", "messages"))
            opened = any(map(_assistant_opens, rows.cells(messages)))
            return Proposal(columns, labels, rows.html(columns), rows.repeats(prompt), opened)
    return None


def verdict(peek: Peek) -> str | None:
    """The column that says of each answer whether it is a good one; without it bad ones would be learnt."""
    rows = _Rows(peek)
    answered = rows.named("prompt", _is_text) and rows.named("response", _is_text)
    found = (rows.by_name[name] for name in ("label", "labels") if name in rows.by_name)
    return next((name for name in found if answered and rows.all(name, _is_verdict)), None)


class _Rows:
    """What is asked of the first rows: which column a name means, and what its cells are."""

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
            column for column in found if self.all(column, fits) and (fits is not _is_text or self.says(column, part))
        ]

    def named(self, part: str, fits: Callable[[Any], bool]) -> str | None:
        return next(iter(self.candidates(part, fits)), None)

    def says(self, column: str, part: str) -> bool:
        """Whether texts are what somebody says, rather than numbers, ids, names or one and the same text."""
        cells = [cell for cell in self.cells(column) if isinstance(cell, str)]
        different, single = len(set(cells)), all(cell.isascii() and len(cell.split()) < 2 for cell in cells)
        if all(map(_NUMBER.fullmatch, cells)) or (single and (part == "prompt" or different > max(2, len(cells) // 2))):
            return False
        if _plain(column) in SPEAKERS:
            short = sum(cell.isascii() and len(cell.split()) < 4 for cell in cells)
            return max(short, len(cells) - different) * 2 < len(cells)
        return part != "prompt" or not self.constant(column)

    def constant(self, column: str) -> bool:
        cells = self.cells(column)
        return len(cells) >= 10 and all(cell == cells[0] for cell in cells)

    def labels(self, column: str) -> dict[str, str]:
        """The different values of a column -> words, where these are few and short; an absent one -> no words."""
        if names := self.peek.classes.get(column):
            return {str(number): name for number, name in enumerate(names)}
        cells = self.cells(column)
        values = sorted({str(cell).strip() for cell in cells} - {""})
        few = 2 <= len(values) <= min(MOST_LABELS, max(2, len(cells) // 2))
        short = all(len(value) <= LONGEST_LABEL and len(value.split()) <= 4 for value in values)
        if not (few and short and self.all(column, _is_label)):
            return {}
        absent = any(
            not str(record.get(column) or "").strip() for record in self.peek.records if record.get(column) != 0
        )
        return {value: value for value in values} | ({"": ""} if absent else {})

    def html(self, columns: Columns) -> bool:
        names = [name for part, _ in columns.values() for name in columns_of(part)]
        cells = [cell for name in names for cell in self.cells(name) if isinstance(cell, str)]
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


def _conversation_pairs(rows: _Rows) -> Columns:
    chosen, rejected = rows.named("chosen", _holds_its_prompt), rows.named("rejected", _holds_its_prompt)
    if not chosen or not rejected:
        return {}
    return {
        "chosen": (chosen, "conversations; what they share is the prompt"),
        "rejected": (rejected, "their worse end"),
    }


def _conversations(rows: _Rows) -> Columns:
    if named := rows.named("messages", _is_spoken):
        return {"messages": (named, "lists of turns")}
    texts = [name for name in rows.candidates("messages", _is_texts) if name.casefold() != "turns"]  # questions alone
    if texts and any(len(cell) > 1 for cell in rows.cells(texts[0])):
        return {"messages": (texts[0], "texts without speakers: taken as user and assistant in turn")}
    found = [name for name in rows.peek.columns if rows.all(name, _is_spoken)]
    if len(found) != 1 or _WORSE.search(found[0]) or shown(found[0]) != repr(found[0]):
        return {}
    return {"messages": (found[0], "lists of turns")}


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


def _task(rows: _Rows) -> Columns:
    """One question about many texts, as in IMHI's sets: alone it would be the same prompt in every row."""
    asked = next((rows.by_name[name] for name in NAMES["prompt"] if name in rows.by_name), None)
    text, response = rows.named("text", _is_text), rows.named("response", _is_text)
    if not (asked and text and response and rows.all(asked, _is_text) and rows.constant(asked)):
        return {}
    why = "the text, then what is asked of it, which is the same in every row"
    return {"prompt": (f"{{{text}}}\n\n{{{asked}}}", why), "response": (response, "by its name")}


def _answers(rows: _Rows) -> Columns:
    prompts, responses = (rows.candidates(part, _is_text) for part in ("prompt", "response"))
    if not prompts or not responses or verdict(rows.peek):
        return {}
    columns = {"prompt": (prompts[0], _by_name(prompts)), "response": (responses[0], _by_name(responses))}
    score = rows.named("score", _is_number)
    if score and rows.rated(prompts[0], score):
        columns["score"] = (score, "numbers, and prompts with several answers: the best is learnt, pairs are made")
    return columns


def _by_name(candidates: list[str]) -> str:
    others = " or ".join(map(repr, candidates[1:]))
    return f"by its name; it could also be {others}" if others else "by its name"


def _label(rows: _Rows) -> Columns:
    text = rows.named("text", _is_text) or rows.named("prompt", _is_text)
    label = next((name for name in rows.candidates("label", _is_label) if rows.labels(name)), None)
    if not text or not label or verdict(rows.peek):
        return {}
    return {"prompt": (text, "the text"), "response": (label, "few different values: each in words under `labels`")}


RULES = (_conversation_pairs, _conversations, _pairs, _instruction, _task, _answers, _label)  # the first that fits


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str)


def _is_label(cell: Any) -> bool:
    return isinstance(cell, (str, int))


def _is_number(cell: Any) -> bool:
    try:
        return not isinstance(cell, bool) and float(cell) == float(cell)
    except (TypeError, ValueError):
        return False


def _is_verdict(cell: Any) -> bool:
    return str(cell).strip().casefold() in VERDICTS


def _is_texts(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(turn, str) for turn in cell)


def _holds_its_prompt(cell: Any) -> bool:
    return (_is_spoken(cell) or _is_texts(cell)) and len(cell) > 1


def _is_spoken(cell: Any) -> bool:
    """Turns that say who speaks: {role, content} or {from, value}."""
    return isinstance(cell, list) and all(
        isinstance(turn, dict) and ({"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys())
        for turn in cell
    )


def _assistant_opens(cell: Any) -> bool:
    said = [turn.get("role") or turn.get("from") for turn in cell if isinstance(turn, dict)]
    return next((speaker for speaker in said if speaker != "system"), None) in ("assistant", "gpt")
