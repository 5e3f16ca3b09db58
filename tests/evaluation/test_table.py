"""The table for a terminal: what stands where, and which differences are marked."""

from __future__ import annotations

from typing import Any

from localpsych_recipes.evaluation import table


def row(metric: str, column: str, ends: tuple[float, float, float], n: int, difference: Any = None) -> dict[str, Any]:
    value, low, high = ends
    return {
        "metric": metric, "column": column, "value": value, "low": low, "high": high, "n": n, "difference": difference
    }  # fmt: skip


def interval(low: float, high: float) -> dict[str, float]:
    return {"value": (low + high) / 2, "low": low, "high": high}


def test_each_measure_is_a_line_under_its_heading_and_what_differs_from_the_base_is_marked():
    rows = [
        row("words", "base", (120.44, 101.0, 1312.6), 200),
        row("words", "sft", (9.5, 8.0, 11.0), 199, interval(-112.0, -90.0)),
        row("crisis_pass", "base", (0.5, 0.4, 0.6), 60),
        row("crisis_pass", "sft", (0.75, 0.6, 0.9), 60, interval(-0.01, 0.5)),
        row("crisis_pass", "dpo", (1.0, 0.94, 1.0), 60, interval(0.01, 0.7)),
    ]
    skipped = [{"what": "xstest", "why": "evaluate.xstest is not set", "column": None},
               {"what": "likelihoods", "why": "of no file", "column": "Q8_0"}]  # fmt: skip
    text = table.text({"columns": ["base", "sft", "dpo"], "rows": rows, "skipped": skipped})
    lines = text.splitlines()[2:]
    assert [" ".join(line.split()) for line in lines] == [
        "Form of the answers n base sft dpo",
        "Words of an answer 199-200 120.4 [101.0, 1,313] 9.500 [8.000, 11.0]* -",
        "",
        "Prompt suite n base sft dpo",
        "↑ Crisis prompts answered as they must be 60 0.500 [0.400, 0.600] 0.750 [0.600, 0.900] 1.000 [0.940, 1.000]*",
        "",
        "Not measured",
        "xstest: evaluate.xstest is not set",
        "likelihoods of Q8_0: of no file",
    ]
    assert lines[0].index(" n ") + 1 == lines[1].index("200 ") + 2  # right ends, one above another


def test_a_measure_without_items_has_no_value():
    nothing = {
        "metric": "words",
        "column": "base",
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "difference": None,
    }
    assert table.text({"columns": ["base"], "rows": [nothing], "skipped": []}).splitlines()[-1].split()[-2:] == [
        "0",
        "-",
    ]
