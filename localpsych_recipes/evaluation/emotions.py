"""Emotion profiles of texts, against people's: each text is rated twice, freely and under the JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation import benchmarks
from localpsych_recipes.evaluation.bench import Bench, Question
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.generation import Request
from localpsych_recipes.recipe import Emotions
from localpsych_recipes.recipe.evaluate import EMOTIONS
from localpsych_recipes.scoring import emotions as scoring

MAX_TOKENS = 160  # ten words and numbers as JSON are some 70 tokens
ASKED = (
    "Rate how strongly this text expresses each of the following, as whole numbers: {scales}. Answer with one JSON object "
    "that has exactly these keys, and with nothing else.\n\nText: {text}"
)


@dataclass(frozen=True)
class Rated:
    """texts: text -> the mean of its ratings by people; scales: dimension -> lowest and highest; where: as
    benchmarks.PromptSet's; missing: why there are none."""

    texts: Mapping[str, Mapping[str, float]]
    scales: scoring.Scales
    where: str
    missing: str | None = None


def asks(bench: Bench) -> Sequence[Question]:
    """Each text as "emotions/NUMBER/free" and "emotions/NUMBER/schema": the same words, the second under the schema."""
    rated, sampling = _rated(bench), bench.sampling(MAX_TOKENS)
    asked = []
    for number, text in enumerate(rated.texts):
        messages = bench.messages([{"role": "user", "content": question(text, rated.scales)}])
        asked.append(Question(f"emotions/{number}/free", Request(messages, sampling)))
        asked.append(Question(f"emotions/{number}/schema", Request(messages, sampling, schema(rated.scales))))
    return asked


def measure(bench: Bench) -> Iterator[Measured | Skipped]:
    """How like people's ratings those under the schema are, and how many of those without it follow it."""
    rated = _rated(bench)
    if rated.missing:
        yield Skipped("emotions", rated.missing)
        return
    how = f"{rated.where}, {len(rated.texts):,} texts"
    for column in bench.columns:
        answers = bench.texts(column.name, "emotions/")
        alike, follows = {}, {}
        for number, people in enumerate(rated.texts.values()):
            free, constrained = (f"emotions/{number}/{form}" for form in ("free", "schema"))
            if free in answers:
                follows[free] = (float(scoring.profile(answers[free], rated.scales) is not None), 1.0)
            if constrained in answers:
                profile = scoring.profile(answers[constrained], rated.scales)
                alike[constrained] = (scoring.similarity(profile, people) if profile else 0.0, 1.0)
        yield Measured("emotion_similarity", column.name, alike, how=f"{how}; answers constrained to the schema")
        yield Measured("emotion_schema", column.name, follows, how=how)


def question(text: str, scales: scoring.Scales) -> str:
    """What the model is asked about a text."""
    words = ", ".join(f"{name} ({low} to {high})" for name, (low, high) in scales.items())
    return ASKED.format(scales=words, text=text)


def schema(scales: scoring.Scales) -> dict[str, Any]:
    """The JSON Schema of a profile. Numbers as an enum: not every server keeps to minimum and maximum."""
    return {
        "type": "object",
        "properties": {name: {"enum": list(range(low, high + 1))} for name, (low, high) in scales.items()},
        "required": list(scales),
        "additionalProperties": False,
    }


@cache
def rated(wanted: Emotions, seed: int) -> Rated:
    """The texts with people's ratings, one row or several for each text, at most `max_prompts` texts."""
    try:
        rows, where = benchmarks.records(wanted)
    except UserError as error:
        return Rated({}, {}, wanted.source, benchmarks.reason(error))
    by_text: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        ratings = _ratings(row)
        if ratings and isinstance(text := row.get(wanted.text), str) and text.strip():
            by_text.setdefault(text.strip(), []).append(ratings)
    if not by_text:
        return Rated(
            {}, {}, where, f"{where}: no row has text in {wanted.text!r} and numbers for {', '.join(EMOTIONS)}"
        )
    chosen = set(benchmarks.some_of(list(by_text), wanted.max_prompts, f"{seed}"))
    means = {text: _mean(ratings) for text, ratings in by_text.items() if text in chosen}
    return Rated(means, scales(wanted, [rating for ratings in by_text.values() for rating in ratings]), where)


def scales(wanted: Emotions, ratings: Sequence[Mapping[str, float]]) -> dict[str, tuple[int, int]]:
    """The recipe's scale; for a dimension that people rated below its lowest, as far below zero as above."""
    below = {name for rating in ratings for name in EMOTIONS if rating[name] < wanted.lowest}
    return {name: (-wanted.highest if name in below else wanted.lowest, wanted.highest) for name in EMOTIONS}


def _rated(bench: Bench) -> Rated:
    wanted = bench.knobs.emotions
    if wanted is None:
        return Rated({}, {}, "", "evaluate.emotions is not set")
    return rated(wanted, bench.run.recipe.seed)


def _ratings(row: Mapping[str, Any]) -> dict[str, float] | None:
    """The ten numbers of a row; None where one of them is none."""
    cells = {name.strip().casefold(): cell for name, cell in row.items()}
    try:
        ratings = {name: float(cells[name]) for name in EMOTIONS}
    except (KeyError, TypeError, ValueError):
        return None
    return ratings if all(map(math.isfinite, ratings.values())) else None


def _mean(ratings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: math.fsum(rating[name] for rating in ratings) / len(ratings) for name in EMOTIONS}
