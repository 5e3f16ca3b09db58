"""Tiny random models of the real architectures, and adapters for them, made in process and equal for equal seeds.

The classes, the names on disk and the quirks (towers, shared K/V, fused projections, tied embeddings) are the real
ones; only widths, depths and vocabularies are small. No tokenizer is made here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

DENSE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 1,
}
TEXT: dict[str, Any] = {**DENSE, "head_dim": 16, "sliding_window": 64}

GEMMA3_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "vision_use_head": False,
}
GEMMA4_VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "position_embedding_size": 64,
    "use_clipped_linears": True,
}
GEMMA4_AUDIO = {
    "model_type": "gemma4_audio",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "output_proj_dims": 48,
    "subsampling_conv_channels": [8, 4],
}
GEMMA4_TEXT = {  # of four layers the last two own no k_proj and v_proj; full attention is twice as wide
    **TEXT,
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
    "global_head_dim": 32,
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": 512,
    "use_double_wide_mlp": True,
}

# family -> (class in transformers, the arguments of its configuration); `text_config` marks the families with towers
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", DENSE),
    "qwen2": ("Qwen2ForCausalLM", {**DENSE, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", {**DENSE, "head_dim": 32, "tie_word_embeddings": True}),
    "gemma": ("GemmaForCausalLM", {**DENSE, "head_dim": 32, "num_key_value_heads": 1}),
    "gemma2": ("Gemma2ForCausalLM", TEXT),
    "phi3": ("Phi3ForCausalLM", DENSE),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        {
            "text_config": TEXT,
            "vision_config": GEMMA3_VISION,
            "mm_tokens_per_image": 4,
            "tie_word_embeddings": True,
            "boi_token_index": 501,
            "eoi_token_index": 502,
            "image_token_index": 503,
        },
    ),
    "gemma4": (
        "Gemma4ForConditionalGeneration",
        {
            "text_config": GEMMA4_TEXT,
            "vision_config": GEMMA4_VISION,
            "audio_config": GEMMA4_AUDIO,
            "boi_token_id": 501,
            "eoi_token_id": 502,
            "image_token_id": 503,
            "video_token_id": 504,
            "boa_token_id": 505,
            "eoa_token_index": 506,
            "audio_token_id": 507,
        },
    ),
}


def config(family: str, **text_settings: Any) -> Any:
    """The configuration of a tiny `family`; `text_settings` replace settings of its language model."""
    import transformers

    class_name, settings = FAMILIES[family]
    if "text_config" in settings:
        settings = {**settings, "text_config": {**settings["text_config"], **text_settings}}
    else:
        settings = {**settings, **text_settings}
    return getattr(transformers, class_name).config_class(**settings)


def build(
    family: str,
    folder: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    shard: str | None = None,
    **text_settings: Any,
) -> Path:
    """Write a random model of `family` into `folder`, in shards of at most `shard` ("50KB") if that is given."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, FAMILIES[family][0])(config(family, **text_settings)).to(dtype)
    model.save_pretrained(folder, max_shard_size=shard or "5GB")
    return folder


def adapter(
    model_folder: Path,
    folder: Path,
    *,
    targets: list[str] | str,
    r: int = 4,
    lora_alpha: int = 8,
    seed: int = 0,
    **lora_settings: Any,
) -> Path:
    """Write a LoRA adapter of that model in which every tensor, B and DoRA's magnitudes included, is off its start.

    targets: PEFT's `target_modules`; lora_settings: any other argument of `peft.LoraConfig` (use_dora, ...).
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto")
    settings = LoraConfig(r=r, lora_alpha=lora_alpha, target_modules=targets, task_type="CAUSAL_LM", **lora_settings)
    adapted = get_peft_model(model, settings)
    _randomise(adapted, torch.Generator().manual_seed(seed))
    adapted.save_pretrained(folder)
    return folder


@torch.no_grad()
def _randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Move every trainable tensor: a magnitude by a factor, anything else by noise of the weights' own size."""
    for name, tensor in model.named_parameters():
        if not tensor.requires_grad:
            continue
        noise = 0.1 * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        tensor.copy_(tensor * (1 + noise) if "magnitude" in name else noise)
