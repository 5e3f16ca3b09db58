"""Bytes that a run fetches and leaves on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from localpsych_recipes.plan.memory import Line, optimizer
from localpsych_recipes.plan.weights import Language
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.verification import room

# Bits a weight of llama.cpp's quants of Llama-3.1-8B (tools/quantize/README.md there). Mixtures vary with the model.
BITS = {
    "IQ2_S": 2.5882, "IQ2_M": 2.9294, "IQ3_XXS": 3.2548, "IQ3_XS": 3.4977, "IQ3_S": 3.6606, "IQ3_M": 3.7628,
    "IQ4_XS": 4.4597, "IQ4_NL": 4.6818, "Q2_K_S": 2.9697, "Q2_K": 3.1593, "Q3_K_S": 3.6429, "Q3_K_M": 3.9960,
    "Q3_K_L": 4.2979, "Q4_0": 4.64, "Q4_1": 5.12, "Q4_K_S": 4.6672, "Q4_K_M": 4.8944, "Q5_0": 5.57, "Q5_1": 6.04,
    "Q5_K_S": 5.5704, "Q5_K_M": 5.7036, "Q6_K": 6.5633, "Q8_0": 8.5008,
}  # fmt: skip
OUTPUT_BITS = 6.5625  # of the output head, tied embeddings included, in quants below Q8_0: Q6_K (src/llama-quant.cpp)


def run(recipe: Recipe, language: Language, total: int, adapter: Sequence[int], item: int) -> Iterator[Line]:
    """What a run directory holds at the end, beside the Hub's cache, and what verify takes before for a while.

    total: the base's parameters, of `item` bytes.
    """
    for stage in ("sft", "dpo"):
        if knobs := getattr(recipe, stage):
            kept = knobs.save_total_limit + (2 if knobs.eval_steps and knobs.load_best_model_at_end else 1)
            one = checkpoint(adapter, knobs.optim)
            yield Line(
                f"{stage} checkpoints", f"up to {kept} x {one / 1e6:,.1f} MB (adapter and optimiser)", kept * one
            )
    adapters = 1 + bool(recipe.sft) + bool(recipe.dpo)
    yield Line(
        "adapters", f"{adapters} x {sum(adapter):,} x 4 bytes, the released one among them", adapters * 4 * sum(adapter)
    )
    if recipe.merge:
        yield Line("merged model", f"{total:,} x {item} bytes", total * item)
    if recipe.gguf:
        yield from _gguf(recipe, language, sum(adapter), item)
    if recipe.verify:
        yield _verify(recipe, language, item)


def checkpoint(adapter: Sequence[int], optim: str) -> int:
    """Bytes of one of Trainer's checkpoints: the adapter in fp32 and the optimiser's state."""
    return 4 * sum(adapter) + sum(optimizer(adapter, optim))


def quant(language: Language, name: str) -> int:
    """About the bytes of a GGUF of this quant. The head of a small model weighs more than Llama's, and is in Q6_K."""
    bits = BITS[name]
    return round(((language.total - language.head) * bits + language.head * max(bits, OUTPUT_BITS)) / 8)


def _gguf(recipe: Recipe, language: Language, adapter: int, item: int) -> Iterator[Line]:
    copies = 1 + recipe.gguf.sixteen_bit
    how = f"{language.total:,} x {item} bytes" + (", once more to publish" if recipe.gguf.sixteen_bit else "")
    yield Line("unquantised GGUF", how, copies * language.total * item)
    for name in recipe.gguf.quants:
        yield Line(
            f"{name} GGUF",
            f"about {BITS[name]:.3g} bit a weight, the head at least {OUTPUT_BITS:.3g}",
            quant(language, name),
        )
    if recipe.gguf.adapter:
        yield Line("adapter GGUF", f"{adapter:,} x 2 bytes", 2 * adapter)


def _verify(recipe: Recipe, language: Language, item: int) -> Line:
    knobs, base = recipe.verify, language.total * item if recipe.gguf and recipe.gguf.adapter else 0
    taken = room.needed(knobs, language.vocabulary, ggufs=bool(recipe.gguf), base=base)
    also = " and the base's GGUF" if base else ""
    return Line("verify", f"logits of {language.vocabulary:,} tokens{also}, for a while", taken)
