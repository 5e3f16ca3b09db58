"""Which attention implementation a model runs with, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from localpsych_recipes.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# FlashAttention 2's own limits (README of Dao-AILab/flash-attention): Ampere or newer, head dimension up to 256
FLASH_CAPABILITY = (8, 0)
FLASH_HEAD_DIM = 256


class Machine(TypedDict):
    """What of this machine the choice depends on."""

    capability: tuple[int, int] | None  # compute capability of the least capable GPU; None without a CUDA GPU
    package: bool  # whether FlashAttention 2 is installed


def here() -> Machine:
    """This machine's facts."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    # ROCm builds answer torch.cuda too, with a number that is no compute capability
    gpus = range(torch.cuda.device_count()) if torch.version.cuda else ()
    capability = min((torch.cuda.get_device_capability(gpu) for gpu in gpus), default=None)
    return {"capability": capability, "package": bool(is_flash_attn_2_available())}


def choose(
    config: PreTrainedConfig,
    requested: str,
    *,
    capability: tuple[int, int] | None,
    package: bool,
    dtype: str = "bfloat16",
) -> tuple[str, str]:
    """The implementation (transformers' name) and the reason for it.

    requested: "auto", or a name that is then used as it is; dtype: what the model computes in.
    UserError for a requested one that cannot work with this model on this machine.
    """
    obstacle = _flash_obstacle(config, capability, package, dtype)
    if requested == "flash_attention_2" and obstacle:
        raise _cannot(requested, obstacle)
    if requested == "sdpa" and (capped := _softcap(config)):
        raise _cannot(requested, capped)
    if requested != "auto":
        return requested, "the recipe asks for it"
    if not obstacle:
        return "flash_attention_2", "the GPU, the package and every layer's head_dim allow it"
    if capped := _softcap(config):
        return "eager", f"no FlashAttention 2: {obstacle}; no SDPA: {capped}"
    return "sdpa", f"no FlashAttention 2: {obstacle}"


def head_dims(config: PreTrainedConfig) -> set[int]:
    """The head dimensions of the language model's layers; Gemma 4's full-attention layers have one of their own."""
    return {
        getattr(layer, "head_dim", None) or layer.hidden_size // layer.num_attention_heads
        for layer in config.get_text_config().per_layer_config
    }


def _flash_obstacle(
    config: PreTrainedConfig, capability: tuple[int, int] | None, package: bool, dtype: str
) -> str | None:
    """Why FlashAttention 2 cannot be used; the model's own reason first, for it holds on every machine."""
    if (widest := max(head_dims(config))) > FLASH_HEAD_DIM:
        return f"layers with head_dim {widest}, it takes at most {FLASH_HEAD_DIM}"
    if dtype == "float32":
        return "it computes in 16 bit, the model in float32"
    if capability is None:
        return "no CUDA GPU"
    if capability < FLASH_CAPABILITY:
        return f"a GPU of compute capability {capability[0]}.{capability[1]}, it needs 8.0 or more"
    return None if package else "the package flash-attn is not installed"


def _softcap(config: PreTrainedConfig) -> str | None:
    """Gemma 2 squeezes its attention scores through tanh, which SDPA cannot; transformers refuses the pair."""
    cap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return f"attention scores are soft-capped at {cap}, which it cannot do" if cap else None


def _cannot(requested: str, obstacle: str) -> UserError:
    return UserError(
        f"base.attn_implementation: {requested} cannot be used here: {obstacle}",
        "an implementation that this model and this machine allow",
        "write base.attn_implementation: auto",
    )
