"""What makes training faster leaves every step its rows, its loss and its gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback
from trl.trainer import dpo_trainer, utils

from localpsych_recipes import fused_head, micro_batches, models, progress
from localpsych_recipes.stages import dpo, sft
from tests import small_run

pytestmark = pytest.mark.usefixtures("one_thread")
# one row much longer than the others, as in real data: what it takes, several of them take together
QUESTION, ANSWER, WORSE = small_run.ROWS[0]
ROWS = [(QUESTION, " ".join([ANSWER] * 5), WORSE), *small_run.ROWS[1:]]
FIVE = {"max_steps": 5, "learning_rate": 1e-3, "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 1e9}


class Watch(TrainerCallback):
    """The gradient norm of each optimiser step, and the passes through the model that it took."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.norms, self.passes, self.now = [], [], 0
        model.get_decoder().layers[0].register_forward_pre_hook(lambda module, given: self._pass(module))

    def _pass(self, module: torch.nn.Module) -> None:
        self.now += module.training

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        self.norms.append(torch.cat(grads).double().norm().item())
        self.passes.append(self.now)
        self.now = 0


def stage_of(name: str):
    return {"sft": sft, "dpo": dpo}[name]


def trained(root: Path, base: Path, stage: str, **knobs) -> tuple[Watch, list[float]]:
    """What a training of five steps saw, and the losses that it logged."""
    knobs = {**FIVE, "gradient_checkpointing": False, **knobs}
    run = small_run.run(root, small_run.recipe(base, sft=knobs if stage == "sft" else None, dpo=knobs), ROWS)
    torch.manual_seed(0)
    model = models.new_adapter(models.load_base(run.recipe.base, base), run.recipe.lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    trainer = stage_of(stage).make_trainer(run, model, models.load_tokenizer(base))
    watch = Watch(model)
    trainer.add_callback(watch)
    trainer.train()
    return watch, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture
def plain_head(monkeypatch):
    """TRL's head as it is, for what others are compared with."""
    before = {name: getattr(utils, name) for name in ("_use_triton", "_CHUNKED_LOGPROB_CHUNK_SIZE")}

    def restore() -> None:
        for name, value in before.items():
            setattr(utils, name, value)

    before["_use_triton"] = lambda device: device.type in ("cuda", "xpu")
    before["_CHUNKED_LOGPROB_CHUNK_SIZE"] = 32768
    with monkeypatch.context() as patched:
        patched.setattr(fused_head, "fit_to_cpu", restore)
        yield
    fused_head.fit_to_cpu()


def published(request, root, base, stage, **knobs):
    """The same rows in batches as the recipe has them, padded, through TRL's head as it is."""
    request.getfixturevalue("plain_head")
    return trained(root, base, stage, padding_free=False, **knobs)


@pytest.mark.parametrize(("rows", "batches"), [(1, 6), (3, 1), (2, 2)])
def test_sft_steps_have_the_published_loss_and_gradients_in_fewer_passes(tmp_path, base, request, rows, batches):
    """Six rows: with four to a step every second step, an epoch's last, has two."""
    knobs = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": batches}
    ours, losses = trained(tmp_path / "ours", base, "sft", **knobs)
    theirs, expected = published(request, tmp_path / "theirs", base, "sft", **knobs)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert ours.norms == pytest.approx(theirs.norms, rel=1e-4)
    assert len(ours.norms) == len(theirs.norms) == 5
    assert sum(ours.passes) < sum(theirs.passes) if rows == 1 else sum(ours.passes) <= sum(theirs.passes)


@pytest.mark.parametrize("precompute", [True, False])
def test_dpo_steps_have_the_published_loss_and_gradients(tmp_path, base, request, precompute):
    knobs = {"per_device_train_batch_size": 2, "precompute_ref_log_probs": precompute}
    ours, losses = trained(tmp_path / "ours", base, "dpo", **knobs)
    theirs, expected = published(request, tmp_path / "theirs", base, "dpo", **knobs)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert ours.norms == pytest.approx(theirs.norms, rel=1e-3)


def test_rows_share_a_pass_as_far_as_the_longest_rows_would_take_its_memory():
    assert micro_batches.together([3, 4, 9, 1, 1, 8, 2], 9) == [[3, 4, 6, 0], [1], [5], [2]]
    assert micro_batches.together([12, 1], 9) == [[1], [0]]
    assert micro_batches.together([1, 1, 1, 6], 9) == [[0, 1, 2], [3]]  # four rows of 6 would be padded to 24
    assert micro_batches.together([], 9) == []


def test_a_second_start_reads_the_reference_and_the_first_says_how_far_it_is(tmp_path, base, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    run, said, scored = small_run.run(tmp_path, small_run.recipe(base, sft=None)), [], []
    run.say = said.append
    original = dpo_trainer.DPOTrainer.compute_ref_log_probs

    def count(self, model, inputs):
        scored.append(1)
        return original(self, model, inputs)

    monkeypatch.setattr(dpo_trainer.DPOTrainer, "compute_ref_log_probs", count)
    for passes in (8, 8):  # six pairs and two held out, one at a time: the second start adds none
        torch.manual_seed(0)
        dpo.make_trainer(run, dpo.policy(run, base), models.load_tokenizer(base))
        assert len(scored) == passes
    assert [line.strip().split(",")[0] for line in said] == [
        *(f"reference: scored {n} of 6 pairs" for n in range(1, 7)),
        *(f"reference: scored {n} of 2 pairs" for n in (1, 2)),
    ]
