"""Bytes of the frozen weights, held against the tensors that bitsandbytes and transformers really make."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from localpsych_recipes import models, skeleton
from localpsych_recipes.plan import weights
from localpsych_recipes.recipe import Base


def bytes_of(parameter: torch.nn.Parameter) -> int:
    """A loaded parameter with everything that bitsandbytes hangs onto it."""
    tensors = [parameter.data]
    if state := getattr(parameter, "quant_state", None):
        tensors += [state.absmax, state.code]
        tensors += [state.offset, state.state2.absmax, state.state2.code] if state.nested else []
    if (scales := getattr(parameter, "SCB", None)) is not None:
        tensors.append(scales)
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("quantization", ["nf4", "nf4 without double_quant", "int8", "none"])
@pytest.mark.parametrize("family", ["gemma4", "qwen3", "llama"])
def test_the_bytes_are_those_of_the_loaded_model(tmp_path, family, quantization):
    folder = tiny_models.build(family, tmp_path / "base")
    kind, _, single = quantization.partition(" ")
    base = Base(model=str(folder), quantization=kind, double_quant=not single)
    loaded = models.load_base(base, folder)
    found = weights.parts(skeleton.meta_model(folder), base)
    assert weights.weight_bytes(found) == sum(bytes_of(parameter) for parameter in loaded.parameters())


def test_a_scale_stands_for_64_weights_and_its_own_scale_for_256_of_those():
    blocks = 2**20 // 64
    assert weights.nf4(2**20, double_quant=False) == 2**19 + 4 * blocks + 64
    assert weights.nf4(2**20, double_quant=True) == 2**19 + blocks + 4 * blocks // 256 + 4 + 1024 + 64


def test_what_is_quantised_of_gemma_3_is_counted_by_hand(shared):
    model = skeleton.meta_model(shared / "architectures/google--gemma-3-4b-it")
    found = {(part.what, part.stored): part.parameters for part in weights.parts(model, Base(model="x"))}
    # 34 layers: q of 2,560 x 2,048, k and v of 2,560 x 1,024, o of 2,048 x 2,560, three of 2,560 x 10,240
    layer = 2560 * 2048 + 2 * 2560 * 1024 + 2048 * 2560 + 3 * 2560 * 10240
    assert found["language model linear layers", "nf4, double quantised"] == 34 * layer
    # 27 layers of SigLIP: q, k, v, o of 1,152 x 1,152, two of 1,152 x 4,304
    assert found["vision tower linear layers", "nf4, double quantised"] == 27 * (4 * 1152**2 + 2 * 1152 * 4304)
    assert found["embeddings", "bfloat16"] == 262_208 * 2560  # the tied head is these, and stays in 16 bit with them


def test_gemma_4s_per_layer_embeddings_stay_in_16_bit(shared):
    model = skeleton.meta_model(shared / "architectures/google--gemma-4-E4B-it")
    found = {part.what: part for part in weights.parts(model, Base(model="x"))}
    assert found["per-layer embeddings"].bytes == 262_144 * 42 * 256 * 2
    assert found["embeddings"].bytes == 262_144 * 2560 * 2
