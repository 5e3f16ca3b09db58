"""lm-evaluation-harness measures the models of this run, document by document, on tasks that are files here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation import harness, row
from localpsych_recipes.evaluation.bench import Bench, Column
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.generation.weights import Weights
from tests import tiny_models
from tests.evaluation.benches import bench, values
from tests.families import bases

pytestmark = pytest.mark.usefixtures("one_thread")
DOCUMENTS = (
    ("Which one is an animal?", ["a dog", "a stone that is grey"], 0),
    ("Which one is cold?", ["fire", "ice"], 1),
    ("Which one is wet?", ["sand", "the rain of a long night"], 1),
    ("Which one sings?", ["my friend", "the house"], 0),
    ("Which one is tired?", ["a town", "the baby"], 1),
)
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {documents}}}}}
test_split: test
output_type: {output}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{target}"
metric_list: {metrics}
{more}
metadata: {{version: 3}}
"""
CHOICES = 'doc_to_choice: "{{choices}}"'
MEAN = "{{metric: {}, aggregation: mean, higher_is_better: true}}"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name -> the path of its file."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"question": question, "choices": choices, "label": label} for question, choices, label in DOCUMENTS]
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    choosing = {"output": "multiple_choice", "target": "{{label}}", "more": CHOICES}
    writing = {
        "output": "generate_until",
        "target": "{{choices[label]}}",
        "more": "generation_kwargs: {max_gen_toks: 4}",
    }
    corpus = {"metric": "f1", "aggregation": "f1", "higher_is_better": True}
    made = {
        "broken": {**writing, "more": CHOICES, "metrics": f"[{MEAN.format('exact_match')}]"},
        "choose": {**choosing, "metrics": f"[{MEAN.format('acc')}, {MEAN.format('acc_norm')}, {json.dumps(corpus)}]"},
        "write": {**writing, "metrics": f"[{MEAN.format('exact_match')}]"},
        "gone": {**choosing, "metrics": f"[{MEAN.format('acc')}]"},
    }
    for name, keys in made.items():
        documents = folder / ("documents.jsonl" if name != "gone" else "no-documents.jsonl")
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, documents=documents, **keys))
    return {name: str(folder / f"{name}.yaml") for name in made}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 3 and an adapter for it."""
    folder = tmp_path_factory.mktemp("models")
    bases.make("gemma3", folder / "base")
    tiny_models.adapter(folder / "base", folder / "sft", targets=["q_proj", "v_proj", "down_proj"], lora_alpha=64)
    return folder


def measured(folder: Path, model: Path, wanted: list[str], **knobs) -> list[Measured | Skipped]:
    made: Bench = bench(
        folder, {"lm_eval": wanted, "trust_remote_code": True, **knobs}, {"base": {}}, base=model / "base"
    )
    own = {"base": None, "sft": model / "sft"}
    weights = {
        name: Weights(made.run.recipe.base, model / "base", adapter, name, name) for name, adapter in own.items()
    }
    made.columns = [*(Column(name, None, of_name) for name, of_name in weights.items()), Column("Q4_K_M", None)]
    return list(harness.measure(made))


def likelihoods(model: Path, adapter: str | None) -> list[list[float]]:
    """Of each document's choices after its question, by transformers and PEFT alone."""
    loaded, tokenizer = (
        AutoModelForCausalLM.from_pretrained(model / "base"),
        AutoTokenizer.from_pretrained(model / "base"),
    )
    if adapter:
        loaded.load_adapter(str(model / adapter))
    return [
        [_likelihood(loaded, tokenizer, question, choice) for choice in choices] for question, choices, _ in DOCUMENTS
    ]


def _likelihood(model, tokenizer, question: str, choice: str) -> float:
    said = [{"role": "user", "content": question}]
    before = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
    prompt, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, before + choice))
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logs[at - 1, ids[at]]) for at in range(len(prompt), len(ids)))


@pytest.fixture(scope="module")
def chosen(tasks, model, tmp_path_factory) -> list[Measured | Skipped]:
    return measured(tmp_path_factory.mktemp("chosen"), model, [tasks["choose"]])


def test_each_column_s_choices_are_the_likelier_ones_and_each_document_is_an_item(chosen, model):
    taken = {(one.metric, one.column): one for one in chosen if isinstance(one, Measured)}
    assert set(taken) == {
        (f"lm_eval:choose:{name}", column) for name in ("acc", "acc_norm") for column in ("base", "sft")
    }
    for column, adapter in (("base", None), ("sft", "sft")):
        scores = likelihoods(model, adapter)
        right = [
            max(range(2), key=of.__getitem__) == label for of, (_, _, label) in zip(scores, DOCUMENTS, strict=True)
        ]
        per_byte = [
            max(range(2), key=lambda i, of=of, choices=choices: of[i] / len(choices[i])) == label
            for of, (_, choices, label) in zip(scores, DOCUMENTS, strict=True)
        ]
        assert list(values(taken["lm_eval:choose:acc", column]).values()) == right
        assert list(values(taken["lm_eval:choose:acc_norm", column]).values()) == per_byte
    table_row = row(taken["lm_eval:choose:acc", "sft"], taken["lm_eval:choose:acc", "base"], seed=1, resamples=100)
    assert table_row["n"] == 5 and table_row["difference"] is not None
    assert "lm-evaluation-harness 0.4" in table_row["how"] and "version 3" in table_row["how"]


def test_what_is_no_mean_over_documents_and_what_is_no_model_here_is_named(chosen):
    left_out = {(one.what, one.column) for one in chosen if isinstance(one, Skipped)}
    assert left_out == {("lm_eval", "Q4_K_M"), ("lm_eval:choose:f1", "base"), ("lm_eval:choose:f1", "sft")}


def test_a_limit_is_of_each_task_s_documents(tasks, model, tmp_path):
    found = measured(tmp_path, model, [tasks["write"]], lm_eval_limit=2)
    items = {one.column: one.items for one in found if isinstance(one, Measured)}
    assert {len(of_column) for of_column in items.values()} == {2} and set(items) == {"base", "sft"}


def test_a_task_that_cannot_be_had_leaves_the_others_be(tasks, model, tmp_path):
    wanted = [tasks["gone"], "no-such-task", tasks["broken"], tasks["write"]]
    found = measured(tmp_path, model, wanted, lm_eval_limit=1)
    assert [one.metric for one in found if isinstance(one, Measured)] == ["lm_eval:write:exact_match"] * 2
    why = {one.what: one.why for one in found if isinstance(one, Skipped)}
    assert why["lm_eval:no-such-task"] == "lm-evaluation-harness knows no such task"
    assert why["lm_eval:gone"].startswith("its dataset or definition cannot be had")
    assert why["lm_eval:broken"].startswith("lm-evaluation-harness fails on it")


def test_a_task_that_the_harness_does_not_know_is_found_before_anything_runs(tasks):
    harness.check(["arc_easy", tasks["choose"]])
    with pytest.raises(UserError, match="no task 'arc_eazy'") as error:
        harness.check(["arc_eazy"])
    assert "arc_easy" in error.value.do
    with pytest.raises(UserError, match="no task './not-here.yaml'"):
        harness.check(["./not-here.yaml"])


def test_without_tasks_nothing_is_loaded(tmp_path):
    (left_out,) = harness.measure(bench(tmp_path, {}))
    assert left_out == Skipped("lm_eval", "evaluate.lm_eval is not set")


def test_documents_of_a_group_s_tasks_are_taken_together():
    """The shape of what the harness gives for a group of two tasks, with three and one documents."""
    scores = {"one": [1.0, 0.0, 1.0], "two": [0.0]}
    results = {
        "samples": {
            name: [{"doc_id": i, "filter": "none", "metrics": ["acc"], "acc": score} for i, score in enumerate(of_name)]
            for name, of_name in scores.items()
        },
        "results": {name: {"acc,none": sum(of_name) / len(of_name)} for name, of_name in scores.items()},
        "higher_is_better": {name: {"acc": True} for name in scores},
        "n-shot": {"one": 0, "two": 5},
        "versions": dict.fromkeys(scores, 1.0),
    }
    (found,) = harness.read("both", "base", results)
    assert values(found) == {"one/0": 1, "one/1": 0, "one/2": 1, "two/0": 0}
    assert "2 tasks, each document counting the same, 0 to 5 examples" in found.how
