"""Training is right where it was measured to go wrong elsewhere: gradients, terminators, precision, resuming."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from localpsych_recipes import chat_templates, models, progress, training
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Pairs
from localpsych_recipes.stages import dpo, sft
from tests import small_run

# one short answer and one long one: the pair on which averaging over micro-batches goes wrong
SHORT_AND_LONG = [small_run.ROWS[4], small_run.ROWS[5], small_run.ROWS[6], small_run.ROWS[7]]


class KeepGradients(TrainerCallback):
    """Keeps the gradients of the first optimiser step and stops."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found = {n: p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None}

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = True
        return control


def sft_trainer(run, base):
    torch.manual_seed(0)
    model = models.new_adapter(models.load_base(run.recipe.base, base), run.recipe.lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the gradients of A
            torch.nn.init.normal_(parameter, std=0.02)
    return sft.make_trainer(run, model, models.load_tokenizer(base))


def gradients(trainer) -> dict[str, torch.Tensor]:
    keep = KeepGradients()
    trainer.add_callback(keep)
    trainer.train()
    assert keep.found
    return keep.found


def cosine(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    a, b = (torch.cat([g[n].flatten() for n in one]).double() for g in (one, other))
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


def relative_difference(one, other) -> float:
    a, b = (torch.cat([g[n].flatten() for n in one]).double() for g in (one, other))
    return ((a - b).norm() / b.norm()).item()


def make(tmp_path, folder, rows=small_run.ROWS, **sections):
    return small_run.run(tmp_path / "run", small_run.recipe(folder, **sections), rows)


def test_only_the_answer_and_its_terminator_carry_loss(tmp_path, base):
    trainer = sft_trainer(make(tmp_path, base, sft={}), base)
    tokenizer = models.load_tokenizer(base)
    row = trainer.train_dataset[0]
    trained = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    # the answer, then Gemma 4's <turn|> and the newline that its template writes behind it
    assert tokenizer.decode(trained) == small_run.ROWS[0][1] + "<turn|>\n"
    assert chat_templates.end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids("<turn|>")
    counted = sft.count_tokens(trainer, chat_templates.end_of_turn(tokenizer))
    assert counted["trained_tokens"] == sum(
        len(tokenizer(good + "<turn|>\n", add_special_tokens=False)["input_ids"]) for _, good, _ in small_run.ROWS[:-2]
    )
    assert counted["truncated_rows"] == 0


def test_rows_cut_before_their_terminator_are_refused(tmp_path, base):
    tokenizer = models.load_tokenizer(base)
    prompt = [{"role": "user", "content": small_run.ROWS[4][0]}]
    length = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])
    # room for two tokens of the answer
    trainer = sft_trainer(make(tmp_path, base, [small_run.ROWS[4]] * 4, sft={"max_length": length + 2}), base)
    with pytest.raises(UserError, match="all 2 rows are cut off before their end-of-turn"):
        sft.count_tokens(trainer, chat_templates.end_of_turn(tokenizer))


def test_where_nothing_is_held_out_it_is_said_where_to_look(tmp_path, base):
    run = make(tmp_path, base, dpo={"eval_steps": 1})
    (run.dir.data / "pairs_test.jsonl").unlink()
    with pytest.raises(UserError, match="not one pair[^\\0]*held out[^\\0]*`localpsych data RECIPE`"):
        training.datasets(run, "pairs", "gemma4", run.recipe.dpo)
    run.dir.data.rename(run.dir.pairs)
    run.recipe = run.recipe.model_copy(update={"pairs": Pairs()})
    with pytest.raises(UserError, match="not one pair[^\\0]*held out[^\\0]*pairs/report.txt"):
        training.datasets(run, "pairs", "gemma4", run.recipe.dpo)


def test_accumulation_weighs_tokens_not_micro_batches(tmp_path, base):
    """Field notes: one short and one long row gave gradient norm 142.8 as a batch and 251.6 accumulated."""
    both = {"learning_rate": 1e-9, "max_grad_norm": 1e9, "trainer": {"train_sampling_strategy": "sequential"}}
    as_batch = make(tmp_path / "a", base, SHORT_AND_LONG, sft={**both, "per_device_train_batch_size": 2})
    accumulated = make(tmp_path / "b", base, SHORT_AND_LONG, sft={**both, "gradient_accumulation_steps": 2})
    one, other = (gradients(sft_trainer(run, base)) for run in (as_batch, accumulated))
    assert relative_difference(other, one) < 1e-4


def test_checkpointing_gives_the_true_gradient_where_layers_share_keys_and_values(tmp_path, base):
    """Field notes: reentrant checkpointing had cosine 0.76 with the true gradient of k and v, non-reentrant 1.000."""
    both = {"learning_rate": 1e-9, "max_grad_norm": 1e9}
    plain = gradients(sft_trainer(make(tmp_path / "a", base, sft={**both, "gradient_checkpointing": False}), base))
    ours = gradients(sft_trainer(make(tmp_path / "b", base, sft={**both, "gradient_checkpointing": True}), base))
    assert cosine(ours, plain) > 0.99999


def test_an_evaluation_in_between_does_not_change_the_gradient_of_a_quantised_base(tmp_path, base):
    """bitsandbytes 0.50 packs NF4 weights at the first evaluation on some CPUs, and their product has no backward."""
    nf4 = {"quantization": "nf4", "dtype": "bfloat16"}
    both = {"learning_rate": 1e-9, "max_grad_norm": 1e9}
    before = gradients(sft_trainer(make(tmp_path / "a", base, base=nf4, sft=both), base))
    trainer = sft_trainer(make(tmp_path / "b", base, base=nf4, sft=both), base)
    trainer.evaluate()
    after = gradients(trainer)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_quantised_bases_are_quantised_and_adapters_are_fp32(tmp_path, base):
    trainer = sft_trainer(make(tmp_path, base, base={"quantization": "nf4", "dtype": "bfloat16"}), base)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    assert trained and all(p.dtype is torch.float32 for p in trained)
    assert any(type(m).__name__ == "Linear4bit" for m in trainer.model.modules())


# a constant rate, since under a falling one a step too many would change nothing
STEPS = {
    "lr_scheduler_type": "constant",
    "max_steps": 4,
    "save_steps": 2,
    "learning_rate": 1e-2,
    "optim": "paged_adamw_32bit",
}
QLORA = {"quantization": "nf4", "dtype": "bfloat16"}


def adapter_of(run, stage) -> dict[str, torch.Tensor]:
    return load_file(run.dir.adapter(stage) / "adapter_model.safetensors")


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def cut_after(run, stage: str, step: int) -> None:
    """Leaves a run as a kill after `step` would: later checkpoints half-written, no adapter, no marker."""
    checkpoints = run.dir.checkpoints(stage, run.fingerprint)
    for folder in checkpoints.glob("checkpoint-*"):
        if int(folder.name.rsplit("-", 1)[-1]) > step:
            (folder / training.COMPLETE).unlink()
            (folder / "optimizer.pt").write_bytes(b"half")
    shutil.rmtree(run.dir.adapter(stage))


def logged(run, stage) -> dict[int, float]:
    """Step -> the loss that the trainer logged, of what was kept for the card; with no text among it."""
    entries = json.loads(run.dir.history(stage).read_text())["entries"]
    assert all(isinstance(value, int | float) for entry in entries for value in entry.values())
    return {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}


def test_a_resumed_run_equals_an_undisturbed_one_bit_for_bit(tmp_path, base):
    sections = {"base": QLORA, "lora": {"lora_dropout": 0.1}, "sft": STEPS, "dpo": STEPS}
    run = make(tmp_path, base, **sections)
    undisturbed = sft.run(run)
    assert undisturbed["steps"] == 4 and undisturbed["samples_per_second"] > 0
    whole, losses = adapter_of(run, "sft"), logged(run, "sft")
    assert list(losses) == [1, 2, 3, 4]
    cut_after(run, "sft", 2)
    resumed = sft.run(run)
    assert resumed["resumed"] and resumed["total_flos"] == undisturbed["total_flos"] > 0
    assert same(adapter_of(run, "sft"), whole) and logged(run, "sft") == losses

    # killed between the last checkpoint and the done-marker: nothing is left to train, or to be timed
    cut_after(run, "sft", 4)
    again = sft.run(run)
    assert (again["steps"], again["samples_per_second"]) == (4, None)
    assert same(adapter_of(run, "sft"), whole) and logged(run, "sft") == losses

    # damaged since it was written: the one before it is whole
    newest, said = run.dir.checkpoints("sft", run.fingerprint) / "checkpoint-4", []
    for name in ("optimizer.pt", "adapter_model.safetensors", "trainer_state.json"):
        (newest / name).write_bytes((newest / name).read_bytes()[:-9])
    shutil.rmtree(run.dir.adapter("sft"))
    run.say = said.append
    assert sft.run(run)["steps"] == 4
    changed = "adapter_model.safetensors, optimizer.pt, trainer_state.json"
    assert f"      checkpoint-4 is passed over: {changed} changed since it was written" in said
    assert "      going on from checkpoint-2" in said
    assert same(adapter_of(run, "sft"), whole) and logged(run, "sft") == losses

    assert dpo.run(run)["steps"] == 4
    whole = adapter_of(run, "dpo")
    assert not same(whole, adapter_of(run, "sft"))
    cut_after(run, "dpo", 2)
    assert dpo.run(run)["resumed"]
    assert same(adapter_of(run, "dpo"), whole)

    for stage in ("sft", "dpo"):
        config = json.loads((run.dir.adapter(stage) / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "someone/tiny"
        assert {p.name for p in run.dir.adapter(stage).iterdir()} == {
            "adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json",
            "chat_template.jinja",
        }  # fmt: skip
        assert (run.dir.adapter(stage) / "tokenizer_config.json").read_bytes() == (
            base / "tokenizer_config.json"
        ).read_bytes()


def test_a_base_with_a_shard_that_is_cut_short_is_named(tmp_path, base):
    cut = shutil.copytree(base, tmp_path / "cut")
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[:-1])
    said = f"cut/model.safetensors of {len(weights) - 1} bytes is not a whole safetensors file"
    with pytest.raises(UserError, match=said):
        models.load_base(small_run.recipe(cut).base, cut)


def test_a_run_that_diverges_is_stopped_and_hands_nothing_on(tmp_path, base):
    run = make(tmp_path, base, sft={"max_steps": 8, "learning_rate": 1e10, "max_grad_norm": 1e30})
    with pytest.raises(UserError, match="the loss is nan|not finite"):
        sft.run(run)
    assert not run.dir.adapter("sft").exists()


def test_dpo_starts_at_the_sft_policy_with_one_backbone_in_memory(tmp_path, base):
    run = make(tmp_path, base, base=QLORA, sft=STEPS, dpo={"max_steps": 1, "precompute_ref_log_probs": False})
    sft.run(run)
    policy = dpo.policy(run, base)
    trainer = dpo.make_trainer(run, policy, models.load_tokenizer(base))
    assert trainer.ref_model is None
    weights = dict(trainer.model.named_parameters())
    copies = {n: p for n, p in weights.items() if ".ref." in n}
    assert copies and all(torch.equal(p, weights[n.replace(".ref.", ".default.")]) for n, p in copies.items())
    assert not any(p.requires_grad for p in copies.values())
    trainer.train()
    first = next(entry for entry in trainer.state.log_history if "rewards/chosen" in entry)
    assert (first["rewards/chosen"], first["rewards/rejected"]) == (0.0, 0.0)


def test_without_sft_dpo_starts_from_the_base(tmp_path, base):
    run = make(tmp_path, base, sft=None, dpo={"max_steps": 1, "learning_rate": 1e-2})
    results = dpo.run(run)
    assert results["pairs"] == 6
    assert adapter_of(run, "dpo")


def test_held_out_losses_are_those_of_plain_transformers(tmp_path, base):
    run = make(tmp_path, base, sft={"max_steps": 1})
    trainer = sft_trainer(run, base)
    measured = sft.measure(trainer)
    tokenizer, model, total, whole = models.load_tokenizer(base), trainer.model.eval(), [], []
    for question, good, _ in small_run.ROWS[-2:]:
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": good}]
        ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)["input_ids"]
        prompt = len(tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=True)["input_ids"])
        with torch.no_grad():
            log_probs = model.get_base_model().__class__.forward(model.get_base_model(), ids).logits.log_softmax(-1)
        nll = -log_probs[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        whole.append(nll)
        total.append(nll[prompt - 1 :])
    assert measured["eval_loss"] == pytest.approx(torch.cat(total).mean().item(), rel=1e-4)
    assert measured["eval_tokens"] == sum(len(t) for t in total)
    assert measured["whole_conversation_loss"] == pytest.approx(torch.cat(whole).mean().item(), rel=1e-4)
    assert measured["whole_conversation_row_mean_loss"] == pytest.approx(
        sum(w.mean().item() for w in whole) / 2, rel=1e-4
    )


def test_scoring_what_is_held_out_says_how_far_it_is(tmp_path, base, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    trainer, said = sft_trainer(make(tmp_path, base, sft={"max_steps": 1}), base), []
    trainer.add_callback(training.Ticker(said.append))
    sft.measure(trainer)  # twice: of the answers, and of whole conversations
    assert [line.strip() for line in said] == ["held out: scored 1 of 2 batches, about 0 s left"] * 2


def test_how_far_the_chosen_answers_moved_is_told_per_token_as_plain_transformers_tells_it(tmp_path, base):
    run = make(tmp_path, base, sft={"max_steps": 1}, dpo=STEPS)
    sft.run(run)
    results = dpo.run(run)
    tokenizer, changes, tokens = models.load_tokenizer(base), [], 0
    adapted = {
        name: models.load_adapter(models.load_base(run.recipe.base, base), run.dir.adapter(name)).eval()
        for name in ("sft", "dpo")
    }
    for question, good, _ in small_run.ROWS[-2:]:
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": good}]
        ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)["input_ids"]
        prompt = len(tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=True)["input_ids"])
        with torch.no_grad():
            said = {name: model(ids).logits.log_softmax(-1)[0, prompt - 1 : -1] for name, model in adapted.items()}
        change = (said["dpo"] - said["sft"]).gather(-1, ids[0, prompt:, None])
        changes.append(change.sum().item())
        tokens += len(change)
    assert results["chosen_logps_change"] == pytest.approx(sum(changes) / 2, rel=1e-3)
    assert results["chosen_logps_change_per_token"] == pytest.approx(sum(changes) / tokens, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "margin", "warned"),
    [(-0.09, 0.5, ()), (-0.11, 0.5, ("0.11 nats per token",)), (0.2, 0.0, ("margin on 9 held-out pairs",))],
)
def test_dpo_warns_where_it_did_not_do_what_it_is_for(change, margin, warned):
    found = dpo.warnings({"chosen_logps_change_per_token": change, "eval_margin": margin, "eval_pairs": 9})
    assert len(found) == len(warned) and all(words in said for words, said in zip(warned, found, strict=True))
    assert dpo.warnings({}) == []  # nothing was held out
