"""Whether a training stage fits a GPU, and what would make it fit, tried out in the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from localpsych_recipes.attention import FLASH_CAPABILITY
from localpsych_recipes.plan import gpus
from localpsych_recipes.plan.gpus import Gpu
from localpsych_recipes.plan.memory import Memory, nf4
from localpsych_recipes.recipe import Base, Training

TIGHT = 0.9  # share of the GPU's memory above which one longer row or another program can end the run
SHORTEST = 128  # tokens; shorter rows hold no conversation
BFLOAT16, INT8 = (8, 0), (7, 5)  # compute capabilities that have them; CUDA programming guide, bitsandbytes' README
# bases of the shipped recipes -> bytes of their weights in NF4 with double quantisation, embeddings in 16 bit
BASES = {
    "google/gemma-4-E4B-it": 9_300_895_984, "google/gemma-4-E2B-it": 6_741_414_916, "google/gemma-3-4b-it": 3_228_468_024,
    "microsoft/Phi-3-mini-4k-instruct": 2_263_988_736, "meta-llama/Llama-3.2-3B-Instruct": 2_242_583_568,
    "google/gemma-2-2b-it": 2_224_592_088, "google/gemma-2b-it": 2_071_219_064, "Qwen/Qwen2.5-3B-Instruct": 2_054_383_856,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_609_888_144, "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 762_313_960,
    "Qwen/Qwen3-0.6B": 538_699_792,
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What of a recipe decides a stage's memory."""

    base: Base
    knobs: Training
    length: int


@dataclass(frozen=True)
class Try:
    """A change, in the recipe's words, on top of those before it, and the memory that is then needed."""

    change: str
    needed: int
    fits: bool


@dataclass(frozen=True)
class Verdict:
    """says: "fits", "tight" or "does not fit"; tries: in order, empty where it fits; otherwise: where none of them helps."""

    says: str
    needed: int
    gpu: Gpu
    tries: tuple[Try, ...] = ()
    otherwise: tuple[str, ...] = ()


def judge(setting: Setting, gpu: Gpu, memory: Callable[[Setting], Memory]) -> Verdict:
    """The verdict for one stage; memory: the arithmetic, asked again for each change that is tried."""

    def fits(changed: Setting) -> bool:
        return memory(changed).needed <= gpu.memory

    own = least = memory(setting)
    if own.needed <= gpu.memory:
        return Verdict("fits" if own.needed <= TIGHT * gpu.memory else "tight", own.needed, gpu)
    tries = []
    for change, changed in changes(setting, fits):
        found = memory(changed)
        if found.needed < least.needed:
            least = found
            tries.append(Try(change, found.needed, fits(changed)))
        if fits(changed):
            return Verdict("does not fit", own.needed, gpu, tuple(tries))
    return Verdict("does not fit", own.needed, gpu, tuple(tries), tuple(_otherwise(setting.base, own, least, gpu)))


def changes(setting: Setting, fits: Callable[[Setting], bool]) -> Iterator[tuple[str, Setting]]:
    """Each with those before it, in the order of what they cost in quality: nothing, time, a rounding, text, precision.

    Of the lengths only the shortest, where not even that fits.
    """
    at, knobs = setting, setting.knobs
    rows, accumulated = knobs.per_device_train_batch_size, knobs.gradient_accumulation_steps
    while rows > 1:
        less = next(n for n in range(rows // 2, 0, -1) if rows % n == 0)
        accumulated, rows = accumulated * (rows // less), less
        at = _with(
            at, per_device_train_batch_size=rows, gradient_accumulation_steps=accumulated, per_device_eval_batch_size=1
        )
        yield f"per_device_train_batch_size: {rows}, gradient_accumulation_steps: {accumulated}", at
    if not knobs.gradient_checkpointing:
        at = _with(at, gradient_checkpointing=True)
        yield "gradient_checkpointing: true", at
    if knobs.optim != "paged_adamw_8bit":
        at = _with(at, optim="paged_adamw_8bit")
        yield "optim: paged_adamw_8bit", at
    yield from _shorter(at, fits)
    if setting.base != nf4(setting.base):
        at = Setting(nf4(at.base), at.knobs, at.length)
        yield "base.quantization: nf4, base.double_quant: true (max_length as it was)", at
        yield from _shorter(at, fits)


def cannot(gpu: Gpu, base: Base) -> Iterator[str]:
    """What of the recipe this GPU does not have, and what to do."""
    if gpu.capability is None:
        return
    has = f"compute capability {gpu.capability[0]}.{gpu.capability[1]}"
    if gpu.capability < BFLOAT16 and base.dtype == "bfloat16":
        yield f"no bfloat16 ({has}, it came with 8.0): emulated and slow; set base.dtype: float16"
    if gpu.capability < FLASH_CAPABILITY:
        yield f"no FlashAttention 2 ({has}): SDPA's other kernels, as attn_implementation: auto does by itself"
    if gpu.capability < INT8 and base.quantization == "int8":
        yield f"no int8 tensor cores ({has}, they came with 7.5): take nf4 or none"
    if gpu.capability < INT8:
        yield "recent builds of PyTorch leave out its kernels: look at torch.cuda.get_arch_list() first"


def _shorter(setting: Setting, fits: Callable[[Setting], bool]) -> Iterator[tuple[str, Setting]]:
    powers = (2**n for n in range(setting.length.bit_length(), 0, -1))
    lengths = [length for length in powers if SHORTEST <= length < setting.length]
    shorter = [(f"max_length: {n}", Setting(setting.base, _with(setting, max_length=n).knobs, n)) for n in lengths]
    yield from shorter if shorter and fits(shorter[-1][1]) else shorter[-1:]


def _with(setting: Setting, **knobs) -> Setting:
    return Setting(setting.base, setting.knobs.model_copy(update=knobs), setting.length)


def _otherwise(base: Base, own: Memory, least: Memory, gpu: Gpu) -> Iterator[str]:
    room = gpu.memory - (least.needed - least.weights)  # with the rest as it is, which a smaller base makes smaller too
    smaller = [name for name, size in BASES.items() if size < min(room, least.weights)]
    if smaller:
        yield f"a smaller base, such as {max(smaller, key=BASES.__getitem__)}, by its weights; plan it to be sure"
    enough, relieved = gpus.smallest(own.needed), gpus.smallest(least.needed)
    if relieved and relieved != enough:
        yield f"with all of these changes the smallest of the table that it fits: {relieved}"
    yield f"as it stands the smallest of the table that it fits: {enough or 'none'}"
