"""How sure a measured value is: shares with Wilson's interval, everything else with a bootstrap over items.

Every measure here is a function of sums over items, so a resample is a matter of how often each item counts. Items that
share a cluster are resampled together, and differences are of the same items of both (Miller 2024,
https://arxiv.org/abs/2411.00640).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, sqrt
from typing import Any

import numpy as np

Z = 1.959964  # of the standard normal distribution, for 95 % between both ends
LEVELS = (0.025, 0.975)
_NONE = {"value": None, "low": None, "high": None}
_AT_ONCE = 2_000_000  # counts of one block of resamples: 16 MB

Items = Mapping[str, tuple[Any, float]]
# sums over items, the last axis -> the measure
Measure = Callable[[np.ndarray], np.ndarray]


def estimate(form: str, items: Items, clusters: Mapping[str, str], *, seed: int, resamples: int) -> dict[str, Any]:
    """{"value", "low", "high"}: the measure of these items, and the ends of its 95 % interval; None of no items, and
    where one of them is no number.

    items: item id -> (value, weight). form "mean" and "perplexity" weigh values by weights (tokens); "share" is the
    mean of values from 0 to 1; "macro_f1" takes values (said, held-out label); the last two count every item once.
    clusters: item id -> what it shares with others; an item without one stands for itself. Shares get Wilson's
    interval, with the effective number of items where items share clusters; the rest the percentile bootstrap of whole
    clusters (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3); no ends for a single one.
    """
    items = {id: item for id, item in sorted(items.items()) if item[1] > 0}
    if not items:
        return dict(_NONE)
    sums, measure = _sums(form, items)
    sums = _together(sums, list(items), clusters)
    value = float(measure(sums.sum(0)))
    if not isfinite(value):
        return dict(_NONE)
    if form == "share":
        low, high = wilson(value, effective(sums))
    else:
        low, high = _interval(sums, measure, seed, resamples)
    return {"value": value, "low": low, "high": high}


def paired_difference(
    form: str, items: Items, versus: Items, clusters: Mapping[str, str], *, seed: int, resamples: int
) -> dict[str, Any]:
    """{"value", "low", "high"}: this measure less the other's, over the items that both have.

    Of shares Newcombe's interval, since a bootstrap of few items that differ calls chance a difference; of the rest the
    percentile bootstrap. All None where they have no item in common, and where one of these is no number.
    """
    both = sorted(id for id in items.keys() & versus.keys() if items[id][1] > 0 and versus[id][1] > 0)
    if not both:
        return dict(_NONE)
    ours, measure = _sums(form, {id: items[id] for id in both})
    theirs, other = _sums(form, {id: versus[id] for id in both})
    width = ours.shape[1]
    sums = _together(np.hstack([ours, theirs]), both, clusters)

    def difference(totals: np.ndarray) -> np.ndarray:
        return measure(totals[..., :width]) - other(totals[..., width:])

    value = float(difference(sums.sum(0)))
    if not isfinite(value):
        return dict(_NONE)
    low, high = newcombe(sums) if form == "share" else _interval(sums, difference, seed, resamples)
    return {"value": value, "low": low, "high": high}


def share(kept: int, of: int) -> dict[str, Any]:
    """{"kept", "of", "share", "low", "high"}: a share with its Wilson 95 % interval; None for the last three of 0."""
    if not of:
        return {"kept": kept, "of": of, "share": None, "low": None, "high": None}
    low, high = wilson(kept / of, of)
    return {"kept": kept, "of": of, "share": kept / of, "low": low, "high": high}


def wilson(p: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share p of n items; n need not be whole.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); method 3 in
    Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998).
    """
    shrunk = 1 + Z**2 / n
    centre = (p + Z**2 / (2 * n)) / shrunk
    half = Z * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / shrunk
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe(sums: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares of the same items: from both Wilson intervals and how far the
    two go together.

    sums: [clusters, 4], ones and items of the one, then of the other. Newcombe, "Improved confidence intervals for the
    difference between binomial proportions based on paired data", Statistics in Medicine 17 (1998), method 10; clusters
    as in `effective`, and in the correlation as one observation each.
    """
    ours, theirs = sums[:, :2], sums[:, 2:]
    p, q = (float(of[:, 0].sum() / of[:, 1].sum()) for of in (ours, theirs))
    (low, high), (other_low, other_high) = wilson(p, effective(ours)), wilson(q, effective(theirs))
    together = _correlation(ours, theirs)

    def reach(one: float, other: float) -> float:
        return sqrt(max(0.0, one**2 - 2 * together * one * other + other**2))

    return p - q - reach(p - low, other_high - q), p - q + reach(high - p, q - other_low)


def effective(sums: np.ndarray) -> float:
    """How many independent items a share of clustered ones is worth: p (1 - p) through its variance between clusters.

    sums: [clusters, 2], ones and items of each. Never more than there are items; the number of clusters where their
    shares do not differ at all, since then nothing says that items within one are independent. Korn and Graubard,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data",
    Survey Methodology 24 (1998).
    """
    ones, items = sums[:, 0], sums[:, 1]
    n, groups, p = items.sum(), len(sums), ones.sum() / items.sum()
    if groups == n:
        return float(n)
    spread = ((ones - p * items) ** 2).sum() * groups / max(groups - 1, 1) / n**2
    return float(min(n, p * (1 - p) / spread)) if spread > 1e-12 else float(groups)


def _correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of two shares between clusters; a positive one with Newcombe's correction for continuity, 0 of a constant share."""
    one, other = ((of[:, 0] - of[:, 1] * of[:, 0].sum() / of[:, 1].sum()) / of[:, 1].mean() for of in (ours, theirs))
    both, spread = float(one @ other), sqrt(float(one @ one) * float(other @ other))
    if spread < 1e-12:
        return 0.0
    return (max(0.0, both - 0.5) if both > 0 else both) / spread


def _sums(form: str, items: Items) -> tuple[np.ndarray, Measure]:
    """What each item adds, [items, k], and the measure of any sum of such rows."""
    if form == "macro_f1":
        return _labelled([value for value, _ in items.values()])
    values = np.array([value for value, _ in items.values()], dtype=float)
    weights = (
        np.ones_like(values) if form == "share" else np.array([weight for _, weight in items.values()], dtype=float)
    )
    measure = {"mean": _ratio, "share": _ratio, "perplexity": lambda totals: np.exp(_ratio(totals))}[form]
    return np.column_stack([values * weights, weights]), measure


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def _labelled(pairs: Sequence[tuple[Any, Any]]) -> tuple[np.ndarray, Measure]:
    """Of (said, held-out): whether both, the first and the second are each of the held-out labels; mean of their F1.

    F1 = 2 hits / (said + held out). A label that a resample's held-out items lack is left out of its mean.
    """
    labels = sorted({true for _, true in pairs})
    said = np.array([[pair[0] == label for label in labels] for pair in pairs], dtype=float)
    true = np.array([[pair[1] == label for label in labels] for pair in pairs], dtype=float)

    def measure(totals: np.ndarray) -> np.ndarray:
        hits, claims, there = np.split(totals, 3, axis=-1)
        scores = 2 * hits / np.maximum(claims + there, 1)
        return (scores * (there > 0)).sum(-1) / (there > 0).sum(-1)

    return np.hstack([said * true, said, true]), measure


def _together(sums: np.ndarray, ids: Sequence[str], clusters: Mapping[str, str]) -> np.ndarray:
    """Rows of one cluster added up, in the order of their first items."""
    # a pair cannot be equal to a cluster's name
    places: dict[Any, int] = {}
    rows = [places.setdefault(clusters.get(id, (id, "alone")), len(places)) for id in ids]
    added = np.zeros((len(places), sums.shape[1]))
    np.add.at(added, rows, sums)
    return added


def _interval(sums: np.ndarray, measure: Measure, seed: int, resamples: int) -> tuple[float | None, float | None]:
    """Percentiles of the measure over resamples of the rows, with as many rows as there are; None of a single row."""
    rows = len(sums)
    if rows < 2:
        return None, None
    draws, block = np.random.default_rng(seed), max(1, _AT_ONCE // rows)
    found = []
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = draws.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
        times = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows)
        found.append(measure(times @ sums))
    low, high = np.quantile(np.concatenate(found), LEVELS)
    return float(low), float(high)
