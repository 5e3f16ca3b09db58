"""Which weights answer: a base's folder, and the adapter on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
