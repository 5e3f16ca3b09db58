"""How good the release is, beside its base: the evaluation's rows as tables that a card can show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from localpsych_recipes import metrics
from localpsych_recipes.cards import pairs, published, reports
from localpsych_recipes.cards.render import percent
from localpsych_recipes.pipeline import Run

COLUMNS = {"base": "base", "sft": "SFT", "dpo": "DPO"}
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
CRISIS = "crisis_pass"
SMALL = 0.0001  # what is nearer to nothing is not told more exactly; results.json has it
WIDEST = 4  # columns of one table that holds everything; with more there is one of models and one of files
GROUPS = (metrics.SUITE, metrics.SAFETY, metrics.JUDGE, metrics.TEXT, metrics.TASKS, metrics.LIKELIHOOD)


def measured(run: Run, kind: str) -> dict[str, Any] | None:
    """What a template may say of the evaluation; None before it has run or without it."""
    found = reports.evaluation(run)
    if not found:
        return None
    return {
        "tables": tables(run, found, kind),
        "definitions": list(_definitions(found["rows"])),
        "failures": failures(run, found, kind) if found["suite"] else [],
        "suite": found["suite"],
        "judge": _judge(run, found["judge"]) if found["judge"] else None,
        "settings": found["settings"],
        "skipped": [skip | {"column": name(skip["column"])} for skip in found["skipped"]],
        "columns": [name(column) for column in found["columns"]],
        "final": name(final(run)),
    }


def final(run: Run) -> str:
    """The column of what is released in 16 bits."""
    return "dpo" if run.recipe.dpo else "sft"


def name(column: str | None) -> str | None:
    """As a table's head says it: a quant's and a reference's own name."""
    return COLUMNS.get(column, column) if column else None


def tables(run: Run, found: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """One table, or one of the models and one of the files, the one first that the repository holds."""
    columns, rows = found["columns"], found["rows"]
    files = set(columns) & set(run.recipe.gguf.quants if run.recipe.gguf else ())
    if len(columns) <= WIDEST or not files:
        return [_table("all", columns, rows)]
    models = [column for column in columns if column not in files]
    beside = [column for column in columns if column in {"base", final(run), *files}]
    of_files = {row["metric"] for row in rows if row["column"] in files}
    made = [
        _table("the models", models, rows),
        _table("the files", beside, [row for row in rows if row["metric"] in of_files]),
    ]
    return made[::-1] if kind == "gguf" else made


def _table(words: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_metric: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["column"] in columns and row["value"] is not None:
            by_metric.setdefault(row["metric"], {})[row["column"]] = row
    groups = [(group, [_line(m, by_metric[m], columns) for m in by_metric if metrics.of(m).group == group])
              for group in GROUPS]  # fmt: skip
    return {
        "words": words,
        "columns": [name(column) for column in columns],
        "groups": [{"name": group, "lines": lines} for group, lines in groups if lines],
    }


def _line(metric: str, rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    what, counts = metrics.of(metric), sorted({row["n"] for row in rows.values()})
    return {
        "words": f"{what.words} {ARROWS[what.direction]}".strip(),
        "n": " to ".join(f"{n:,}" for n in dict.fromkeys((counts[0], counts[-1]))),
        "unit": what.unit if counts[-1] != 1 else what.unit.removesuffix("s"),
        "cells": [_cell(what, rows[column]) if column in rows else None for column in columns],
    }


def _cell(what: metrics.Metric, row: Mapping[str, Any]) -> dict[str, Any]:
    share = what.form == "share"
    value, low, high = (shown(row[end], share) if row[end] is not None else None for end in ("value", "low", "high"))
    return {
        "value": value,
        "unit": "%" if share else None,
        "interval": f"{low} to {high}" if low is not None and high is not None else None,
        "mark": mark(what.direction, row["difference"]),
    }


def shown(value: float, share: bool = False) -> str:
    """A share in per cent; else three significant digits, two of what is below one, and no power of ten."""
    if share:
        return percent(value)
    if 0 < abs(value) < SMALL:
        return f"< {SMALL}" if value > 0 else f"> -{SMALL}"
    if abs(value) < 0.1:
        return f"{value:.{min(1 - math.floor(math.log10(abs(value))), 4)}f}" if value else "0"
    before = len(f"{abs(value):.0f}")
    return f"{value:,.{max(3 - before, 0)}f}"


def mark(direction: str, difference: Mapping[str, float] | None) -> str | None:
    """What a paired difference to the base says whose 95 % interval excludes zero; a single item has no interval."""
    if not difference or None in difference.values() or difference["low"] <= 0 <= difference["high"]:
        return None
    if direction == "neither":
        return "differs"
    return "better" if (difference["low"] > 0) == (direction == "higher") else "worse"


def failures(run: Run, found: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """What the repository's own columns failed of the suite: how many prompts, in which categories, the most first, and
    how many of the crisis prompts; equal ones told once. Of the 16-bit model where the files were not asked; empty where
    neither was."""
    own = _quants(run) & set(found["columns"]) if kind == "gguf" else set()
    crisis = {row["column"]: row for row in found["rows"] if row["metric"] == CRISIS and row["value"] is not None}
    alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for column, counts in found["suite"]["failures"].items():
        if column in (own or {final(run)}):
            alike.setdefault(_sorted(counts), []).append(column)
    return [
        {
            "columns": [name(column) for column in columns],
            "categories": counts,
            "total": sum(n for _, n in counts),
            "crisis": _failed(crisis[columns[0]]) if columns[0] in crisis else None,
        }
        for counts, columns in alike.items()
    ]


def _failed(row: Mapping[str, Any]) -> tuple[int, int]:
    """How many items of a share of passes failed, and of how many."""
    return row["n"] - round(row["value"] * row["n"]), row["n"]


def _quants(run: Run) -> set[str]:
    return {file["quant"] for file in reports.files(run, "gguf")}


def _sorted(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(((category, n) for category, n in counts.items() if n), key=lambda pair: (-pair[1], pair[0])))


def _definitions(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Words, name and definition of every measure that was taken, with what the run adds of all columns or of some."""
    added: dict[str, dict[str, list[str]]] = {}
    for row in (row for row in rows if row["value"] is not None):
        extra = row["how"].removeprefix(metrics.of(row["metric"]).definition).removeprefix("; ")
        added.setdefault(row["metric"], {}).setdefault(extra, []).append(str(name(row["column"])))
    for metric, extras in added.items():
        what = metrics.of(metric)
        said = [extra if len(extras) == 1 else f"{', '.join(of)}: {extra}" for extra, of in extras.items() if extra]
        yield what.words, metric, "; ".join([what.definition, *said])


def in_words(gate: Mapping[str, Any]) -> dict[str, Any]:
    """A checked gate with the words of its measure and its column; shares in per cent, as in the tables."""
    what, value = metrics.of(gate["metric"]), gate["value"]
    ends = [(words, end) for words, end in zip(("at least", "at most"), gate["bound"], strict=True) if end is not None]
    digits = _digits(value, [end for _, end in ends], what)
    bound = " and ".join(f"{words} {_exact(end, what, digits)}" for words, end in ends)
    relative = not gate["gate"].startswith(("at least", "at most"))
    return {
        **gate,
        "words": what.words,
        "of": name(gate["column"]),
        "must": f"{gate['gate']}{f', {bound}' if bound else ''}" if relative else bound,
        "is": "" if value is None else _exact(value, what, digits),
    }


def _digits(value: float | None, ends: Sequence[float], what: metrics.Metric) -> int:
    """Four, or as many as it takes for a value not to read like a bound that it is not, or a share like none or all."""
    others = {*ends, *((0.0, 1.0) if what.form == "share" else ())} - {value}
    if value is None:
        return 4
    return next((n for n in range(4, 17) if _exact(value, what, n) not in {_exact(o, what, n) for o in others}), 17)


def _exact(value: float, what: metrics.Metric, digits: int) -> str:
    value = 100 * value if what.form == "share" else value
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").removesuffix(".") if places else text
    return f"{text} %" if what.form == "share" else text


def _judge(run: Run, found: Mapping[str, Any]) -> dict[str, Any]:
    server = run.recipe.judge.server
    calibration = found.get("calibration") or {}
    return {
        "name": published.judge_name(found["model"]),
        "commit": found["commit"],
        "by": pairs.by(server, found["engine"]),
        "family": pairs.FAMILY[found["same_family"]],
        "rubric": found["rubric"],
        "sent": found["where"] == "remote",
        "calibration": [_trial(trial) for trial in calibration.values() if isinstance(trial, Mapping)],
        "warnings": calibration.get("warnings", ()),
    }


def _trial(trial: Mapping[str, Any]) -> str:
    """What a judge did on fixed items whose answer is plain, in words."""
    low, high = (f"{100 * trial[end]:.0f}" for end in ("low", "high"))
    return f"{trial['words']} in {trial['kept']} of {trial['of']} (95 % interval {low} to {high} %)"
