"""How close each file of a release must be to the model that was trained."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from localpsych_recipes.recipe.release import QUANTS
from localpsych_recipes.recipe.section import Section

FEWEST = 100  # scored tokens below which llama-perplexity gives no statistics
Share = Annotated[float, Field(ge=0, le=1)]


class Bound(Section):
    """Outside any of these, the file is not published. null: not looked at."""

    kl: Annotated[float | None, Field(ge=0, description="mean KL divergence, nats per token, at most")] = None
    kl_999: Annotated[float | None, Field(ge=0, description="its 99.9th percentile, nats, at most")] = None
    top1: Annotated[Share | None, Field(description="share of tokens with the same likeliest next token, at least")] = (
        None
    )
    perplexity_ratio: Annotated[
        float | None, Field(ge=1, description="perplexity through that of what it was made from, at most")
    ] = None


# kl, top1, perplexity_ratio. For the four that llama.cpp's own figures exist of (Llama-3-8B and Llama-2-7B on wikitext-2,
# tools/perplexity/README.md), a few times those, since smaller models lose more; the others are set between and below
# them. All of them are a judgement: no source gives bounds for models of this size.
_OF_QUANTS = {
    "Q8_0": (0.02, 0.95, 1.02),
    "Q6_K": (0.04, 0.93, 1.03),
    "Q5": (0.08, 0.91, 1.05),
    "Q4": (0.15, 0.86, 1.10),
    "IQ4": (0.15, 0.86, 1.10),
    "Q3": (0.40, 0.75, 1.30),
    "IQ3": (0.40, 0.75, 1.30),
    "Q2": (1.0, 0.60, 2.0),
    "IQ2": (1.0, 0.60, 2.0),
}


def default_bound(quant: str) -> Bound:
    """The bound of a quant that the recipe says nothing of."""
    family = next(name for name in _OF_QUANTS if quant.startswith(name))
    kl, top1, ratio = _OF_QUANTS[family]
    return Bound(kl=kl, top1=top1, perplexity_ratio=ratio)


class Verify(Section):
    """Proves that each file of the release is the model that was trained. Bounds without a source are judgements."""

    rows: Annotated[int, Field(ge=0, description="held-out conversations among what the models are compared on")] = 64
    chunks: Annotated[
        int, Field(ge=2, le=1000, description="pieces of `context` tokens compared; half of each is scored")
    ] = 16
    context: Annotated[int, Field(ge=64, le=4096, description="tokens of one piece")] = 256
    quant_chunks: Annotated[int, Field(ge=2, le=1000, description="pieces that quants are measured on")] = 40
    answers: Annotated[
        int, Field(ge=1, le=100, description="greedy answers of each file that must end by themselves")
    ] = 8
    max_tokens: Annotated[int, Field(gt=0, description="tokens within which they must")] = 512
    stopping: Annotated[
        Share,
        Field(
            description="share of those answers that must end, where the model as trained ended them; rounded down to whole answers"
        ),
    ] = 0.9
    as_trained: Annotated[Bound, Field(description="the quantised base of training against the 16-bit one")] = Bound(
        kl=0.3, top1=0.8
    )
    merged: Annotated[Bound, Field(description="the adapter on the 16-bit base against the merged model")] = Bound(
        kl=0.01, top1=0.95
    )
    gguf: Annotated[Bound, Field(description="the merged model against the 16-bit GGUF")] = Bound(kl=0.01, top1=0.95)
    adapter_gguf: Annotated[Bound, Field(description="base and adapter as GGUFs against the merged GGUF")] = Bound(
        kl=0.01, top1=0.95
    )
    quants: Annotated[
        dict[str, Bound], Field(description="quant -> its bound; a key left out is that of the quant's default")
    ] = {}

    def rules(self):
        for quant in self.quants:
            if quant not in QUANTS:
                yield f"quants: {quant!r} is no quant; one of {', '.join(QUANTS)}"
        for key in ("chunks", "quant_chunks"):
            if (scored := getattr(self, key) * (self.context - 1 - self.context // 2)) < FEWEST:
                yield f"{key}: {scored} tokens would be compared; it takes {FEWEST}: more pieces, or longer ones"

    def bound(self, quant: str) -> Bound:
        """What holds for a quant: the recipe's keys over the defaults."""
        own = self.quants.get(quant)
        said: dict[str, Any] = own.model_dump(exclude_unset=True) if own else {}
        return default_bound(quant).model_copy(update=said)
