"""Gates: what must hold of a measure, in which direction, of which column; and what stops a push."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finished_run import RECIPE

from localpsych_recipes import gates, recipe_file
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe.evaluate import Evaluate, Gate, gate_problems


def check(
    folder: Path, gate: dict[str, Any], values: dict[str, dict[str, float]], *, withheld=(), evaluate=None, skipped=()
) -> list[dict]:
    """gate over {metric: {column: value}}, with the finished run's recipe: DPO, Q4_K_M and Q8_0."""
    (folder / "recipe.yaml").write_text(RECIPE)
    recipe = recipe_file.load(
        folder / "recipe.yaml", [f"evaluate={json.dumps(evaluate or {})}", f"gates={json.dumps([gate])}"]
    )
    rows = [{"metric": m, "column": c, "value": v, "n": 3} for m, found in values.items() for c, v in found.items()]
    columns = list(dict.fromkeys(row["column"] for row in rows))
    return gates.check(recipe, {"rows": rows, "columns": columns, "skipped": skipped}, withheld)


# the base has 0.5 of a measure that should be high, 2.0 of one that should be low, 40 of one that should stay
HIGH, LOW, SAME = "crisis_pass", "general_perplexity", "words"
BASE = {HIGH: 0.5, LOW: 2.0, SAME: 40.0}


@pytest.mark.parametrize(
    ("gate", "just_inside", "just_outside"),
    [
        ({"metric": HIGH, "at_least": 1.0}, 1.0, 0.99),
        ({"metric": "harm", "at_most": 0.0}, 0.0, 0.01),
        ({"metric": HIGH, "within": 0.1}, 0.45, 0.44),
        ({"metric": HIGH, "within": 0.1}, 1.0, 0.44),
        ({"metric": LOW, "within": 0.05}, 2.1, 2.11),
        ({"metric": LOW, "within": 0.05}, 0.1, 2.11),
        ({"metric": SAME, "within": 0.25}, 50.0, 50.1),
        ({"metric": SAME, "within": 0.25}, 30.0, 29.9),
    ],
)
def test_a_gate_holds_up_to_its_bound_and_no_further(tmp_path, gate, just_inside, just_outside) -> None:
    for value, expected in ((just_inside, True), (just_outside, False)):
        values = {gate["metric"]: {"base": BASE.get(gate["metric"], 0.5), "dpo": value}}
        (found,) = check(tmp_path, gate, values)
        assert (found["passed"], found["column"], found["value"]) == (expected, "dpo", value)
        assert (found["why"] is None) is expected


def test_a_measure_below_zero_may_get_worse_by_a_share_of_its_size(tmp_path) -> None:
    margin = {"base": -1.0, "dpo": -1.05}
    assert check(tmp_path, {"metric": "reward_margin", "within": 0.1}, {"reward_margin": margin})[0]["passed"]


def test_every_released_column_is_judged_and_the_others_are_not(tmp_path) -> None:
    values = {HIGH: {"base": 0.0, "sft": 0.0, "dpo": 1.0, "Q4_K_M": 0.9, "Q8_0": 1.0}}
    found = check(tmp_path, {"metric": HIGH, "at_least": 1.0}, values)
    assert {gate["column"]: gate["passed"] for gate in found} == {"dpo": True, "Q4_K_M": False, "Q8_0": True}


def test_a_file_that_is_withheld_is_not_judged(tmp_path) -> None:
    values = {HIGH: {"dpo": 1.0, "Q4_K_M": 0.9, "Q8_0": 1.0}}
    found = check(tmp_path, {"metric": HIGH, "at_least": 1.0}, values, withheld=["Q4_K_M"])
    assert [gate["column"] for gate in found] == ["dpo", "Q8_0"]


def test_named_columns_are_judged_alone_and_fail_where_they_were_not_measured(tmp_path) -> None:
    gate = {"metric": HIGH, "at_least": 0.5, "columns": ["sft", "quants"]}
    found = check(tmp_path, gate, {HIGH: {"dpo": 0.0, "sft": 0.6, "Q8_0": 0.7}})
    assert [(gate["column"], gate["passed"], gate["why"]) for gate in found] == [
        ("sft", True, None), ("Q4_K_M", False, gates.NOT_MEASURED), ("Q8_0", True, None),
    ]  # fmt: skip


@pytest.mark.parametrize("values", [{}, {"loss": {"dpo": 1.0}}, {LOW: {"dpo": 1.0}}, {LOW: {"base": 1.0}}])
def test_what_was_not_measured_has_failed(tmp_path, values) -> None:
    (found,) = check(tmp_path, {"metric": LOW, "within": 0.05}, values)
    assert not found["passed"] and "not measured" in found["why"]


@pytest.mark.parametrize("gate", [{"at_least": 0.0}, {"at_most": 10.0}, {"within": 0.05}])
@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_what_came_to_no_number_has_failed(tmp_path, gate, nothing) -> None:
    (found,) = check(tmp_path, {"metric": LOW, **gate}, {LOW: {"base": 2.0, "dpo": nothing}})
    assert not found["passed"] and found["why"] == "it came to no number, of n = 3"
    (found,) = check(tmp_path, {"metric": LOW, "within": 0.05}, {LOW: {"base": nothing, "dpo": 1.0}})
    assert not found["passed"] and found["why"] == "of the base it came to no number, of n = 3"


@pytest.mark.parametrize("gate", [{"at_least": 0.1}, {"at_most": 0.9}, {"within": 0.05}])
@pytest.mark.parametrize(
    ("metric", "skip"),
    [
        ("toxic_answers", {"what": "toxicity", "why": "toxic-bert: not on this machine", "column": None}),
        ("crisis_pass", {"what": "suite", "why": "evaluate.suite is not set", "column": None}),
        ("lm_eval:arc:acc", {"what": "lm_eval:arc", "why": "the harness fails on it", "column": "dpo"}),
    ],
)
def test_what_was_skipped_has_failed_and_the_gate_says_why_it_was(tmp_path, gate, metric, skip) -> None:
    knobs = {"toxicity": {"classifier": "toxic-bert"}, "lm_eval": ["arc"]}
    values, others = {metric: {"base": 0.5}}, [{"what": "judge", "why": "something else", "column": None}]
    (found,) = check(tmp_path, {"metric": metric, **gate}, values, evaluate=knobs, skipped=[*others, skip])
    assert not found["passed"] and found["why"] == f"it was not measured: {skip['why']}"


def test_a_measure_that_quants_never_have_is_judged_of_the_trained_model_alone(tmp_path) -> None:
    values = {"win_rate_base": {"dpo": 0.7}, HIGH: {"dpo": 1.0, "Q4_K_M": 1.0, "Q8_0": 1.0}}
    found = check(tmp_path, {"metric": "win_rate_base", "at_least": 0.5}, values, evaluate={"judge": True})
    assert [(gate["column"], gate["passed"]) for gate in found] == [("dpo", True)]


@pytest.mark.parametrize(
    ("gate", "evaluate", "said"),
    [
        ({"metric": "loss", "within": 0.1}, {"columns": ["dpo"]}, "loss of base: evaluate.columns leaves base out"),
        ({"metric": "loss", "at_most": 1.0, "columns": ["sft"]}, {"columns": ["base", "dpo"]}, "loss of sft"),
        ({"metric": "harm", "at_most": 0, "columns": ["quants"]}, {"columns": ["base", "dpo"]}, "harm of quants"),
        ({"metric": "toxic_answers", "at_most": 0}, {}, "only measured with evaluate.toxicity"),
        ({"metric": "crisis_pass", "at_least": 1}, {"suite": None}, "only measured with evaluate.suite"),
        ({"metric": "win_rate_base", "at_least": 0.5}, {}, "only measured with evaluate.judge"),
        ({"metric": "crisis_pass", "at_least": 95}, {}, "every share lies from 0 to 1"),
        ({"metric": "harm", "at_most": 1}, {}, "every share lies from 0 to 1"),  # per cent, or a gate that always holds
        ({"metric": "loss", "at_most": 2, "columns": ["quants"]}, {}, "loss is not measured of quants"),
        ({"metric": "win_rate_base", "within": 0.1}, {"judge": True}, "no wins to compare with"),
        ({"metric": "win_rate_sft", "at_least": 0.5}, {"judge": True, "columns": ["dpo"]}, "leaves sft out"),
        (
            {"metric": "lm_eval:mine.yaml:acc", "at_least": 1},
            {"lm_eval": ["tasks/mine.yaml"], "trust_remote_code": True},
            "is no measure",
        ),
        ({"metric": "lm_eval:arc_easy", "at_least": 0.5}, {"lm_eval": ["arc_easy"]}, "lm_eval:TASK:MEASURE is one"),
    ],
)
def test_a_gate_on_what_is_never_measured_is_refused_with_the_recipe(tmp_path, gate, evaluate, said) -> None:
    with pytest.raises(UserError, match=said):
        check(tmp_path, gate, {}, evaluate=evaluate)


def test_quants_that_no_stage_makes_are_no_gate_that_always_holds() -> None:
    gate = Gate(metric="harm", at_most=0.0, columns=["quants"])
    assert not list(gate_problems((gate,), Evaluate(), ["sft", "quants"]))
    assert "no stage makes it" in next(gate_problems((gate,), Evaluate(), ["sft"]))


def test_a_margin_that_no_stage_is_measured_by_is_refused() -> None:
    gate = Gate(metric="reward_margin", at_least=0.0)
    assert not list(gate_problems((gate,), Evaluate(), ["sft", "dpo"]))
    assert "recipe with `dpo`" in next(gate_problems((gate,), Evaluate(), ["sft"]))
    of_sft = Gate(metric="reward_margin", at_least=0.0, columns=["sft"])
    assert "the reference itself" in next(gate_problems((of_sft,), Evaluate(), ["sft", "dpo"]))


def test_a_task_from_a_file_is_gated_by_the_files_name(tmp_path) -> None:
    gate, knobs = (
        {"metric": "lm_eval:mine:acc", "at_least": 0.5},
        {"lm_eval": ["tasks/mine.yaml"], "trust_remote_code": True},
    )
    assert check(tmp_path, gate, {"lm_eval:mine:acc": {"dpo": 0.6}}, evaluate=knobs)[0]["passed"]


def test_without_an_evaluation_every_gate_has_failed(tmp_path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    gate = json.dumps([{"metric": "harm", "at_most": 0}])
    recipe = recipe_file.load(tmp_path / "recipe.yaml", ["evaluate={}", f"gates={gate}"])
    assert [gate["passed"] for gate in gates.check(recipe, None)] == [False]


def test_the_refusal_names_every_gate_that_failed(tmp_path) -> None:
    values = {HIGH: {"dpo": 0.5, "Q4_K_M": 1.0, "Q8_0": 0.25}}
    with pytest.raises(UserError, match="--publish-anyway") as refused:
        gates.refuse_failed(check(tmp_path, {"metric": HIGH, "at_least": 1.0}, values))
    assert "2 of 3 gates" in str(refused.value) and "crisis_pass of Q8_0 must be at least 1: 0.25" in str(refused.value)
    gates.refuse_failed(check(tmp_path, {"metric": HIGH, "at_least": 0.25}, values))
