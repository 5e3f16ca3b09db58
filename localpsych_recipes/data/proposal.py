"""Columns and first rows -> the mapping that a recipe could begin with, and why. Names decide; content can overrule them."""

from __future__ import annotations

from dataclasses import dataclass, field

from localpsych_recipes.data.columns import shown
from localpsych_recipes.data.first_rows import (
    NAMES,
    NUMBER,
    WORSE,
    FirstRows,
    assistant_opens,
    holds_its_prompt,
    is_label,
    is_number,
    is_spoken,
    is_text,
    is_texts,
    is_verdict,
)
from localpsych_recipes.data.peek import Peek
from localpsych_recipes.recipe.data import columns_of

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
        return bool(words) and all(NUMBER.fullmatch(word) or word.casefold() in ("true", "false") for word in words)


def propose(peek: Peek) -> Proposal | None:
    """The first of RULES that fits; None if none does, or if a column tells good answers from bad ones."""
    rows = FirstRows(peek)
    for rule in RULES:
        if columns := rule(rows):
            response = columns.get("response", ("", ""))[0]
            labels = {response: rows.labels(response)} if rule is _label else {}
            prompt, messages = (columns.get(part, (None,))[0] for part in ("prompt", "messages"))
            opened = any(map(assistant_opens, rows.cells(messages)))
            return Proposal(
                columns,
                labels,
                rows.html([name for part, _ in columns.values() for name in columns_of(part)]),
                rows.repeats(prompt),
                opened,
            )
    return None


def verdict(peek: Peek) -> str | None:
    """The column that says of each answer whether it is a good one; without it bad ones would be learnt."""
    rows = FirstRows(peek)
    answered = rows.named("prompt", is_text) and rows.named("response", is_text)
    found = (rows.by_name[name] for name in ("label", "labels") if name in rows.by_name)
    return next((name for name in found if answered and rows.all(name, is_verdict) and rows.differ(name)), None)


def _conversation_pairs(rows: FirstRows) -> Columns:
    chosen, rejected = rows.named("chosen", holds_its_prompt), rows.named("rejected", holds_its_prompt)
    if not chosen or not rejected:
        return {}
    return {
        "chosen": (chosen, "conversations; what they share is the prompt"),
        "rejected": (rejected, "their worse end"),
    }


def _conversations(rows: FirstRows) -> Columns:
    if named := rows.named("messages", is_spoken):
        return {"messages": (named, "lists of turns")}
    texts = [name for name in rows.candidates("messages", is_texts) if name.casefold() != "turns"]  # questions alone
    if texts and any(len(cell) > 1 for cell in rows.cells(texts[0])):
        return {"messages": (texts[0], "texts without speakers: taken as user and assistant in turn")}
    found = [name for name in rows.peek.columns if rows.all(name, is_spoken)]
    if len(found) != 1 or WORSE.search(found[0]) or shown(found[0]) != repr(found[0]):
        return {}
    return {"messages": (found[0], "lists of turns")}


def _pairs(rows: FirstRows) -> Columns:
    prompt, chosen, rejected = (rows.named(part, is_text) for part in ("prompt", "chosen", "rejected"))
    if not (prompt and chosen and rejected):
        return {}
    return {
        "prompt": (prompt, "by its name"),
        "chosen": (chosen, "by its name the better answer; also what SFT learns"),
        "rejected": (rejected, "by its name the worse answer; never a target of SFT"),
    }


def _instruction(rows: FirstRows) -> Columns:
    instruction, given, output = (rows.by_name.get(name) for name in ("instruction", "input", "output"))
    if not (instruction and given and output and all(rows.all(name, is_text) for name in (instruction, output))):
        return {}
    if not rows.cells(given):
        return {}
    prompt = f"{{{instruction}}}\n\n{{{given}}}"
    return {"prompt": (prompt, "the instruction, then what it is about"), "response": (output, "by its name")}


def _task(rows: FirstRows) -> Columns:
    """One question about many texts, as in IMHI's sets: alone it would be the same prompt in every row."""
    asked = next((rows.by_name[name] for name in NAMES["prompt"] if name in rows.by_name), None)
    text, response = rows.named("text", is_text), rows.named("response", is_text)
    if not (asked and text and response and rows.all(asked, is_text) and rows.constant(asked)):
        return {}
    why = "the text, then what is asked of it, which is the same in every row"
    return {"prompt": (f"{{{text}}}\n\n{{{asked}}}", why), "response": (response, "by its name")}


def _answers(rows: FirstRows) -> Columns:
    prompts, responses = (rows.candidates(part, is_text) for part in ("prompt", "response"))
    if not prompts or not responses or verdict(rows.peek):
        return {}
    columns = {"prompt": (prompts[0], _by_name(prompts)), "response": (responses[0], _by_name(responses))}
    score = rows.named("score", is_number)
    if score and rows.rated(prompts[0], score):
        columns["score"] = (score, "numbers, and prompts with several answers: the best is learnt, pairs are made")
    return columns


def _by_name(candidates: list[str]) -> str:
    others = " or ".join(map(repr, candidates[1:]))
    return f"by its name; it could also be {others}" if others else "by its name"


def _label(rows: FirstRows) -> Columns:
    text = rows.named("text", is_text) or rows.named("prompt", is_text)
    label = next((name for name in rows.candidates("label", is_label) if rows.labels(name)), None)
    if not text or not label or verdict(rows.peek):
        return {}
    return {"prompt": (text, "the text"), "response": (label, "few different values: each in words under `labels`")}


RULES = (_conversation_pairs, _conversations, _pairs, _instruction, _task, _answers, _label)  # the first that fits
