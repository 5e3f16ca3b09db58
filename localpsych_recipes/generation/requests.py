"""What a model is asked, and what comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from localpsych_recipes.recipe import Evaluate, Judge, Pairs, Reference

Asked = Pairs | Judge | Evaluate | Reference  # the sections of a recipe that say who answers
Messages = Sequence[Mapping[str, str]]  # {"role": system, user or assistant, "content": text}


@dataclass(frozen=True)
class Sampling:
    """max_tokens: of one answer; temperature 0: the likeliest token each time; top_k 0, top_p 1, min_p 0: all tokens."""

    temperature: float
    max_tokens: int
    seed: int
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Request:
    """A conversation whose next turn is to be written; schema: the JSON Schema that it must follow."""

    messages: Messages
    sampling: Sampling
    schema: Mapping[str, Any] | None = None

    def key(self, writer: str) -> str:
        """Hex SHA-256 of everything that the answer follows from. writer: Writer.identity."""
        turns = [(message["role"], message["content"]) for message in self.messages]
        # the schema's keys unsorted: their order is that of the answer's
        said = json.dumps([writer, turns, asdict(self.sampling), self.schema], ensure_ascii=False)
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What the model wrote; cut: it came to the end of max_tokens or of its context; tokens: written ones."""

    text: str
    cut: bool
    tokens: int = 0
