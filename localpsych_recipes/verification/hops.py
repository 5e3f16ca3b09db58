"""The hops from the model that was trained to each file of its release: what is compared with what, and the outcome."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Bound
from localpsych_recipes.verification.divergence import Divergence

Kind = Literal["adapter", "merged", "gguf"]
ALL: tuple[Kind, ...] = ("adapter", "merged", "gguf")
Number = int | float
LONGEST = 300  # characters of an error
TELLING = ("corrupt|invalid|not within|cannot", "error|fail")  # in its lines: a cause before what it led to


@dataclass(frozen=True)
class Way:
    """What a hop compares, in words, and which whole kinds of files a failure withholds; none: the file alone."""

    start: str
    end: str
    withholds: tuple[Kind, ...] = ()


HOPS: dict[str, Way] = {
    "adapter": Way("the 16-bit base", "the adapter on it", ALL),
    "as_trained": Way("the quantised base of training with the adapter", "the 16-bit base with the adapter", ALL),
    "merged": Way("the 16-bit base with the adapter", "the merged model", ("merged", "gguf")),
    "gguf": Way("the merged model", "its 16-bit GGUF", ("gguf",)),
    "quant": Way("the 16-bit GGUF", "the quant"),
    "adapter_gguf": Way("the merged model's GGUF", "the base's GGUF with the adapter's"),
    "loads": Way("a file", "llama.cpp"),
    "template": Way("prompts of the training tokenizer", "prompts of the file"),
    "stops": Way("answers that the model as trained ended", "answers of the file"),
}


@dataclass(frozen=True)
class Found:
    """measures by name; bound: what they had to keep, by the same names; wrong: what is, None if nothing; note: what a
    reader should know although nothing is wrong."""

    measures: Mapping[str, Number] = field(default_factory=dict)
    bound: Mapping[str, Number] = field(default_factory=dict)
    wrong: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Hop:
    """One row of the proof. hop: of HOPS; file: None for the whole folder of `kind`."""

    hop: str
    kind: Kind
    file: str | None
    found: Found

    @property
    def passed(self) -> bool:
        return self.found.wrong is None

    def row(self) -> dict[str, Any]:
        """As reports hold it."""
        way = HOPS[self.hop]
        return {
            "hop": self.hop,
            "kind": self.kind,
            "file": self.file,
            "from": way.start,
            "to": way.end,
            "measures": dict(self.found.measures),
            "bound": dict(self.found.bound),
            "passed": self.passed,
            "why": self.found.wrong or self.found.note,
        }


def tried(hop: str, kind: Kind, file: str | None, measure: Callable[[], Found]) -> Hop:
    """The hop as `measure` finds it. What cannot be measured is not proven, and says why."""
    try:
        return Hop(hop, kind, file, measure())
    except Exception as error:  # noqa: BLE001  whatever a damaged file makes its reader raise is the finding
        return Hop(hop, kind, file, Found(wrong=f"could not be measured: {said(error)}"))


def said(error: Exception) -> str:
    """An error in one line without paths: of several, the first that tells a cause. Of a library's own errors only
    the class: their texts may hold anything. A full disk is no finding: it comes through."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise error
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name}: {error.strerror}"
    if not isinstance(error, UserError):
        return type(error).__name__
    lines = [line.strip() for line in error.given.splitlines() if line.strip()]
    told = [line for words in TELLING for line in lines if re.search(words, line, re.IGNORECASE)]
    telling = re.sub(r"^[\d.]+ [A-Z] ", "", (told or lines)[0])  # without llama.cpp's time and level
    return re.sub(r"(?:/[^\s/'\":]+)+/([^\s/'\":]+)", r"\1", telling)[:LONGEST].rstrip(": ")


def judged(found: Divergence, bound: Bound, more: Mapping[str, Number] | None = None) -> Found:
    """A divergence against its bound; outside of any where a number of it is none. more: measures without a bound."""
    measures = {name: value for name, value in asdict(found).items() if value is not None}
    limits = {name: value for name, value in bound.model_dump().items() if value is not None}
    wrong = [name for name, limit in limits.items() if not _inside(name, measures[name], limit)]
    words = ", ".join(f"{WORDS[name]} is {measures[name]:.4g} ({_side(name)} {limits[name]:g} asked)" for name in wrong)
    if not all(map(math.isfinite, measures.values())):
        words = words or "not every number is finite"
    return Found(measures | dict(more or {}), limits, words or None)


WORDS = {
    "kl": "mean KL divergence",
    "kl_999": "KL divergence's 99.9th percentile",
    "top1": "share of tokens with the same likeliest next token",
    "perplexity_ratio": "perplexity ratio",
}


def _inside(name: str, value: Number, limit: Number) -> bool:
    """NaN is outside of everything."""
    return value >= limit if name == "top1" else value <= limit


def _side(name: str) -> str:
    return "at least" if name == "top1" else "at most"
