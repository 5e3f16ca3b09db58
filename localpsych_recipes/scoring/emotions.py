"""Profiles of emotions: whole numbers on a scale for each of several dimensions, and how alike two of them are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

Scales = Mapping[str, tuple[int, int]]  # dimension -> its lowest and highest rating
Profile = dict[str, int]


def profile(answer: str, scales: Scales) -> Profile | None:
    """The profile that an answer is: one JSON object with exactly these dimensions and whole numbers within their scales.

    None for anything else: prose around it, a code block, a dimension too many, too few or twice, 1.0, "1", true.
    """
    try:
        made = json.loads(answer, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        return None
    if not isinstance(made, dict) or made.keys() != scales.keys():
        return None
    within = all(type(made[name]) is int and low <= made[name] <= high for name, (low, high) in scales.items())
    return {name: made[name] for name in scales} if within else None


def similarity(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Cosine of the angle between two profiles of the same dimensions, -1 to 1; 0 where one is zero throughout."""
    lengths = math.hypot(*one.values()) * math.hypot(*other.values())
    return sum(one[name] * other[name] for name in one) / lengths if lengths else 0.0


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made
