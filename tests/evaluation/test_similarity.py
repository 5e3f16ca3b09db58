"""BERTScore of answers is the greedy matching of the encoder's own hidden states, and what the package cannot take is 0."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation import similarity
from localpsych_recipes.recipe import BertScore
from tests.evaluation import encoders
from tests.evaluation.benches import bench, taken, values

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = "i am so sorry you feel alone that sounds hard would it help to talk about night".split()
PAIRS = (
    ("I feel alone", "I am sorry you feel alone"),
    ("It is hard", "That sounds so hard would it help to talk about it"),
    ("At night", "I am sorry"),
)
ANSWERS = ("so sorry you feel alone", "that sounds hard", "  \n")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers whose tokens are words, and which reads 24 of them at most."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    height = encoders.tokenizer(folder, WORDS)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=height, max_position_embeddings=26, initializer_range=1.0, **encoders.SIZES)
    BertModel(config).save_pretrained(folder)
    return folder


def measured(folder: Path, encoder: Path, answers=ANSWERS, **knobs):
    wanted = {"bert_score": {"model": str(encoder), "num_layers": 2, **knobs}}
    said = {f"held-out/{number}": answer for number, answer in enumerate(answers)}
    return list(similarity.measure(bench(folder, wanted, {"base": said}, PAIRS)))


def by_hand(encoder: Path, answer: str, reference: str, layer: int) -> float:
    """F1 as Zhang et al. 2020 write it, section 3: each token with the most similar one, [CLS] and [SEP] not counted."""
    model, tokenizer = BertModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)

    def states(text: str) -> torch.Tensor:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        return hidden / hidden.norm(dim=-1, keepdim=True)

    alike = states(answer) @ states(reference).T
    # the paper's matches may be any token; those whose weight counts are words alone
    precision, recall = alike.max(dim=1).values[1:-1].mean(), alike.max(dim=0).values[1:-1].mean()
    return float(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("layer", (1, 2))
def test_the_score_of_an_answer_is_the_greedy_matching_of_hidden_states(layer, encoder, tmp_path):
    scores = values(taken(measured(tmp_path, encoder, num_layers=layer))["bert_score", "base"])
    expected = [by_hand(encoder, answer, reference, layer) for answer, (_, reference) in zip(ANSWERS[:2], PAIRS)]
    assert [scores["held-out/0"], scores["held-out/1"]] == pytest.approx(expected, abs=1e-5)
    assert 0 < expected[0] < 1


def test_an_answer_that_is_the_reference_scores_one(encoder, tmp_path):
    answers = [reference for _, reference in PAIRS]
    assert list(values(taken(measured(tmp_path, encoder, answers))["bert_score", "base"]).values()) == pytest.approx(
        [1] * 3
    )


def test_an_empty_answer_counts_as_zero_and_is_counted(encoder, tmp_path):
    found = taken(measured(tmp_path, encoder))["bert_score", "base"]
    assert values(found)["held-out/2"] == 0
    assert "empty answers, which count as 0: 1" in found.how
    assert "tiny-bert (SHA-256 " in found.how and "bert-score 0.3.13" in found.how and "layer 2" in found.how


def test_answers_longer_than_the_encoder_reads_are_cut_and_counted(encoder, tmp_path):
    found = taken(measured(tmp_path, encoder, ("alone " * 100, "hard", "sorry")))["bert_score", "base"]
    assert "texts cut at 24 tokens: 1" in found.how
    assert 0 < values(found)["held-out/0"] < 1


def test_rescaled_scores_are_how_far_they_are_above_the_package_s_baseline(encoder, tmp_path):
    """Of an encoder that bears a name which the package has a baseline for: layer 2 of its file, column F."""
    named = Path(shutil.copytree(encoder, tmp_path / "distilbert-base-uncased"))
    plain, rescaled = (
        values(taken(measured(tmp_path, named, rescale_with_baseline=on))["bert_score", "base"]) for on in (False, True)
    )
    import bert_score

    file = Path(bert_score.__file__).parent / "rescale_baseline" / "en" / "distilbert-base-uncased.tsv"
    line = file.read_text().splitlines()[1 + 2].split(",")  # below the header, the layers from 0 on
    assert line[0] == "2"
    low = float(line[3])
    assert rescaled["held-out/0"] == pytest.approx((plain["held-out/0"] - low) / (1 - low), abs=1e-5)


@pytest.mark.parametrize("spoil, why", encoders.SPOILT, ids=["pickled", "gone", "without a tokenizer", "damaged"])
def test_an_encoder_that_is_not_there_pickled_or_spoilt_leaves_the_measure_out(spoil, why, encoder, tmp_path):
    folder = encoders.spoilt(encoder, tmp_path / "encoder", spoil)
    (left_out,) = measured(tmp_path, folder)
    assert (left_out.what, left_out.why) == ("bert_score", f"encoder: {why}")


def test_an_encoder_on_a_hub_that_cannot_be_reached_leaves_the_measure_out(tmp_path):
    wanted = {"bert_score": {}}
    (left_out,) = similarity.measure(bench(tmp_path, wanted, {"base": {"held-out/0": "hard"}}, PAIRS))
    assert "FacebookAI/roberta-large" in left_out.why and "base.model" not in left_out.why


def test_a_path_by_which_the_package_would_take_the_encoder_for_a_t5_is_refused(encoder, tmp_path):
    (left_out,) = measured(tmp_path, Path(shutil.copytree(encoder, tmp_path / "t5-and-bert")))
    assert "T5" in left_out.why


def test_the_layer_of_a_known_encoder_is_its_authors_choice_whatever_organisation_has_it_now():
    """Zhang et al. 2020, appendix: layer 17 of roberta-large."""
    assert similarity.layer(BertScore()) == similarity.layer(BertScore(model="roberta-large")) == 17


@pytest.mark.parametrize(
    "knobs, key",
    (({}, "num_layers"), ({"num_layers": 2, "rescale_with_baseline": True}, "rescale_with_baseline")),
    ids=["no layer", "no baseline"],
)
def test_what_would_have_to_be_guessed_is_found_before_anything_runs(knobs, key):
    with pytest.raises(UserError, match=key):
        similarity.check(BertScore(model="someone/encoder", **knobs))


def test_a_layer_that_the_encoder_does_not_have_is_named(encoder, tmp_path):
    (left_out,) = measured(tmp_path, encoder, num_layers=3)
    assert left_out.why == "evaluate.bert_score.num_layers: 3"
