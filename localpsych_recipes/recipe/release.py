"""What is made of the trained adapter, and where it goes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localpsych_recipes.recipe.section import Name, RepoName, Section, Strings

QUANTS = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_NL", "IQ4_XS",
    "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S", "IQ2_M", "IQ2_S",
)  # fmt: skip


class Merge(Section):
    """The adapter put into the base's own 16-bit weights. Nothing to choose."""


class Gguf(Section):
    """llama.cpp's files, made from the merged model."""

    quants: Annotated[tuple[Literal[QUANTS], ...], Field(strict=False, description="llama-quantize's types")] = (
        "Q4_K_M",
        "Q5_K_M",
        "Q8_0",
    )
    sixteen_bit: Annotated[bool, Field(description="publish the 16-bit GGUF beside the quants")] = False
    adapter: Annotated[bool, Field(description="the adapter as a LoRA GGUF too")] = True
    imatrix: Annotated[
        Literal["auto", "all", "none"],
        Field(
            description="quants made with an importance matrix of training conversations; auto: those of 4 bits and fewer"
        ),
    ] = "auto"

    def rules(self):
        if repeated := {q for q in self.quants if self.quants.count(q) > 1}:
            yield f"quants: {', '.join(sorted(repeated))} twice"
        if not self.quants and not self.sixteen_bit:
            yield "quants: empty; name at least one, or set sixteen_bit: true"


class Card(Section):
    """What the cards say beyond what was measured."""

    title: Annotated[str | None, Field(description="heading; the recipe's name where absent")] = None
    language: Annotated[Strings, Field(description="ISO 639-1 codes")] = ("en",)
    tags: Annotated[Strings, Field(description="besides those that follow from the recipe")] = ()
    prose: Annotated[Name | None, Field(description="a file of model_cards/prose/ without .md; no numbers in it")] = (
        None
    )


class Push(Section):
    """The repositories. Ids without a user get `namespace`, else the token's own user."""

    namespace: Annotated[Name | None, Field(description="user or organisation; null: the token's user")] = None
    private: Annotated[bool, Field(description="false publishes to everyone")] = True
    despite_licences: Annotated[
        Strings,
        Field(
            description="licences of base or data, by their ids (`unknown` where none is stated), under which you "
            "publish to everyone although they are for research only, non-commercial or not known"
        ),
    ] = ()
    adapter: Annotated[RepoName | None, Field(description="default: NAME-LoRA")] = None
    merged: Annotated[RepoName | None, Field(description="default: NAME")] = None
    gguf: Annotated[RepoName | None, Field(description="default: NAME-GGUF")] = None
    pairs: Annotated[RepoName | None, Field(description="dataset, with pairs.publish; default: NAME-pairs")] = None
