"""Facts by `model_type`, as data: what "attention" and "mlp" mean, what is no language model, template quirks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Family:
    """Facts of one `model_type`; the defaults are those of Llama, which most families share."""

    attention: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    mlp: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    # arguments of the chat template, in training and afterwards
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    # False: the template raises on a system turn, whose text must then stand in the first user turn
    system_turn: bool = True
    # llama.cpp drops the blanks behind special tokens, as this tokenizer does, where general.name has this in it
    gguf_name: str = ""


GEMMA_WITHOUT_SYSTEM = Family(system_turn=False)
FAMILIES = {
    # Llama 3's template else writes the day of the training into every row; this is its own default
    "llama": Family(chat_template_kwargs={"date_string": "26 Jul 2024"}),
    "mistral": Family(),
    "qwen2": Family(),
    # without this an empty <think></think> block would be part of every trained answer
    "qwen3": Family(chat_template_kwargs={"enable_thinking": False}),
    "gemma": GEMMA_WITHOUT_SYSTEM,
    "gemma2": GEMMA_WITHOUT_SYSTEM,
    "gemma3": Family(),
    "gemma3_text": Family(),
    "gemma4": Family(),
    "gemma4_text": Family(),
    "phi3": Family(attention=("qkv_proj", "o_proj"), mlp=("gate_up_proj", "down_proj"), gguf_name="phi3"),
}
# any other model_type: every settled name of these projections, separate and fused
UNKNOWN = Family(
    attention=(*Family.attention, "qkv_proj", "out_proj", "query_key_value", "Wqkv"),
    mlp=(*Family.mlp, "gate_up_proj", "fc1", "fc2", "c_fc"),
)


def of(model_type: str) -> Family:
    """The facts of a `model_type`, or guesses by the settled names for one that is not in the table."""
    return FAMILIES.get(model_type, UNKNOWN)


def type_of(folder: Path) -> str:
    """The `model_type` that a base's config.json names."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]


# a part of a module's full name -> what lies below it; text never runs through these
TOWERS = {
    "vision_tower": "the vision tower",
    "vision_model": "the vision tower",
    "visual": "the vision tower",
    "audio_tower": "the audio tower",
    "multi_modal_projector": "the projector of images",
    "embed_vision": "the projector of images",
    "embed_audio": "the projector of sound",
}
# a part of a module's full name: chooses experts, so that a small change sends a token elsewhere
ROUTERS = ("router", "gate", "shared_expert_gate")
# last part of a module's full name
HEADS = ("lm_head", "score", "classifier")
# last part of a module's full name: Gemma 4's per-layer embeddings come through it, and llama.cpp multiplies by it without
# looking for an adapter (src/models/gemma4.cpp), so that the adapter's GGUF would be another model than the merged one
WITHOUT_LORA_IN_LLAMA_CPP = ("per_layer_model_projection",)
# classes around an nn.Linear that PEFT refuses; an adapter on the inner layer would bypass what they do
WRAPPERS = ("Gemma4ClippableLinear",)
