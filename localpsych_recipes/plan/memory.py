"""Peak memory of a training stage, line by line. Every line says how its number comes about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from localpsych_recipes import attention, lora, skeleton
from localpsych_recipes.plan import weights
from localpsych_recipes.plan.shapes import Activations, Shapes
from localpsych_recipes.recipe import Base, Dpo, Lora, Training

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

GiB = 2**30
# Assumptions, not measured here: the driver's context with cuBLAS and kernels, what the caching allocator holds beyond
# what is allocated, and a Python process with torch and its CUDA libraries.
CONTEXT, SLACK, PROCESS = 0.5 * GiB, 0.05, 3 * GiB
# trl/kernels/chunked_logprob.py and trl/trainer/utils.py (TRL 1.16): tokens and vocabulary entries of a tile of logits
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
PAGED_FROM = 100_000  # bitsandbytes pages the state of tensors with at least so many numbers
EIGHT_BIT_FROM = 4_096  # and keeps smaller ones in fp32

# optimiser -> bytes of state for one trained number; those of 8 bits have one more fp32 for 256 numbers and state.
# An optimiser that is not here is taken for Adam in fp32, and the plan says so.
STATES = {
    "adamw_torch": (2, 4), "adamw_torch_fused": (2, 4), "paged_adamw_32bit": (2, 4), "stable_adamw": (2, 4),
    "adamw_8bit": (2, 1), "adamw_bnb_8bit": (2, 1), "paged_adamw_8bit": (2, 1), "adamw_torch_8bit": (2, 1),
    "ademamix": (3, 4), "paged_ademamix_32bit": (3, 4), "ademamix_8bit": (3, 1), "paged_ademamix_8bit": (3, 1),
    "lion_32bit": (1, 4), "paged_lion_32bit": (1, 4), "lion_8bit": (1, 1), "paged_lion_8bit": (1, 1),
    "rmsprop": (1, 4), "rmsprop_bnb": (1, 4), "rmsprop_bnb_32bit": (1, 4), "rmsprop_bnb_8bit": (1, 1),
    "adagrad": (1, 4), "sgd": (0, 4),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One number of the sum: what it is, how it comes about, bytes."""

    what: str
    how: str
    bytes: int


@dataclass(frozen=True)
class Memory:
    """Bytes. `allocated` is what torch.cuda.max_memory_allocated would say; `needed` is what the GPU must have."""

    lines: tuple[Line, ...]
    host_lines: tuple[Line, ...]
    weights: int  # of `allocated`, the base's
    notes: tuple[str, ...] = ()

    @property
    def allocated(self) -> int:
        return sum(line.bytes for line in self.lines)

    @property
    def needed(self) -> int:
        return math.ceil(self.allocated * (1 + SLACK) + CONTEXT)

    @property
    def host(self) -> int:
        return sum(line.bytes for line in self.host_lines)


class Anatomy:
    """What of a base and its adapter the memory depends on."""

    def __init__(self, base: Base, config: PreTrainedConfig, knobs: Lora) -> None:
        """UserError for targets that cannot be adapted. Takes a second or two, and no memory for weights."""
        from peft import get_peft_model

        model = skeleton.meta_model(config)
        self.targets = lora.resolve(model, knobs.target_modules)
        self._parts = {choice: weights.parts(model, choice) for choice in (base, nf4(base))}
        self.largest = max(parameter.numel() for parameter in model.parameters())
        self.language = weights.language(model)
        frozen = list(weights.quantized(model).values())
        adapted = get_peft_model(model, lora.config(knobs, self.targets))
        self.trainable, self.total = adapted.get_nb_trainable_parameters()
        self.adapter = [p.numel() for p in adapted.parameters() if p.requires_grad]
        self.shapes = Shapes(adapted, frozen, base.dtype, _implementation(base, config))

    def weights(self, base: Base) -> tuple[weights.Part, ...]:
        return self._parts[base]

    @lru_cache(maxsize=64)  # noqa: B019  an anatomy lives as long as its plan
    def activations(self, rows: int, length: int, checkpointing: bool, quantization: str, dropout: bool) -> Activations:
        return self.shapes.training(
            rows, length, checkpointing=checkpointing, quantization=quantization, dropout=dropout
        )

    @lru_cache(maxsize=64)  # noqa: B019
    def forward(self, rows: int, length: int, quantization: str) -> int:
        return self.shapes.forward(rows, length, quantization=quantization)


def nf4(base: Base) -> Base:
    """The same base in the fewest bytes that the recipe can ask for."""
    return base.model_copy(update={"quantization": "nf4", "double_quant": True})


def stage(anatomy: Anatomy, base: Base, knobs: Training, length: int, dropout: bool) -> Memory:
    """Peak of one training stage on one GPU; length: tokens of its longest row, at most knobs.max_length."""
    gpu = [
        *_weights(anatomy, base),
        *_adapter(anatomy, base, knobs),
        *_step(anatomy, base, knobs, length, dropout),
    ]
    frozen = weights.weight_bytes(anatomy.weights(base))
    return Memory(tuple(gpu), tuple(_host(anatomy, base, knobs)), frozen, tuple(_notes(anatomy, base, knobs)))


def rows_at_once(knobs: Training, evaluation: bool = False) -> int:
    """Sequences in one forward pass; DPO runs a pair's two answers together."""
    batch = knobs.per_device_eval_batch_size if evaluation else knobs.per_device_train_batch_size
    return batch * (2 if isinstance(knobs, Dpo) else 1)


def logits(tokens: int, hidden_size: int, item: int) -> int:
    """Bytes that TRL's loss needs at once. Its logits are never whole: tiles of 4,096 tokens x 32,768 entries are made,
    folded into a few numbers a token, and made again for the gradient (with Triton, so on Linux). Beside a tile: the
    scored hidden states (a copy), their gradient in fp32 and, cast, in the model's dtype."""
    return min(tokens, TILE_TOKENS) * TILE_VOCABULARY * item + tokens * hidden_size * (item + 4 + item)


def optimizer(adapter: Sequence[int], name: str) -> tuple[int, int]:
    """Bytes of the optimiser's state on the GPU and in paged memory, which moves to the host when the GPU is full."""
    states, item = STATES.get(name, STATES["adamw_torch"])
    gpu = paged = 0
    for numbers in adapter:
        small = item == 1 and numbers < EIGHT_BIT_FROM
        size = states * numbers * (4 if small else item)
        gpu += states * 4 * math.ceil(numbers / 256) if item == 1 and not small else 0
        if name.startswith("paged_") and numbers >= PAGED_FROM:
            paged += size
        else:
            gpu += size
    return gpu, paged


def _weights(anatomy: Anatomy, base: Base) -> Iterator[Line]:
    for part in anatomy.weights(base):
        bits = 8 * part.bytes / part.parameters
        yield Line(part.what, f"{part.parameters:,} parameters, {part.stored}: {bits:.3g} bit each", part.bytes)


def _adapter(anatomy: Anatomy, base: Base, knobs: Training) -> Iterator[Line]:
    numbers = sum(anatomy.adapter)
    yield Line("adapter", f"{numbers:,} x 4 bytes (fp32)", 4 * numbers)
    if isinstance(knobs, Dpo):
        yield Line("reference adapter", f"{numbers:,} x 4 bytes: a frozen copy, kept by TRL", 4 * numbers)
    yield Line("gradients", f"{numbers:,} x 4 bytes", 4 * numbers)
    if (item := weights.ITEM[base.dtype]) < 4:
        yield Line("adapter in 16 bit", f"{numbers:,} x {item} bytes: autocast's copy during a step", item * numbers)
    size, paged = optimizer(anatomy.adapter, knobs.optim)
    states, item = STATES.get(knobs.optim, STATES["adamw_torch"])
    how = f"{knobs.optim}: {states} states of {item} byte{'s' * (item > 1)} for each of {numbers:,}"
    yield Line("optimiser", how + (f", {paged / 1e6:,.1f} MB of it paged (host)" if paged else ""), size)


def _step(anatomy: Anatomy, base: Base, knobs: Training, length: int, dropout: bool) -> Iterator[Line]:
    rows, item, hidden = rows_at_once(knobs), weights.ITEM[base.dtype], anatomy.shapes.hidden_size
    checkpointing = knobs.gradient_checkpointing
    found = anatomy.activations(rows, length, checkpointing, base.quantization, dropout)
    batch = f"{rows} x {length:,} tokens" + (" (a pair is two rows)" if isinstance(knobs, Dpo) else "")
    one = f"{found.layers} layers' inputs, each {rows} x {length:,} x {hidden:,} x {item} bytes, and what stands around them"
    yield Line(
        "activations kept",
        f"{batch}: " + (one if checkpointing else "all that the layers keep; run on shapes"),
        found.kept,
    )
    head = logits(rows * length, hidden, item)
    tile = f"{min(rows * length, TILE_TOKENS):,} x {TILE_VOCABULARY:,} x {item} bytes of {anatomy.language.vocabulary:,} entries"
    layer = (
        f"a layer at work {found.working / 1e6:,.1f} MB (run on shapes), a tile of logits {head / 1e6:,.1f} MB ({tile})"
    )
    yield Line("working memory", f"the larger of: {layer}", max(found.working, head))
    training = found.kept + max(found.working, head)
    yield from _evaluation(anatomy, base, knobs, length, training)


def _evaluation(anatomy: Anatomy, base: Base, knobs: Training, length: int, training: int) -> Iterator[Line]:
    """Only where an evaluation needs more than a step."""
    rows, item = rows_at_once(knobs, evaluation=True), weights.ITEM[base.dtype]
    if rows <= rows_at_once(knobs):
        return
    tokens = rows * length
    peak = anatomy.forward(rows, length, base.quantization) + logits(tokens, anatomy.shapes.hidden_size, item)
    if peak > training:
        yield Line("evaluation", f"{rows} x {length:,} tokens without gradients: more than a step by", peak - training)


def _host(anatomy: Anatomy, base: Base, knobs: Training) -> Iterator[Line]:
    yield Line("process", "Python, torch and CUDA's libraries (assumed)", int(PROCESS))
    largest = anatomy.largest
    yield Line(
        "loading",
        f"the largest tensor, {largest:,} x {weights.ITEM[base.dtype]} bytes; the rest is mapped from disk",
        largest * weights.ITEM[base.dtype],
    )
    if paged := optimizer(anatomy.adapter, knobs.optim)[1]:
        yield Line("optimiser", "paged state, if the GPU is full", paged)


def _notes(anatomy: Anatomy, base: Base, knobs: Training) -> Iterator[str]:
    if unused := sum(part.bytes for part in anatomy.weights(base) if "tower" in part.what or "projector" in part.what):
        yield f"{unused / 1e6:,.1f} MB of the weights are towers and projectors: loaded, though no text runs through them"
    if knobs.optim not in STATES:
        yield f"{knobs.optim}: its state is not in the table, counted as two fp32 numbers for each trained one"
    if isinstance(knobs, Dpo):
        when = "once before training" if knobs.precompute_ref_log_probs else "in every step, before the gradient"
        yield f"the reference's log-probabilities are computed {when}, without gradients: less than a step's peak"


def _implementation(base: Base, config: PreTrainedConfig) -> str:
    """Of attention, without FlashAttention 2 where the choice is open: SDPA's kernels take the same memory."""
    if base.attn_implementation != "auto":
        return base.attn_implementation
    return attention.choose(config, "auto", capability=None, package=False)[0]
