"""What a recipe's rows became: which are trained on and held out, and the rows of each kind, made when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from localpsych_recipes.data import conversations
from localpsych_recipes.data.conversations import Conversation, Pair, Row
from localpsych_recipes.data.pairs import Places, Worse
from localpsych_recipes.recipe import Data, Source

Kind = Literal["sft", "pairs"]
Split = Literal["train", "test"]
KINDS: tuple[Kind, ...] = ("sft", "pairs")
SPLITS: tuple[Split, ...] = ("train", "test")
_STAGES = {"sft": "sft", "pairs": "dpo"}  # which learns from the kind


@dataclass(frozen=True)
class Prepared:
    """The conversations of all sources, the numbers of those on either side, and what was counted on the way.

    counts: rows, empty, duplicates, duplicates_dropped, near_duplicates, near_duplicates_dropped, too_short, too_long,
    over_max_rows, leaks and leaks_dropped count rows of the sources; train and test those of either side, as often as
    their weight takes them; sft_train, sft_test, pairs_train and pairs_test what is made of them; worse_answers answers
    that SFT never learns; prompts_in_both_splits different prompts; equal_pairs pairs whose two answers are the same;
    from_html and repaired cells; crisis_lines lines by name. `sources` has the same for each source.
    """

    data: Data
    system: str | None
    conversations: Sequence[Conversation]
    sides: Mapping[Split, np.ndarray]
    of: np.ndarray  # number of the source of each conversation
    never_learnt: Places  # answers that are a worse one to their question
    worse: Mapping[Split, Worse]
    counts: dict[str, Any]

    def rows(self, kind: Kind, split: Split) -> Iterator[Row]:
        """The rows that TRL trains on or evaluates with, in their order."""
        made = self._sft if kind == "sft" else self._pairs
        for row in self.used(kind, split):
            yield from made(row, split)

    def count(self, kind: Kind, split: Split) -> int:
        """How many rows there are, without making them."""
        return sum(self.made_of(row, kind, split) for row in self.used(kind, split))

    def used(self, kind: Kind, split: Split) -> Iterator[int]:
        """The conversations that rows of the kind are made of."""
        learnt = [source.use in ("all", _STAGES[kind]) for source in self.data.sources]
        for row in self.sides[split].tolist():
            if learnt[self.of[row]] and (kind != "sft" or self.targets(row)):
                yield row

    def targets(self, row: int) -> list[int]:
        """Where the answers that SFT learns stand in a conversation's texts."""
        answers, never = self.conversations[row].answers(self.source(row).train_on), self.never_learnt
        return [at for at in answers if (row, at) not in never] if never else list(answers)

    def made_of(self, row: int, kind: Kind, split: Split) -> int:
        """How many rows of the kind one conversation makes."""
        if kind == "sft":
            return len(self.targets(row))
        return len(list(self.pairs_of(row, split)))

    def pairs_of(self, row: int, split: Split) -> Iterator[Pair]:
        """The pairs in which a conversation's last answer is the better one."""
        conversation = self.conversations[row]
        if conversation.pair:
            yield conversation.pair
        for other in self.worse[split].get(row, ()):
            yield Pair(conversation.texts[conversation.last], _last(self.conversations[other]))

    def source(self, row: int) -> Source:
        return self._sources[self.of[row]]

    @cached_property
    def _sources(self) -> tuple[Source, ...]:
        return self.data.sources  # which makes them anew each time

    def _sft(self, row: int, split: Split) -> list[Row]:
        conversation, train_on, targets = self.conversations[row], self.source(row).train_on, self.targets(row)
        made = conversations.sft_rows(conversation.turns, self.system, self.data.system_in, train_on)
        return [one for at, one in zip(conversation.answers(train_on), made, strict=True) if at in targets]

    def _pairs(self, row: int, split: Split) -> Iterator[Row]:
        for pair in self.pairs_of(row, split):
            prompt = self.conversations[row].prompt
            yield conversations.preference_row(prompt, pair, self.system, self.data.system_in)


def _last(conversation: Conversation) -> str:
    return conversation.texts[conversation.last]
