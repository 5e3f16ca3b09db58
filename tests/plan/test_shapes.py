"""What running a model on shapes says of a training step, held against real steps on the CPU with TRL's own losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from localpsych_recipes import models, skeleton
from localpsych_recipes.demo import tiny_gemma4
from localpsych_recipes.plan import memory
from localpsych_recipes.plan.memory import Anatomy
from localpsych_recipes.stages import dpo, sft
from tests import small_run


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tiny Gemma 4 (towers, shared keys and values, per-layer embeddings) with its tokenizer."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    tiny_gemma4.make(folder, steps=1, say=lambda text: None)
    return folder


def real_trainer(tmp_path: Path, base: Path, stage: str, checkpointing: bool):
    knobs = {"per_device_train_batch_size": 3, "gradient_checkpointing": checkpointing}
    other = "dpo" if stage == "sft" else "sft"
    recipe = small_run.recipe(base, **{stage: knobs, other: None})
    run = small_run.run(tmp_path / "run", recipe)
    torch.manual_seed(0)
    model = models.new_adapter(models.load_base(recipe.base, base), recipe.lora)
    make = {"sft": sft.make_trainer, "dpo": dpo.make_trainer}[stage]
    return recipe, make(run, model, models.load_tokenizer(base))


def kept_for_backward(trainer, batch) -> int:
    """Bytes that autograd keeps of one loss, weights aside."""
    known = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
    kept: dict[int, tuple[torch.Tensor, int]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.compute_loss(trainer.model, batch)
    return sum(size for _, size in kept.values())


def allocated_at_the_peak(step) -> int:
    """Bytes that torch's allocator gave out and had not yet got back, at the worst moment of `step`."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_what_a_real_loss_keeps_is_what_is_planned(tmp_path, base, stage):
    recipe, trainer = real_trainer(tmp_path, base, stage, checkpointing=False)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    rows, length = batch["input_ids"].shape
    assert rows == memory.rows_at_once(getattr(recipe, stage))
    anatomy = Anatomy(recipe.base, skeleton.read_config(base), recipe.lora)
    planned = anatomy.activations(rows, length, False, "none", False)
    head = rows * length * anatomy.shapes.hidden_size * 4  # the scored hidden states; the logits are never kept
    assert planned.kept + head == pytest.approx(kept_for_backward(trainer, batch), rel=0.15)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_peak_of_a_real_step_is_what_is_planned(tmp_path, base, checkpointing):
    recipe, trainer = real_trainer(tmp_path, base, "sft", checkpointing)
    model = trainer.model
    rows, length = 2, 200
    ids = torch.randint(5, 200, (rows, length))
    backbone = model.get_base_model().base_model

    def step() -> None:
        backbone(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state.sum().backward()

    model.train()
    if checkpointing:
        model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    step()  # gradients are there from now on, and the counter starts without them
    model.zero_grad(set_to_none=False)
    planned = Anatomy(recipe.base, skeleton.read_config(base), recipe.lora).activations(
        rows, length, checkpointing, "none", False
    )
    peak = allocated_at_the_peak(step)
    assert planned.kept + planned.working == pytest.approx(peak, rel=0.15)
