"""A judge's text -> scores and vetoes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localpsych_recipes import chat_templates
from localpsych_recipes.judge.rubric import Rubric

_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """On one answer: a score for each criterion, and the vetoes that it has."""

    scores: Mapping[str, float]
    vetoes: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Sum of the scores, exact where a mean is not: two answers are compared by it."""
        return sum(self.scores.values())

    @property
    def mean(self) -> float:
        return self.total / len(self.scores)

    @staticmethod
    def between(verdicts: Sequence[Verdict]) -> Verdict:
        """The mean of verdicts on the same answer; a veto of any counts."""
        names = verdicts[0].scores
        scores = {name: sum(verdict.scores[name] for verdict in verdicts) / len(verdicts) for name in names}
        return Verdict(scores, tuple(dict.fromkeys(veto for verdict in verdicts for veto in verdict.vetoes)))


def parse(text: str, rubric: Rubric) -> tuple[Verdict, ...] | None:
    """The verdict, or both in pairwise mode; None for a text that is anything but what the schema asks for.

    Reasoning before it and a Markdown fence around it are forgiven.
    """
    said = _object(text)
    if not rubric.together:
        found = [_verdict(said, rubric)]
    elif isinstance(said, dict) and said.keys() == {"a", "b"}:
        found = [_verdict(said["a"], rubric), _verdict(said["b"], rubric)]
    else:
        return None
    return None if None in found else tuple(found)


def _object(text: str) -> Any:
    answer = (chat_templates.without_reasoning(text) or "").strip()
    if fenced := _FENCED.fullmatch(answer):
        answer = fenced[1]
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def _verdict(said: Any, rubric: Rubric) -> Verdict | None:
    if not isinstance(said, dict) or said.keys() != {*rubric.criteria, *rubric.vetoes}:
        return None
    scores = {name: said[name] for name in rubric.criteria}
    lowest, highest = rubric.scale
    if not all(type(score) is int and lowest <= score <= highest for score in scores.values()):
        return None
    if not all(type(said[name]) is bool for name in rubric.vetoes):
        return None
    return Verdict(scores, tuple(name for name in rubric.vetoes if said[name]))
