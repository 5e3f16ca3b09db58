"""Scored answers to one question: which may be learnt, and which are better than which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from localpsych_recipes.data.conversations import Conversation

Worse = dict[int, list[int]]  # row of an answer -> rows of worse answers to the same question
Places = frozenset[tuple[int, int]]  # row of a conversation and where in its texts an answer stands


def questions(conversations: Sequence[Conversation], rows: Iterable[int]) -> list[list[int]]:
    """The rows, those that answer the same question together, in the order of their first."""
    found: dict[object, list[int]] = defaultdict(list)
    for row in rows:
        found[conversations[row].question].append(row)
    return list(found.values())


def worse_rows(conversations: Sequence[Conversation], rows: Iterable[int]) -> set[int]:
    """Rows that have a better-scored answer beside them: no targets of SFT, whatever else is left out later."""
    found = set()
    for answers in questions(conversations, rows):
        best = max(conversations[row].score for row in answers)
        found.update(row for row in answers if conversations[row].score < best)
    return found


def never_targets(
    conversations: Sequence[Conversation], scored: Iterable[Collection[int]], worse: Iterable[Collection[int]]
) -> Places:
    """The answers that SFT never learns: those of a worse row, and any that is the same as a worse or rejected answer
    to the same question, whatever row, turn or source it stands in.

    scored: for each source with scores its rows; worse: those of them with a better answer beside them.
    """
    rows, refused = frozenset().union(*worse), _rejected(conversations)
    for answers, worse_ones in zip(scored, worse, strict=True):
        # a text that was given twice, with two scores, is as good as the better one
        refused |= _numbers(conversations, worse_ones) - _numbers(conversations, set(answers) - set(worse_ones))
    return frozenset(
        (row, at)
        for row, of in enumerate(conversations if refused or rows else ())
        for at in of.answers("all")
        if row in rows or of.number(at + 1) in refused
    )


def _rejected(conversations: Iterable[Conversation]) -> set[int]:
    pairs = ((of, of.pair) for of in conversations if of.pair)
    return {of.number(of.last, pair.rejected) for of, pair in pairs if pair.chosen != pair.rejected}


def _numbers(conversations: Sequence[Conversation], rows: Iterable[int]) -> set[int]:
    return {conversations[row].number(conversations[row].last + 1) for row in rows}


def worse_answers(conversations: Sequence[Conversation], rows: Iterable[int], how: Literal["best", "all"]) -> Worse:
    """The pairs that scores make. best: each best answer against each worse one; all: each against each worse one."""
    found: Worse = {}
    for answers in questions(conversations, rows):
        best = max(conversations[row].score for row in answers)
        for row in answers:
            score = conversations[row].score
            if how == "all" or score == best:
                found[row] = [other for other in answers if conversations[other].score < score]
    return {row: others for row, others in found.items() if others}
