"""One measure of one column, item by item; what it comes to is one row of the evaluation's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from localpsych_recipes import metrics, statistics


@dataclass(frozen=True)
class Measured:
    """metric: a key of METRICS, or "lm_eval:TASK:NAME"; column: "base", "sft", "dpo", a quant or the reference's name.

    items: item id -> (value, weight), the same ids in every column that was asked the same; for form "macro_f1" the
    value is a pair of label numbers (said, held-out). clusters: item id -> what it shares with others, such as the
    scenario of several prompts, which are resampled together. how: what METRICS does not know, in words.
    """

    metric: str
    column: str
    items: Mapping[str, tuple[Any, float]]
    clusters: Mapping[str, str] = field(default_factory=dict)
    how: str = ""


@dataclass(frozen=True)
class Skipped:
    """A measure, or a group of them, that was not taken, and why; column None: of no column."""

    what: str
    why: str
    column: str | None = None


def row(measured: Measured, versus: Measured | None, seed: int, resamples: int) -> dict[str, Any]:
    """{"metric", "column", "direction", "value", "low", "high", "n", "unit", "how", "difference"}.

    versus: the same measure of the base; "difference" is {"value", "low", "high"} of the paired difference to it (over
    items that both have), None without it. value is None where there are no items, and where one of them is no number,
    as `how` then says: without it the others would pass for the whole.
    """
    metric = metrics.of(measured.metric)
    found = statistics.estimate(metric.form, measured.items, measured.clusters, seed=seed, resamples=resamples)
    difference = None
    if versus is not None and versus.items.keys() & measured.items.keys():
        difference = statistics.paired_difference(
            metric.form, measured.items, versus.items, measured.clusters, seed=seed, resamples=resamples
        )
    return {
        "metric": measured.metric,
        "column": measured.column,
        "direction": metric.direction,
        **found,
        "n": len(measured.items),
        "unit": metric.unit,
        "how": "; ".join(filter(None, (metric.definition, measured.how, broken(measured)))),
        "difference": difference,
    }


def broken(measured: Measured) -> str:
    """How many items came to no number, in words; "" where all did."""
    if metrics.of(measured.metric).form == "macro_f1":
        return ""
    count = sum(not isfinite(value) for value, _ in measured.items.values())
    return f"no value, since {count:,} of {len(measured.items):,} came to NaN or infinity" if count else ""
