"""Parts -> the canonical conversation -> the two kinds of rows that TRL trains on, which never mix.

SFT:        {"prompt": [messages], "completion": [assistant message]}
preference: {"prompt": [messages], "chosen": [assistant message], "rejected": [assistant message]}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xxhash import xxh3_64_intdigest

from localpsych_recipes.data import turns as cutting
from localpsych_recipes.data.turns import Turn
from localpsych_recipes.recipe import Turns

Place = Literal["system", "user"]
TrainOn = Literal["all", "last"]
Row = dict[str, list[dict[str, str]]]


class Unpaired(Exception):
    """Two conversations that are no two answers to one prompt; its text is the reason that is counted."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to the same prompt."""

    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of the source: what SFT learns from, and apart from it the pair for DPO. Small, for there are millions."""

    texts: tuple[str, ...]  # user and assistant in turn, from the user on
    system: str | None = None  # of its own
    pair: Pair | None = None
    score: float | None = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        said = tuple(Turn(("user", "assistant")[at % 2], text) for at, text in enumerate(self.texts))
        return said if self.system is None else (Turn("system", self.system), *said)

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """Everything before the last answer."""
        return self.turns[: (self.system is not None) + self.last]

    @property
    def last(self) -> int:
        """Where the last answer stands in `texts`; -1 if there is none."""
        return len(self.texts) // 2 * 2 - 1

    @property
    def empty(self) -> bool:
        """Whether a field is blank or no answer is there."""
        paired = (self.pair.chosen, self.pair.rejected) if self.pair else ()
        return self.last < 0 or not all(map(str.strip, (*self.texts, *paired)))

    def answers(self, train_on: TrainOn) -> range:
        """Where the answers that SFT learns stand in `texts`."""
        return range(self.last if train_on == "last" else 1, len(self.texts), 2)

    def prompts(self, train_on: TrainOn) -> Iterator[tuple[str | None, tuple[str, ...]]]:
        """For each answer that SFT learns what stands before it, to be compared."""
        return ((self.system, self.texts[:at]) for at in self.answers(train_on))

    @property
    def question(self) -> int:
        """What the last answer answers, as a number to be compared by."""
        return self.number(self.last)

    def number(self, end: int, *answer: str) -> int:
        """Of the first `end` texts and perhaps an answer to them: the same for texts that differ in white space alone.

        Two of a million differing ones share one with a chance of 3e-8.
        """
        texts = (self.system or "", *self.texts[:end], *answer)
        return xxh3_64_intdigest("\0".join(" ".join(text.split()) for text in texts).encode())


def canonical(parts: Mapping[str, Any], how: Turns) -> Conversation:
    """The conversation of one row. RowError for turns out of order, Unpaired for two answers to different prompts."""
    if "messages" in parts:
        system, texts = cutting.cut(parts["messages"], how)
        return Conversation(texts, system)
    if "prompt" not in parts:
        return _of_two(parts, how)
    chosen, rejected = parts.get("chosen"), parts.get("rejected")
    answer = parts.get("response", chosen)
    pair = None if rejected is None else Pair(chosen, rejected)
    return Conversation((parts["prompt"], answer), pair=pair)


def _of_two(parts: Mapping[str, Any], how: Turns) -> Conversation:
    """Two conversations that differ in their last answer alone become one with a pair."""
    (system, better), (other, worse) = (cutting.cut(parts[part], how) for part in ("chosen", "rejected"))
    if not better or not worse:
        return Conversation(())
    if len(better) % 2 or len(worse) % 2:
        raise Unpaired("no_last_answer")
    if (system, better[:-1]) != (other, worse[:-1]):
        raise Unpaired("prompts_differ")
    answer = parts.get("response", better[-1])
    return Conversation((*better[:-1], answer), system, Pair(better[-1], worse[-1]))


def sft_rows(turns: Sequence[Turn], system: str | None, system_in: Place, train_on: TrainOn = "all") -> list[Row]:
    """One row for each answer, or for the last: everything before it is the prompt. Never given a rejected answer."""
    turns = with_system(turns, system, system_in)
    answers = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
    return [
        {"prompt": messages(turns[:at]), "completion": messages([turns[at]])}
        for at in (answers[-1:] if train_on == "last" else answers)
    ]


def preference_row(prompt: Sequence[Turn], pair: Pair, system: str | None, system_in: Place) -> Row:
    """The row of one pair of answers to `prompt`."""
    return {
        "prompt": messages(with_system(prompt, system, system_in)),
        "chosen": messages([Turn("assistant", pair.chosen)]),
        "rejected": messages([Turn("assistant", pair.rejected)]),
    }


def with_system(turns: Sequence[Turn], system: str | None, system_in: Place) -> Sequence[Turn]:
    """The turns with the system prompt, theirs or else `system`, in its place."""
    if turns[0].role == "system":
        system, turns = turns[0].content, turns[1:]
    if not system:
        return turns
    if system_in == "system":
        return [Turn("system", system), *turns]
    return [Turn("user", f"{system}\n\n{turns[0].content}"), *turns[1:]]


def messages(turns: Iterable[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]
