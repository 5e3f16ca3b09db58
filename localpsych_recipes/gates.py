"""What must hold before anything is pushed: the recipe's gates, read off the evaluation's rows.

A gate looks at the measured value, not at the ends of its interval: a recipe that wants more certainty asks for more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from localpsych_recipes import metrics
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Gate, Recipe
from localpsych_recipes.recipe.evaluate import needed

NOT_MEASURED, NO_NUMBER = "it was not measured", "it came to no number"
Rows = Mapping[tuple[str, str], Mapping[str, Any]]  # by metric and column


def check(recipe: Recipe, evaluation: Mapping[str, Any] | None, withheld: Collection[str] = ()) -> list[dict[str, Any]]:
    """One {"gate", "metric", "column", "value", "bound", "passed", "why"} for each gate and column.

    gate: in words; bound: the lowest and the highest value that hold, None for no end; passed: False also where the
    metric was not measured, and why says so. evaluation: results of the evaluate stage, None where it has not run.
    withheld: quants that are not published, and so not judged.
    """
    found = evaluation or {"rows": (), "columns": (), "skipped": ()}
    rows = {(row["metric"], row["column"]): row for row in found["rows"]}
    quants = [quant for quant in (recipe.gguf.quants if recipe.gguf else ()) if quant not in withheld]
    released = ["dpo" if recipe.dpo else "sft", *quants]
    return [
        _checked(gate, column, rows, found["skipped"])
        for gate in recipe.gates
        for column in _columns(gate, released, found["columns"])
    ]


def failed(checked: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [gate for gate in checked if not gate["passed"]]


def refuse_failed(checked: Sequence[Mapping[str, Any]]) -> None:
    """UserError that lists every gate that does not hold."""
    if found := failed(checked):
        raise UserError(
            f"{len(found)} of {len(checked)} gates failed: {'; '.join(map(_in_words, found))}",
            "every gate of the recipe passed",
            "mend what failed, or publish it with the failure on its card: --publish-anyway",
        )


def _columns(gate: Gate, released: Sequence[str], measured: Collection[str]) -> Sequence[str]:
    """Columns that the gate names, measured or not; else those that are released and measured, or the first."""
    final, *quants = released
    if gate.columns:
        return [column for name in gate.columns for column in (quants if name == "quants" else [name])]
    if not metrics.of_quants(gate.metric):
        return [final]
    return [column for column in released if column in measured] or [final]


def _checked(gate: Gate, column: str, rows: Rows, skipped: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    low, high = _bounds(gate, _value(gate, "base", rows))
    value = _value(gate, column, rows)
    why = None
    if value is None:
        why = _nothing(gate.metric, column, rows, skipped)
    elif low is None and high is None:
        why = f"of the base {_nothing(gate.metric, 'base', rows, skipped)}"
    elif (low is not None and value < low) or (high is not None and value > high):
        ends = [f"{words} {end:.6g}" for words, end in (("below", low), ("above", high)) if end is not None]
        why = f"{value:.6g} is {' or '.join(ends)}"
    return {
        "gate": _words(gate), "metric": gate.metric, "column": column, "value": value, "bound": [low, high],
        "passed": why is None, "why": why,
    }  # fmt: skip


def _value(gate: Gate, column: str, rows: Rows) -> float | None:
    """None for what was not measured, and for what came to no number: NaN is neither below a bound nor above."""
    value = (rows.get((gate.metric, column)) or {}).get("value")
    return value if value is not None and math.isfinite(value) else None


def _nothing(metric: str, column: str, rows: Rows, skipped: Sequence[Mapping[str, Any]]) -> str:
    """Why there is no value, as far as the evaluation says it."""
    if (metric, column) in rows:
        return f"{NO_NUMBER}, of n = {rows[metric, column]['n']:,}"
    of_it = [skip for skip in skipped if skip["column"] in (None, column)]
    why = [s["why"] for s in of_it if metric.startswith(s["what"]) or s["what"] == needed(metric)]
    return f"{NOT_MEASURED}: {why[0]}" if why else NOT_MEASURED


def _bounds(gate: Gate, base: float | None) -> tuple[float | None, float | None]:
    """The lowest and the highest value that hold; neither where the base was not measured."""
    if gate.within is None:
        return gate.at_least, gate.at_most
    if base is None:
        return None, None
    direction, room = metrics.of(gate.metric).direction, gate.within * abs(base)
    return None if direction == "lower" else base - room, None if direction == "higher" else base + room


def _words(gate: Gate) -> str:
    if gate.at_least is not None:
        return f"at least {gate.at_least:g}"
    if gate.at_most is not None:
        return f"at most {gate.at_most:g}"
    away = {"higher": "below", "lower": "above", "neither": "away from"}[metrics.of(gate.metric).direction]
    return f"no more than {100 * gate.within:g} % {away} the base's"


def _in_words(gate: Mapping[str, Any]) -> str:
    return f"{gate['metric']} of {gate['column']} must be {gate['gate']}: {gate['why']}"
