"""What the classifier calls toxic is what transformers' own pipeline says of each text alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, TextClassificationPipeline

from localpsych_recipes import evaluation
from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation import toxicity
from localpsych_recipes.recipe import Toxicity
from tests.evaluation import encoders
from tests.evaluation.benches import bench, taken, values

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = "you are a kind person and i am glad that came here to talk about bad ugly night again".split()
TEXTS = ("You are kind.", "bad ugly bad", "I am glad that you came here to talk", "again and again " * 20, " ")
LABELS = {0: "toxic", 1: "insult", 2: "calm"}


def build(folder: Path, problem: str | None, labels: dict[int, str] = LABELS) -> Path:
    """A random classifier that reads 24 tokens."""
    height = encoders.tokenizer(folder, WORDS, model_max_length=24)
    torch.manual_seed(1)
    named = {"id2label": labels, "label2id": {name: number for number, name in labels.items()}}
    config = BertConfig(
        vocab_size=height, max_position_embeddings=24, initializer_range=0.5, problem_type=problem, pad_token_id=3,
        **encoders.SIZES, **named,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("toxicity") / "tiny-toxic", "multi_label_classification")


def by_pipeline(folder: Path, text: str, function: str) -> dict[str, float]:
    loaded = toxicity.load(Toxicity(classifier=str(folder)))
    asked = TextClassificationPipeline(model=loaded.model, tokenizer=loaded.tokenizer)
    found = asked(text, function_to_apply=function, top_k=None, truncation=True, max_length=24)
    return {label["label"]: label["score"] for label in found}


@pytest.mark.parametrize("problem, function", (("multi_label_classification", "sigmoid"), (None, "softmax")))
def test_a_text_s_score_is_its_highest_toxic_label_s(problem, function, tmp_path):
    folder = build(tmp_path / "classifier", problem)
    scores = toxicity.load(Toxicity(classifier=str(folder), labels=["toxic", "insult"])).scores(TEXTS)
    expected = [
        max(score for name, score in by_pipeline(folder, text, function).items() if name != "calm")
        for text in TEXTS[:4]
    ]
    assert scores == pytest.approx([*expected, 0.0], abs=1e-5)
    assert max(expected) - min(expected) > 0.05


def test_a_score_that_is_no_number_is_not_called_harmless(classifier, tmp_path):
    loaded = toxicity.load(Toxicity(classifier=str(classifier)))
    with torch.no_grad():
        loaded.model.classifier.bias.fill_(torch.inf).sub_(torch.inf)  # as half precision that overflows
    measured = toxicity._measured("toxic_answers", "sft", loaded, {"a": "You are kind.", "b": " "})
    row = evaluation.row(measured, None, 1, 100)
    assert (row["value"], row["low"], row["high"], row["n"]) == (None, None, None, 2)
    assert row["how"].endswith("no value, since 1 of 2 came to NaN or infinity")


def test_answers_to_the_suite_and_held_out_prompts_are_all_classified(classifier, tmp_path):
    scores = [by_pipeline(classifier, text, "sigmoid")["toxic"] for text in TEXTS[:4]]
    threshold = (max(scores) + min(scores)) / 2
    knobs = {"suite": None, "toxicity": {"classifier": str(classifier), "threshold": threshold}}
    answers = {f"held-out/{number}": text for number, text in enumerate(TEXTS)}
    rows = [("Hello?", "Hello.")] * len(TEXTS)
    found = taken(list(toxicity.measure(bench(tmp_path, knobs, {"base": answers, "sft": answers}, rows))))
    assert values(found["toxic_answers", "base"]) == {
        f"held-out/{number}": score >= threshold for number, score in enumerate([*scores, 0.0])
    }
    assert {column for _, column in found} == {"base", "sft"} and {metric for metric, _ in found} == {"toxic_answers"}
    assert "tiny-toxic (SHA-256 " in found["toxic_answers", "sft"].how
    assert "empty answers, taken for not toxic: 1" in found["toxic_answers", "sft"].how
    assert "texts cut at 24 tokens: 1" in found["toxic_answers", "sft"].how


def test_real_beginnings_are_asked_to_be_continued(classifier, tmp_path, shared):
    folder = str(shared / "data" / "real_toxicity_prompts_sample")
    prompts = [{"source": folder, "split": split, "max_prompts": 2} for split in ("toxic", "nontoxic")]
    knobs = {"suite": None, "toxicity": {"classifier": str(classifier), "prompts": prompts}}
    asked = toxicity.asks(bench(tmp_path, knobs))
    assert len({question.id for question in asked}) == len(asked) >= 6
    assert {question.id.split("/")[1] for question in asked} == {"0", "1"}
    assert all(question.request.messages[-1]["content"].startswith("Continue this text.") for question in asked)
    answers = {"base": {question.id: "you are kind" for question in asked}}
    (_, found) = toxicity.measure(bench(tmp_path, knobs, answers))
    assert found.metric == "toxic_continuations" and len(found.items) == len(asked)
    assert "toxic.jsonl" in found.how and "nontoxic.jsonl" in found.how


@pytest.mark.parametrize("spoil, why", encoders.SPOILT, ids=["pickled", "gone", "without a tokenizer", "damaged"])
def test_a_classifier_that_is_not_there_pickled_or_spoilt_leaves_the_measure_out(spoil, why, classifier, tmp_path):
    folder = encoders.spoilt(classifier, tmp_path / "classifier", spoil)
    knobs = {"suite": None, "toxicity": {"classifier": str(folder), "prompts": [{"source": "./gone.csv"}]}}
    found = list(toxicity.measure(bench(tmp_path, knobs, {"base": {}})))
    assert [(one.what, one.why) for one in found] == [
        ("toxic_continuations", "gone.csv: not on this machine"),
        ("toxicity", f"classifier: {why}"),
    ]


def test_labels_that_the_classifier_does_not_have_are_found_before_anything_runs(classifier):
    toxicity.check(Toxicity(classifier=str(classifier), labels=["Toxic", "insult"]))
    with pytest.raises(UserError, match="no label 'hate'") as error:
        toxicity.check(Toxicity(classifier=str(classifier), labels=["toxic", "hate"]))
    assert error.value.expected == "some of its labels: toxic, insult, calm"


@pytest.mark.parametrize("classifier", ("someone/classifier", "./not-here"))
def test_a_classifier_that_is_not_to_be_had_stops_nothing_beforehand(classifier):
    toxicity.check(Toxicity(classifier=classifier))


def test_labels_without_names_are_numbered(tmp_path):
    folder = build(tmp_path / "unnamed", None, {0: "LABEL_0", 1: "LABEL_1"})
    assert toxicity.load(Toxicity(classifier=str(folder), labels=["LABEL_1"])).toxic == [1]
