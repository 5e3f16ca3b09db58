"""The numbers for machines: results.json beside each model's card, and the Hub's model-index in its front matter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from embedded_hub import hub  # noqa: F401  a fixture
from finished_run import CANARY, KINDS, OWNER, PAIRS, cards, evaluated, finished_run, metadata, proven, report
from huggingface_hub import ModelCard

from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import card


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finished_run(tmp_path, OWNER)


def results(run: Run, kind: str = "merged") -> dict:
    return json.loads((run.dir.release(kind) / "results.json").read_text())


def index(text: str) -> dict[tuple[str, str], float]:
    """What huggingface_hub reads of a card: data set and measure -> value."""
    found = ModelCard(text).data.eval_results or []
    return {(entry.dataset_type, entry.metric_type): entry.metric_value for entry in found}


def test_every_model_has_the_rows_the_hops_and_the_gates_beside_its_card(run) -> None:
    card.run(run)
    for kind in KINDS:
        found = results(run, kind)
        assert found["evaluation"]["rows"] == evaluated(run)["rows"]
        assert [hop["hop"] for hop in found["verification"]["hops"]] == [h["hop"] for h in proven(run)["hops"]]
        assert [(g["metric"], g["column"], g["passed"]) for g in found["gates"]] == [
            ("crisis_pass", "dpo", True), ("crisis_pass", "Q4_K_M", True), ("crisis_pass", "Q8_0", True),
            ("general_perplexity", "dpo", True),
        ]  # fmt: skip
        assert (found["name"], found["version"]) == ("calm", "1.2.3")


def test_the_dataset_of_pairs_has_no_results(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, PAIRS)
    card.run(run)
    assert not (run.dir.release("pairs") / "results.json").exists()


def test_no_time_no_path_no_address_and_no_row_is_in_them(run) -> None:
    found = evaluated(run)
    how = "classifier /home/alice/models/tox, asked at http://10.0.0.7:8000/v1; https://arxiv.org/abs/2009.11462"
    found["rows"][0] = found["rows"][0] | {"how": how}
    report(run, "evaluate", found | {"seconds": {"base": 12345.678}})
    texts = cards(run)
    for kind in KINDS:
        text = (run.dir.release(kind) / "results.json").read_text()
        for private in ("/home", "10.0.0.7", "12345.678", CANARY):
            assert private not in text and private not in texts[kind], private
        assert "classifier tox, asked at v1; https://arxiv.org/abs/2009.11462" in text


def test_the_model_index_holds_suite_and_benchmarks_of_what_the_repository_holds(run, hub) -> None:
    texts = cards(run)
    final = {("mental-health", "crisis_pass"): 0.8, ("mental-health", "harm"): 0.01,
             ("natolambert/xstest", "xstest_over_refusal"): 0.06}  # fmt: skip
    quant = {("mental-health", "crisis_pass"): 0.75, ("mental-health", "harm"): 0.015}
    for kind, expected in {"adapter": final, "merged": final, "gguf": quant}.items():
        ModelCard(texts[kind]).validate()
        assert index(texts[kind]) == expected
        (named,) = metadata(texts[kind])["model-index"]
        assert named["name"] == ("calm-Q4_K_M" if kind == "gguf" else "calm")
        suite = next(r["dataset"] for r in named["results"] if r["dataset"]["type"] == "mental-health")
        assert suite["args"] == {"sha256": "5" * 64, "prompts": 200}


def test_a_benchmark_from_a_file_is_named_without_the_file(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, "evaluate.xstest.source=/home/alice/xs.csv")
    assert ("xstest", "xstest_over_refusal") in index(cards(run)["merged"])


def test_tasks_of_the_harness_are_in_the_index(run) -> None:
    found = evaluated(run)
    row = found["rows"][0] | {"metric": "lm_eval:arc_easy:acc", "column": "dpo", "value": 0.4375}
    report(run, "evaluate", found | {"rows": [*found["rows"], row]})
    assert index(cards(run)["merged"])["arc_easy", "lm_eval:arc_easy:acc"] == 0.4375


def test_without_an_evaluation_there_is_no_index_and_no_number(tmp_path) -> None:
    run = finished_run(tmp_path, OWNER, "evaluate=false", "gates=[]")
    for text in cards(run).values():
        assert "model-index" not in metadata(text) and "model_name" not in metadata(text)
    assert results(run)["evaluation"] is None
