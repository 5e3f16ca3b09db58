"""Which weights answer: a base's folder, and the adapter on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from localpsych_recipes.recipe import Base


@dataclass(frozen=True)
class Weights:
    """A model in transformers' folder, with the adapter that is loaded on it.

    base: how it is loaded (quantization, dtype, attn_implementation, trust_remote_code); name: for reports; identity:
    of all that its answers follow from.
    """

    base: Base
    folder: Path
    adapter: Path | None
    name: str
    identity: str


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
