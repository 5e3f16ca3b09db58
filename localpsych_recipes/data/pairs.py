"""Scored answers to one question: which may be learnt, and which are better than which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from localpsych_recipes.data.conversations import Conversation

Worse = dict[int, list[int]]  # row of an answer -> rows of worse answers to the same question


def questions(conversations: Sequence[Conversation], rows: Iterable[int]) -> list[list[int]]:
    """The rows, those that answer the same question together, in the order of their first."""
    found: dict[object, list[int]] = defaultdict(list)
    for row in rows:
        found[conversations[row].question].append(row)
    return list(found.values())


def never_learnt(conversations: Sequence[Conversation], rows: Iterable[int]) -> set[int]:
    """Rows that have a better-scored answer beside them: no targets of SFT, whatever else is left out later."""
    found = set()
    for answers in questions(conversations, rows):
        best = max(conversations[row].score for row in answers)
        found.update(row for row in answers if conversations[row].score < best)
    return found


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
