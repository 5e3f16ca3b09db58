"""Statistics of the pairs report: how sure a share is, and whether two quantities rise together."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import sqrt
from statistics import correlation
from typing import Any

Z = 1.959964  # of the standard normal distribution, for 95 % between both ends


def share(kept: int, of: int) -> dict[str, Any]:
    """{"kept", "of", "share", "low", "high"}: a share with its Wilson 95 % interval; None for the last three of 0.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); method 3 in
    Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998).
    """
    if not of:
        return {"kept": kept, "of": of, "share": None, "low": None, "high": None}
    p, shrunk = kept / of, 1 + Z**2 / of
    centre = (p + Z**2 / (2 * of)) / shrunk
    half = Z * sqrt(p * (1 - p) / of + Z**2 / (4 * of**2)) / shrunk
    return {"kept": kept, "of": of, "share": p, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}


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
