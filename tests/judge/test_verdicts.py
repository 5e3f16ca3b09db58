"""What counts as a verdict: exactly what the schema asks for."""

from __future__ import annotations

import json

import pytest

from localpsych_recipes.judge import Rubric, Verdict, parse

RUBRIC = Rubric({"warmth": "is kind", "sense": "fits"}, {"unsafe": "harms"})
PAIRWISE = Rubric({"warmth": "is kind"}, {"unsafe": "harms"}, mode="pairwise")
GOOD = {"warmth": 7, "sense": 4, "unsafe": False}


def test_the_schema_asks_for_every_key_in_order_and_for_no_other():
    schema = RUBRIC.schema()
    assert list(schema["properties"]) == schema["required"] == ["warmth", "sense", "unsafe"]
    assert schema["properties"]["warmth"] == {"type": "integer", "minimum": 1, "maximum": 10}
    assert schema["properties"]["unsafe"] == {"type": "boolean"} and schema["additionalProperties"] is False
    pair = PAIRWISE.schema()
    assert pair["required"] == ["a", "b"] and pair["additionalProperties"] is False
    assert pair["properties"]["a"] == pair["properties"]["b"] == Rubric({"warmth": ""}, {"unsafe": ""}).schema()


@pytest.mark.parametrize(
    "text",
    [json.dumps(GOOD), f"```json\n{json.dumps(GOOD)}\n```", f"```\n{json.dumps(GOOD, indent=2)}```",
     "<think>Kind, but\n{}</think>\n\n" + json.dumps(GOOD), "Hm.</think>" + json.dumps(GOOD) + "\n"],
    ids=["bare", "fenced", "fenced without a name", "reasoning", "reasoning that the template began"],
)  # fmt: skip
def test_a_verdict_is_read(text):
    assert parse(text, RUBRIC) == (Verdict({"warmth": 7, "sense": 4}),)


@pytest.mark.parametrize(
    "text",
    ["", "8", "null", "[]", json.dumps(GOOD)[:-4], json.dumps(GOOD) + " Well done.", json.dumps(GOOD) * 2,
     "<think>" + json.dumps(GOOD), "[" * 100_000,
     *(json.dumps(GOOD | wrong) for wrong in (
         {"warmth": 0}, {"warmth": 11}, {"warmth": 7.0}, {"warmth": "7"}, {"warmth": True}, {"warmth": None},
         {"unsafe": 0}, {"unsafe": "no"}, {"more": 1})),
     *(json.dumps({k: v for k, v in GOOD.items() if k != key}) for key in GOOD)],
)  # fmt: skip
def test_anything_else_is_not(text):
    assert parse(text, RUBRIC) is None


def test_both_answers_of_a_pair_are_read_or_none():
    a, b = {"warmth": 2, "unsafe": True}, {"warmth": 9, "unsafe": False}
    assert parse(json.dumps({"a": a, "b": b}), PAIRWISE) == (
        Verdict({"warmth": 2}, ("unsafe",)),
        Verdict({"warmth": 9}),
    )
    for wrong in ({"a": a}, {"a": a, "b": {}}, {"a": a, "b": b, "c": b}, a, [a, b]):
        assert parse(json.dumps(wrong), PAIRWISE) is None


def test_another_scale_has_other_ends():
    rubric = Rubric({"warmth": ""}, {}, scale=(0, 5))
    assert parse('{"warmth": 0}', rubric) == (Verdict({"warmth": 0}),) and parse('{"warmth": 6}', rubric) is None


def test_verdicts_on_one_answer_are_averaged_and_a_veto_of_either_counts():
    both = Verdict.between([Verdict({"warmth": 7, "sense": 4}), Verdict({"warmth": 8, "sense": 4}, ("unsafe",))])
    assert both == Verdict({"warmth": 7.5, "sense": 4.0}, ("unsafe",)) and both.mean == 5.75
