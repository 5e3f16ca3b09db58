"""How long training takes on a GPU, from published figures and one stated assumption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localpsych_recipes.plan.fit import BFLOAT16
from localpsych_recipes.plan.gpus import Gpu
from localpsych_recipes.recipe import Base, Training

# Assumed share of the published rate that fine-tuning reaches; unpacking frozen weights costs part of it. Published
# throughputs come to these shares when operations() counts their work, with checkpointing:
# - 16 bit on an A100, 1,024 tokens at a time: 40 % (7B), 22 % (1.8B); 256 tokens: 23 % and 6 % (Qwen's README)
# - 4 bit on an A100, 1,024 tokens at a time: 32 % (7B), 17 % (1.8B); 256 tokens: 9 % and 4 % (the same, GPTQ);
#   29 % (7B, LLaMA-Factory's wiki, "Performance comparison"); 15 to 19 % on an RTX 4060 (1.5B, arXiv 2509.12229)
# - 4 bit takes 1.1 to 1.6 times as long as 16 bit (1.3B to 7B, LitGPT's resource tables), int8 two to three times
#   (bitsandbytes issue 465)
# The shares below stand between long rows and short ones: a few hundred tokens at a time take longer than planned.
EFFICIENCY = {"none": 0.3, "nf4": 0.2, "int8": 0.15}
UNVERIFIED = "unverified: no GPU run has been compared with this table yet"


@dataclass(frozen=True)
class Measured:
    """A run on a real GPU beside what was planned for it: bytes of max_memory_allocated, seconds of training."""

    recipe: str
    stage: str
    gpu: str
    planned_bytes: int
    measured_bytes: int
    planned_seconds: float
    measured_seconds: float


# (recipe, stage) -> its measured runs, newest last. Whoever runs a recipe on a GPU adds a line here.
VERIFIED: Mapping[tuple[str, str], tuple[Measured, ...]] = {}


def operations(parameters: int, tokens: float, checkpointing: bool) -> float:
    """Floating-point operations of a LoRA step over frozen weights.

    Two a parameter and token forward, two for the gradient of the inputs, none for that of the weights, and two for the
    second forward pass of checkpointing (Kaplan et al. 2020, section 2.1, without its weight gradients and attention).
    """
    return 2 * parameters * tokens * (3 if checkpointing else 2)


def seconds(
    gpu: Gpu, base: Base, knobs: Training, parameters: int, tokens_each_step: float, steps: int
) -> float | None:
    """None for a GPU whose rate is not known. parameters: of the layers that a token is multiplied with."""
    rate = _rate(gpu, base)
    if rate is None:
        return None
    work = operations(parameters, tokens_each_step, knobs.gradient_checkpointing) * steps
    return work / (rate * 1e12 * EFFICIENCY[base.quantization])


def _rate(gpu: Gpu, base: Base) -> float | None:
    """TFLOP/s: a dtype that the tensor cores do not have runs on the fp32 units."""
    emulated = base.dtype == "bfloat16" and gpu.capability is not None and gpu.capability < BFLOAT16
    return gpu.vector if base.dtype == "float32" or emulated else gpu.tflops
