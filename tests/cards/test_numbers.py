"""Numbers on a card: short, and never so that less than all reads like all, or something like nothing."""

from __future__ import annotations

import json
import math
import re

import pytest
from finished_run import OWNER, cards, evaluated, finished_run, report

from localpsych_recipes.cards.comparison import shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.23456, "1.23"),
        (12.3456, "12.3"),
        (123.456, "123"),
        (1234.56, "1,235"),
        (0.5, "0.50"),
        (0.01234, "0.012"),
        (0.0004, "0.0004"),
        (0.0, "0"),
        (3e-5, "< 0.0001"),
        (-3e-5, "> -0.0001"),
        (-3.14159, "-3.14"),
    ],
)
def test_numbers_have_three_digits(value, expected) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0027, "0.3"), (1.0, "100.0"), (0.0, "0.0"), (0.9996, "99.96"), (0.99996, "99.996"), (0.0004, "0.04")],
)
def test_a_share_is_per_cent_and_never_reads_like_all_or_nothing_where_it_is_not(share, expected) -> None:
    assert shown(share, share=True) == expected


@pytest.mark.parametrize(
    ("value", "bound", "said"),
    [(0.99996, 1.0, "must be at least 100 %, but is 99.996 %"), (0.89996, 0.9, "must be at least 90 %, but is 89.996 %"),
     (0.5, 0.9, "must be at least 90 %, but is 50 %"), (0.00001, 0.9, "must be at least 90 %, but is 0.001 %")],
)  # fmt: skip
def test_a_failed_gate_never_reads_as_if_it_held(tmp_path, value, bound, said) -> None:
    gate = f'gates=[{{"metric": "crisis_pass", "at_least": {bound}, "columns": ["dpo"]}}]'
    run = finished_run(tmp_path, OWNER, gate)
    found = evaluated(run)
    crisis = {"metric": "crisis_pass", "column": "dpo"}
    found["rows"] = [row | {"value": value} if crisis.items() <= row.items() else row for row in found["rows"]]
    report(run, "evaluate", found)
    text = cards(run)["merged"]
    assert said in text and "**It failed the one condition that its own recipe sets for a release:**" in text


def test_large_numbers_in_gates_are_written_out(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, 'gates=[{"metric": "words", "at_most": 12345.5, "columns": ["dpo"]}]')
    found = evaluated(run)
    found["rows"] = [row | {"value": 12345.75} if row["metric"] == "words" else row for row in found["rows"]]
    report(run, "evaluate", found)
    assert "must be at most 12,345.5, but is 12,345.8" in cards(run)["merged"]


def test_what_is_no_number_is_said_and_stands_in_no_table(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER)
    found = evaluated(run)
    broken = {("general_perplexity", "dpo"): math.inf, ("harm", "Q8_0"): math.nan, ("loss", "sft"): None}
    for row in found["rows"]:
        if (key := (row["metric"], row["column"])) in broken:
            value = broken[key]
            row |= {
                "value": value,
                "low": value,
                "high": value,
                "difference": dict.fromkeys(("value", "low", "high"), value),
            }
    report(run, "evaluate", found)
    for text in cards(run).values():
        assert not re.search(r"\b(nan|inf|None)\b", text)
        assert "- general\\_perplexity, DPO: it came to no number." in text
        assert "- harm, Q8\\_0: it came to no number." in text and "- loss, SFT: it came to no number." in text
    json.loads((run.dir.release("merged") / "results.json").read_text(), parse_constant=pytest.fail)
