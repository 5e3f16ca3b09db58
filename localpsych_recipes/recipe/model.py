"""The base model and the adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from localpsych_recipes.recipe.section import HubId, Place, Section, Strings, pattern_problem


class Base(Section):
    """The model that is fine-tuned."""

    model: Annotated[Place, Field(description="Hub id, or a local folder that holds config.json")]
    revision: Annotated[str | None, Field(description="commit, branch or tag; pinned to a commit at the first run")] = (
        None
    )
    hub_id: Annotated[HubId | None, Field(description="Hub id of a local base; asked for before a push")] = None
    license: Annotated[str | None, Field(description="the base's licence, where its card on the Hub does not say")] = (
        None
    )
    quantization: Annotated[
        Literal["nf4", "int8", "none"],
        Field(description="of the frozen weights during training; the release is 16 bit"),
    ] = "nf4"
    double_quant: Annotated[
        bool, Field(description="nf4 only: the scales are quantised too, 0.4 bit a weight less")
    ] = True
    dtype: Annotated[Literal["bfloat16", "float16", "float32"], Field(description="compute and loading dtype")] = (
        "bfloat16"
    )
    attn_implementation: Annotated[
        Literal["auto", "flash_attention_2", "sdpa", "eager"],
        Field(description="auto: FlashAttention 2 where the GPU, the package and every head_dim allow it, else sdpa"),
    ] = "auto"
    trust_remote_code: Annotated[bool, Field(description="runs Python code from the base's repository")] = False


class Lora(Section):
    """The adapter, in PEFT's words."""

    r: Annotated[int, Field(gt=0, description="rank")] = 16
    lora_alpha: Annotated[int, Field(gt=0, description="the update is scaled by lora_alpha / r")] = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        str | Strings,
        Field(description="attention, mlp, all, a list of names, or a regular expression on full module names"),
    ] = "attention"
    use_rslora: Annotated[bool, Field(description="scales by lora_alpha / sqrt(r) instead")] = False
    use_dora: bool = False

    def rules(self):
        if isinstance(self.target_modules, str):
            if problem := pattern_problem(self.target_modules):
                yield f"target_modules: {problem}"
        elif not self.target_modules:
            yield "target_modules: an empty list adapts nothing"
