"""Likelihoods agree with transformers' own loss, with what SFT and DPO report of the same weights, and with a sum by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from localpsych_recipes import data, models, training
from localpsych_recipes.data import storage
from localpsych_recipes.evaluation import likelihood, measured, teacher_forcing
from localpsych_recipes.evaluation.bench import Bench, Column
from localpsych_recipes.evaluation.columns import columns
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.evaluation.teacher_forcing import Score, plain, score
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import dpo, sft
from tests import small_run, tiny_models
from tests.families import bases

pytestmark = pytest.mark.usefixtures("one_thread")
PROSE = "The kettle sings on the stove.\n\nRivers bend where the ground is soft, and nobody tells them to."


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """base, and the adapters sft and dpo: random, and different."""
    folder = tmp_path_factory.mktemp("likelihood")
    bases.make("tinyllama", folder / "base")
    for seed, stage in enumerate(("sft", "dpo")):
        tiny_models.adapter(folder / "base", folder / stage, targets=["q_proj", "v_proj"], seed=seed)
    return folder


def made(trained: Path, root: Path, **sections) -> Run:
    run = small_run.run(root / "run", small_run.recipe(trained / "base", evaluate={}, **sections))
    for stage in ("sft", "dpo"):
        run.dir.adapter(stage).parent.mkdir(parents=True)
        run.dir.adapter(stage).symlink_to(trained / stage)
    (root / "prose.txt").write_text(PROSE)
    general = run.recipe.evaluate.model_copy(update={"general_text": str(root / "prose.txt"), "suite": None})
    run.recipe = run.recipe.model_copy(update={"evaluate": general})
    return run


def bench(run: Run) -> Bench:
    pairs = list(storage.rows(run.dir.data, "pairs", "test"))
    return Bench(run, columns(run, run.dir.evaluation / "work"), [], pairs, run.dir.evaluation, lambda text: None)


def taken(bench: Bench) -> dict[tuple[str, str], Measured]:
    return {(m.metric, m.column): m for m in likelihood.measure(bench) if isinstance(m, Measured)}


def mean(measured: Measured) -> float:
    """Weighted, by hand."""
    return sum(value * weight for value, weight in measured.items.values()) / sum(w for _, w in measured.items.values())


@pytest.fixture
def run(trained, tmp_path) -> Run:
    return made(trained, tmp_path)


def adapted(trained: Path, stage: str | None) -> torch.nn.Module:
    """By PEFT alone."""
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(trained / "base", dtype=torch.float32)
    return (PeftModel.from_pretrained(model, trained / stage) if stage else model).eval()


@pytest.mark.parametrize("stage", ["sft", "dpo", None])
def test_each_row_has_the_loss_that_transformers_computes_from_its_labels(trained, run, stage):
    found, model = taken(bench(run))["loss", stage or "base"], adapted(trained, stage)
    tokenizer = models.load_tokenizer(trained / "base")
    for number, row in enumerate(storage.rows(run.dir.data, "sft", "test")):
        whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True)["input_ids"]
        bare = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = torch.tensor([whole])
        labels = torch.where(torch.arange(len(whole)) < len(bare), -100, ids)
        with torch.no_grad():
            expected = model(input_ids=ids, labels=labels).loss.item()
        value, tokens = found.items[f"sft_test/{number}"]
        assert value == pytest.approx(expected, rel=1e-5) and tokens == len(whole) - len(bare)
    assert len(found.items) == 2


def test_the_whole_is_the_held_out_loss_that_sft_reports(trained, run):
    found = taken(bench(run))
    model = models.load_adapter(models.load_base(run.recipe.base, trained / "base"), trained / "sft")
    trainer = sft.make_trainer(run, model, models.load_tokenizer(trained / "base"))
    reported = training.held_out_loss(trainer, trainer.eval_dataset)
    assert mean(found["loss", "sft"]) == pytest.approx(reported["loss"], rel=1e-5)
    assert sum(tokens for _, tokens in found["loss", "sft"].items.values()) == reported["tokens"]
    assert found["perplexity", "sft"].items == found["loss", "sft"].items  # exp of the mean is the form's affair
    assert len({mean(found["loss", column]) for column in ("base", "sft", "dpo")}) == 3


def test_the_margin_is_the_one_that_trl_reports_of_the_same_weights(trained, run):
    found = taken(bench(run))
    model = models.load_adapter(models.load_base(run.recipe.base, trained / "base"), trained / "sft")
    trainer = dpo.make_trainer(run, model, models.load_tokenizer(trained / "base"))
    trainer.model.load_adapter(
        str(trained / "dpo"), "default"
    )  # as if it had been trained; "ref" stays the SFT adapter
    reported = dpo.measure(trainer)
    assert mean(found["reward_margin", "dpo"]) == pytest.approx(reported["eval_margin"], rel=1e-4)
    assert found["reward_margin", "dpo"].items.keys() == {"pairs/0", "pairs/1"}
    assert ("reward_margin", "sft") not in found  # 0 by definition


def test_the_better_answer_is_preferred_where_its_tokens_are_likelier_on_average(trained, run):
    found, tokenizer = taken(bench(run))["preference_accuracy", "base"], models.load_tokenizer(trained / "base")
    model = adapted(trained, None)
    for number, row in enumerate(storage.rows(run.dir.data, "pairs", "test")):
        start = len(
            tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        )
        means = {}
        for side in ("chosen", "rejected"):
            ids = torch.tensor(
                [tokenizer.apply_chat_template([*row["prompt"], *row[side]], return_dict=True)["input_ids"]]
            )
            with torch.no_grad():
                said = model(input_ids=ids).logits[0].log_softmax(-1)
            means[side] = said[range(start - 1, ids.shape[1] - 1), ids[0, start:]].mean().item()
        assert found.items[f"pairs/{number}"] == (float(means["chosen"] > means["rejected"]), 1.0)


def test_general_prose_is_scored_without_a_chat_template_from_its_second_token_on(trained, run):
    found, tokenizer = taken(bench(run))["general_perplexity", "dpo"], models.load_tokenizer(trained / "base")
    model = adapted(trained, "dpo")
    for number, paragraph in enumerate(PROSE.split("\n\n")):
        ids = tokenizer(paragraph, return_tensors="pt")["input_ids"]
        assert ids[0, 0] == tokenizer.bos_token_id
        with torch.no_grad():
            expected = model(input_ids=ids, labels=ids).loss.item()
        assert found.items[f"general/{number}"] == (pytest.approx(expected, rel=1e-5), ids.shape[1] - 1)
    assert len(found.items) == 2


def test_rows_are_cut_and_left_out_as_training_cuts_and_drops_them(trained, tmp_path):
    rows = [*small_run.ROWS[:6], ("Why? " * 60, "Too far away to be seen.", "No."), small_run.ROWS[5]]
    run = made_of(trained, tmp_path, rows, sft={"max_length": 60}, dpo=None)
    found = [one for one in likelihood.measure(bench(run))]
    loss = next(one for one in found if isinstance(one, Measured) and (one.metric, one.column) == ("loss", "sft"))
    model = models.load_adapter(models.load_base(run.recipe.base, trained / "base"), trained / "sft")
    trainer = sft.make_trainer(run, model, models.load_tokenizer(trained / "base"))
    reported = training.held_out_loss(trainer, trainer.eval_dataset)
    assert loss.items.keys() == {"sft_test/1"} and reported["rows"] == 1  # the prompt of the other is too long
    assert mean(loss) == pytest.approx(reported["loss"], rel=1e-5)
    assert loss.how == "1 left out, since the prompt alone is longer than max_length; 1 cut at max_length"
    assert {s.what for s in found if isinstance(s, Skipped)} == {"preference accuracy and reward margin"}


def test_pairs_that_are_cut_or_left_out_are_counted_beside_their_measures(trained, tmp_path):
    short = [{"role": "user", "content": "Why?"}]
    answer = {
        side: [{"role": "assistant", "content": said}]
        for side, said in (("chosen", "Rest. " * 40), ("rejected", "No."))
    }
    asked = (short, [{"role": "user", "content": "Why? " * 60}], [{"role": "user", "content": "How?"}])
    made_of_pairs = bench(made(trained, tmp_path, dpo={"max_length": 60}))
    made_of_pairs.pairs = [{"prompt": prompt, **answer} for prompt in asked]
    found = taken(made_of_pairs)
    for metric, column in (("preference_accuracy", "base"), ("reward_margin", "dpo")):
        assert found[metric, column].items.keys() == {"pairs/0", "pairs/2"}
        assert found[metric, column].how.endswith(
            "1 left out, since the prompt alone is longer than max_length; 2 cut at max_length"
        )


def test_a_paragraph_of_one_token_has_nothing_to_score_and_is_no_item(trained, run):
    renderer = Renderer(trained / "base")
    renderer.tokenizer.add_bos_token = False  # as Qwen's: a heading of one word is one token
    made = bench(run)
    made.renderer = renderer
    Path(run.recipe.evaluate.general_text).write_text(f"a\n\n{PROSE}")
    assert len(renderer.tokenizer("a")["input_ids"]) == 1
    assert taken(made)["general_perplexity", "base"].items.keys() == {"general/1", "general/2"}


def test_a_model_that_overflows_has_no_preference_rather_than_a_wrong_one():
    nothing, something = Score(math.nan, 3), Score(-2.0, 3)
    pairs = {"base": {"a/chosen": something, "a/rejected": nothing, "b/chosen": something, "b/rejected": something}}
    made = SimpleNamespace(pairs=[{}, {}], run=SimpleNamespace(recipe=SimpleNamespace(sft=None, dpo=None)))
    accuracy, _ = likelihood.preferences(made, [], pairs, {"a": "x", "b": "y"})
    assert math.isnan(accuracy.items["a"][0]) and accuracy.items["b"] == (0.0, 1.0)  # a tie is no preference
    assert measured.row(accuracy, None, 1, 100)["value"] is None


@pytest.mark.parametrize("half_a_line", ["", '["0123", -4.5'])
def test_a_killed_run_goes_on_with_the_text_that_comes_next(trained, run, monkeypatch, half_a_line):
    undisturbed = taken(bench(run))
    kept = run.dir.evaluation / likelihood.SCORES
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:7]) + half_a_line)
    again, real = [], teacher_forcing.score
    monkeypatch.setattr(teacher_forcing, "score", lambda model, text: again.append(text.id) or real(model, text))
    assert taken(bench(run)) == undisturbed
    assert len(again) == len(lines) - 7 and kept.read_text() == "".join(lines)
    monkeypatch.setattr(models, "load_base", None)  # nothing is left to score: no model is loaded
    assert taken(bench(run)) == undisturbed


def test_another_adapter_is_scored_anew(trained, run, tmp_path):
    before = taken(bench(run))
    run.dir.adapter("dpo").unlink()
    run.dir.adapter("dpo").symlink_to(trained / "sft")
    after = taken(bench(run))
    assert after["loss", "dpo"].items == before["loss", "sft"].items != before["loss", "dpo"].items


def made_of(trained: Path, root: Path, rows, **sections) -> Run:
    run = made(trained, root, **sections)
    for kind in ("sft", "pairs"):
        for split in ("train", "test"):
            (run.dir.data / f"{kind}_{split}.jsonl").unlink()
    answers = [{"prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": a}]}
               for q, a, _ in rows]  # fmt: skip
    data.write_rows(answers[:-2], run.dir.data / "sft_train.jsonl")
    data.write_rows(answers[-2:], run.dir.data / "sft_test.jsonl")
    return run


def test_a_text_of_one_token_more_than_a_block_of_logits_is_summed_whole(trained):
    """257 positions: one block of 256, and one of 1."""
    model, text = adapted(trained, None), plain(Renderer(trained / "base"), "x", "a b c " * 200, 258)
    ids = torch.tensor([text.ids])
    with torch.no_grad():
        expected = model(input_ids=ids, labels=ids).loss.item()
    assert score(model, text).mean == pytest.approx(-expected, rel=1e-5) and len(text.ids) == 258


def test_a_column_without_weights_here_is_named_and_left_out(trained, run):
    made = bench(run)
    made.columns = [*made.columns, Column("Q4_K_M", None)]
    skipped = [one for one in likelihood.measure(made) if isinstance(one, Skipped)]
    assert ("likelihoods", "Q4_K_M") in {(one.what, one.column) for one in skipped}
    assert math.isfinite(mean(taken(made)["loss", "base"]))
