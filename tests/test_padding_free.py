"""Without padding, and whatever else makes training faster, every family has the same loss and the same gradients."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM
from trl.trainer import utils
from trl.trainer.utils import add_fused_lm_head

from localpsych_recipes import families, fused_head, lora, padding_free
from localpsych_recipes.recipe import Lora

pytestmark = pytest.mark.usefixtures("one_thread")

# of gradients, in float32: the sums run in another order
TOLERANCE = 1e-5
# the third is longer than the sliding windows; the prompt of each is its first three tokens
LENGTHS = (9, 31, 90, 4)
MISTRAL = {**tiny_models.TEXT, "sliding_window": 64}
# Gemma 2's soft-capped scores run eager, where a batch keeps its padding
BY_ROW = sorted({*tiny_models.FAMILIES} - {"gemma2"}) + ["mistral"]


def model_of(family: str, folder, attention: str = "sdpa") -> torch.nn.Module:
    """A tiny model with a random adapter on its language model, all in float32."""
    from peft import get_peft_model

    torch.manual_seed(0)
    if family == "mistral":
        MistralForCausalLM(MistralConfig(**MISTRAL)).save_pretrained(folder)
    else:
        tiny_models.build(family, folder, dtype=torch.float32)
    which = {"text_config": attention} if "text_config" in tiny_models.FAMILIES.get(family, (0, {}))[1] else attention
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=which, dtype=torch.float32)
    model = get_peft_model(model, lora.config(Lora(r=4, lora_alpha=8), lora.resolve(model, "all")))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the gradients of A
            torch.nn.init.normal_(parameter, std=0.1)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    add_fused_lm_head(model.get_base_model(), outputs=("log_probs", "entropy", "is_top1"))
    return model.train()


def batch(lengths=LENGTHS) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(10, 500, real.shape, generator=random).masked_fill(~real, 0)
    labels = ids.masked_fill(~real | (torch.arange(max(lengths)) < 3), -100)
    return {"input_ids": ids, "attention_mask": real.long(), "labels": labels}


def learnt(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of each label, and the gradient of their sum, all of it in one vector."""
    model.zero_grad()
    found = model(**batch(), fused_lm_head=True).log_probs
    found.sum().backward()
    return found.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("family", BY_ROW)
def test_a_batch_without_padding_has_the_padded_ones_loss_and_gradients(tmp_path, family):
    model = model_of(family, tmp_path)
    padded = learnt(model)
    assert padding_free.enable(model.get_base_model())
    computed = []
    model.get_decoder().layers[0].register_forward_hook(
        lambda module, inputs, out: computed.append(inputs[0].shape[:2])
    )
    free = learnt(model)
    assert computed[0] == (1, sum(LENGTHS))
    assert max(map(difference, free, padded)) < TOLERANCE


def test_every_family_of_the_table_is_compared():
    assert {name.removesuffix("_text") for name in families.FAMILIES} == {*BY_ROW, "gemma2"}


def test_eager_attention_keeps_its_padding(tmp_path):
    model = model_of("gemma2", tmp_path, "eager")
    padded = learnt(model)
    assert not padding_free.enable(model.get_base_model())
    assert torch.equal(learnt(model)[1], padded[1])


@pytest.mark.parametrize("lengths", [(20, 20), (20,)])
def test_batches_that_have_no_padding_are_left_whole(tmp_path, lengths):
    model, rows = model_of("gemma4", tmp_path), batch(lengths)
    with torch.no_grad():
        padded = model(**rows, fused_lm_head=True).log_probs
        padding_free.enable(model.get_base_model())
        assert difference(model(**rows, fused_lm_head=True).log_probs, padded) < TOLERANCE


def test_a_head_that_looks_at_trained_positions_only_says_the_same(tmp_path, monkeypatch):
    model = model_of("gemma4", tmp_path)
    whole = learnt(model)
    for name in ("_use_triton", "_CHUNKED_LOGPROB_CHUNK_SIZE"):
        monkeypatch.setattr(utils, name, getattr(utils, name))
    monkeypatch.setattr(fused_head, "TILE_VOCABULARY", 100)  # six tiles of the tiny vocabulary
    fused_head.fit_to_cpu()
    projected = []
    function = utils._ChunkedLogProbFunction
    monkeypatch.setattr(
        utils,
        "_ChunkedLogProbFunction",
        type(
            "Counted",
            (),
            {"apply": lambda hidden, *rest: projected.append(len(hidden)) or function.apply(hidden, *rest)},
        ),
    )
    compact = learnt(model)
    assert projected == [sum(length - 3 for length in LENGTHS)]
    assert max(map(difference, compact, whole)) < TOLERANCE


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            self.elements = max(self.elements, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return out


# what SFT asks of the head, and DPO; a step's gradient included
@pytest.mark.parametrize("outputs", [("entropy", "is_top1"), ("entropy", "mean_logits", "is_top1", "log_sum_sq_probs")])
def test_logits_are_never_whole(tmp_path, monkeypatch, outputs):
    for name in ("_use_triton", "_CHUNKED_LOGPROB_CHUNK_SIZE"):
        monkeypatch.setattr(utils, name, getattr(utils, name))
    folder = tiny_models.build("qwen3", tmp_path, dtype=torch.float32, vocab_size=40_000)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
    model.enable_input_require_grads()
    add_fused_lm_head(model, outputs=("log_probs", *outputs))
    fused_head.fit_to_cpu()
    with Largest() as seen:
        model(**batch(), fused_lm_head=True).log_probs.sum().backward()
    trained = sum(length - 3 for length in LENGTHS)
    assert 0 < seen.elements <= max(trained * fused_head.TILE_VOCABULARY, model.lm_head.weight.numel())
    assert seen.elements < trained * 40_000
