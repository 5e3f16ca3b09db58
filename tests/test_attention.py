"""FlashAttention 2 where GPU, package and every head dimension allow it; else what works, with the reason."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from localpsych_recipes import attention, models, skeleton
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Base

H200 = {"capability": (9, 0), "package": True}
A100_BARE = {"capability": (8, 0), "package": False}
T4 = {"capability": (7, 5), "package": True}
LAPTOP = {"capability": None, "package": False}


@pytest.mark.parametrize(
    ("machine", "implementation", "reason"),
    [
        (H200, "flash_attention_2", "allow it"),
        (A100_BARE, "sdpa", "not installed"),
        (T4, "sdpa", "7.5"),
        (LAPTOP, "sdpa", "no CUDA GPU"),
    ],
)
def test_a_llama_runs_what_the_machine_allows(machine, implementation, reason):
    chosen = attention.choose(tiny_models.config("llama"), "auto", **machine)
    assert chosen[0] == implementation and reason in chosen[1]


# head_dim as published; Gemma 4's full-attention layers have 512
@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("google--gemma-4-E4B-it", {256, 512}),
        ("google--gemma-4-E2B-it", {256, 512}),
        ("google--gemma-3-4b-it", {256}),
        ("google--gemma-2b-it", {256}),
        ("microsoft--Phi-3-mini-4k-instruct", {96}),
        ("Qwen--Qwen3-0.6B", {128}),
        ("TinyLlama--TinyLlama-1.1B-Chat-v1.0", {64}),
    ],
)
def test_only_gemma_4_is_too_wide_for_flash_attention(shared, name, dims):
    config = skeleton.read_config(shared / "architectures" / name)
    assert attention.head_dims(config) == dims
    implementation, reason = attention.choose(config, "auto", **H200)
    assert implementation == ("sdpa" if 512 in dims else "flash_attention_2")
    assert ("512" in reason) == (512 in dims)


@pytest.mark.parametrize("machine", [A100_BARE, T4, LAPTOP])
def test_a_forced_flash_attention_that_cannot_work_is_refused(machine):
    with pytest.raises(UserError, match="flash_attention_2"):
        attention.choose(tiny_models.config("llama"), "flash_attention_2", **machine)


def test_a_forced_flash_attention_on_gemma_4_names_the_head_dimension(shared):
    config = skeleton.read_config(shared / "architectures" / "google--gemma-4-E4B-it")
    with pytest.raises(UserError, match="head_dim 512"):
        attention.choose(config, "flash_attention_2", **H200)


def test_flash_attention_takes_16_bit_only():
    chosen = attention.choose(tiny_models.config("llama"), "auto", **H200, dtype="float32")
    assert chosen[0] == "sdpa" and "float32" in chosen[1]


def test_gemma_2_runs_eager_without_flash_attention_since_transformers_has_no_sdpa_for_it():
    config = tiny_models.config("gemma2")
    implementation, reason = attention.choose(config, "auto", **LAPTOP)
    assert implementation == "eager" and "soft-capped" in reason
    assert attention.choose(config, "auto", **H200)[0] == "flash_attention_2"
    with pytest.raises(UserError, match="soft-capped"):
        attention.choose(config, "sdpa", **LAPTOP)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3", "gemma4"])
@pytest.mark.parametrize("requested", ["auto", "eager"])
def test_what_is_chosen_is_what_the_language_model_runs_towers_or_not(tmp_path, family, requested):
    folder = tiny_models.build(family, tmp_path)
    chosen, _ = attention.choose(tiny_models.config(family), requested, **attention.here())
    base = Base(model=str(folder), quantization="none", dtype="float32", attn_implementation=requested)
    model = models.load_base(base, folder)
    assert model(input_ids=torch.arange(10, 18).reshape(1, 8)).logits.isfinite().all()
    assert model.get_decoder().layers[0].self_attn.config._attn_implementation == chosen
