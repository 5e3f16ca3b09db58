"""Which weights answer: a base's folder, and the adapter on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from localpsych_recipes import models, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Base

WITHOUT_EFFECT = ("model", "revision", "hub_id", "license")  # keys of `base` that change no answer, its commit apart


@dataclass(frozen=True)
class Weights:
    """A model in transformers' folder, with the adapter that is loaded on it; or a .gguf file.

    base: how it is loaded (quantization, dtype, attn_implementation, trust_remote_code); name: for reports; identity:
    of all that its answers follow from; tokenizer: a folder with that of a .gguf file, by which prompts are measured.
    """

    base: Base
    folder: Path
    adapter: Path | None
    name: str
    identity: str
    tokenizer: Path | None = None


def of_run(run: Run, stage: str | None, base: Base | None = None) -> Weights:
    """The base with the adapter that a training stage ("sft", "dpo") hands on; None: without one.

    base: how it is loaded, where that is not as in training.
    """
    base, pin = base or run.recipe.base, run.pins.get("base", {})
    adapter = run.dir.adapter(stage) if stage else None
    loaded = base.model_dump(mode="json", exclude=set(WITHOUT_EFFECT))
    which = pin.get("commit") or pin.get("local", {}).get("sha256")
    known = rundir.fingerprint(loaded, which, adapter and rundir.file_sha256(adapter / "adapter_model.safetensors"))
    return Weights(base, models.base_folder(base, run.pins), adapter, run.recipe.name, known)


class OnThisMachine:
    """What the Writers of such weights have in common."""

    weights: Weights
    name: ClassVar[str]
    where: ClassVar[Literal["local"]] = "local"

    @property
    def model(self) -> str:
        return self.weights.name

    @property
    def identity(self) -> str:
        return f"{self.name} {self.weights.identity}"
