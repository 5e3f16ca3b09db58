"""Statistics of the pairs report: whether two quantities rise together, and how often each value occurs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import correlation


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Rank correlation from -1 to 1: Pearson's of average ranks, which ties need (Spearman 1904; Kendall 1945).

    None for fewer than three values, and where all values of one side are equal.
    """
    if len(one) < 3 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    return correlation(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) + 1) / 2 for value in values]


def histogram(values: Sequence[float], low: int, high: int) -> list[int]:
    """Counts in bins of width 1 from `low` to `high`: each with its lower end, the last one with both."""
    counts = [0] * (high - low)
    for value in values:
        bin = int(round(value, 6) // 1) - low  # a gap of 2 may come as 1.9999999999999996
        counts[min(bin, len(counts) - 1)] += 1
    return counts
