"""What the checks of one release share: its probes, a folder to compare things in, and what each leaves for
the next, so that no model is loaded twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from localpsych_recipes import conversion, llama_cpp
from localpsych_recipes.chat_templates import Messages
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.llama_cpp import LlamaCpp
from localpsych_recipes.recipe import Verify
from localpsych_recipes.verification import chunks
from localpsych_recipes.verification.logits import Logits
from localpsych_recipes.verification.probes import Probes
from localpsych_recipes.verification.release import Release


@dataclass
class Proof:
    """logits: of the models that are still to be compared, by name; failed: why a model has none; learnt: mean KL from
    the base to the base with the adapter, None until known; ended: the prompts whose answers the model as trained
    ended, None until it was asked; left_out: (hop, why) of what this release gives no occasion to compare."""

    release: Release
    knobs: Verify
    probes: Probes
    work: Path
    say: Callable[[str], None]
    logits: dict[str, Logits] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    learnt: float | None = None
    ended: Sequence[Messages] | None = None
    merged_ended: int = 0  # of these the merged model ended
    quant_scored: int = 0  # tokens that quants were compared on
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def tools(self) -> LlamaCpp:
        """llama.cpp's tools, asked for, and built where they are not there, by the first GGUF."""
        return llama_cpp.tools(self.say)

    @cached_property
    def renderer(self) -> Renderer:
        """The tokenizer that trained."""
        return Renderer(self.release.base_folder)

    @cached_property
    def pieces(self) -> np.ndarray:
        """int32 [pieces, context]. UserError where there is no text for a single one."""
        knobs, renderer = self.knobs, self.renderer
        made = chunks.make(
            self.probes.conversations, renderer.tokenizer, renderer.arguments, knobs.context, knobs.chunks
        )
        if not len(made):
            raise UserError(
                f"verify.context: {knobs.context} tokens, and the probes have fewer",
                "text for one piece at least",
                "lower verify.context",
            )
        return made

    @cached_property
    def sixteen_bit(self) -> Path:
        """The merged model's GGUF in its own dtype; converted here where the release does not bring it."""
        file = self.work / "16bit.gguf"
        if self.release.sixteen_bit is None:
            conversion.to_gguf(self.tools, self.release.merged, file, name=self.release.name)
        return self.release.sixteen_bit or file

    @cached_property
    def tokenizer(self) -> dict[str, str]:
        """What makes text into tokens in the 16-bit GGUF."""
        return llama_cpp.tokenizer(self.sixteen_bit)

    @cached_property
    def settings(self) -> dict[str, str]:
        """What else in it, besides the weights, changes what it answers."""
        return llama_cpp.settings(self.sixteen_bit)

    @cached_property
    def lora(self) -> Path | None:
        """The adapter as a GGUF, made anew; None without one, or with a kind (DoRA) that llama.cpp has no form for."""
        file, release = self.work / "adapter.gguf", self.release
        if not release.adapter:
            return None
        try:
            return self.tools.convert_lora(release.base_folder, release.adapter, file, outtype="f16", name=release.name)
        except llama_cpp.ToolError:
            return None

    def of(self, model: str) -> Logits:
        """The logits of a model that was measured before. UserError, with the reason, where it could not be."""
        if model not in self.logits:
            given = f"{model}: {self.failed.get(model, 'not there')}"
            raise UserError(given, "a model that loads", "look at the folder that it lies in")
        return self.logits[model]

    def forget(self, *models: str) -> None:
        """Removes logits that nothing is compared with any more: they are gigabytes."""
        for model in models:
            if found := self.logits.pop(model, None):
                found.file.unlink()
