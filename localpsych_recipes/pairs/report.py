"""The report of the pairs stage: numbers about candidates, verdicts and pairs; no text of any row."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from localpsych_recipes import rundir
from localpsych_recipes.pairs import advice, picture
from localpsych_recipes.pairs.measures import histogram, spearman
from localpsych_recipes.pairs.statuses import AFTER_THE_JUDGE, JUDGED, STATUSES
from localpsych_recipes.pairs.tables import text
from localpsych_recipes.recipe import Degrade, Recipe
from localpsych_recipes.statistics import share

__all__ = ["summary", "text", "write"]

Candidates = Sequence[Mapping[str, Any]]  # the lines of pairs.jsonl
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Answer:
    """A scored answer, once: a chosen one is shared by its prompt's candidates."""

    scores: Mapping[str, float]
    words: int

    @property
    def mean(self) -> float:
        return fmean(self.scores.values())


def summary(
    candidates: Candidates,
    recipe: Recipe,
    judge: Mapping[str, Any],
    engine: Mapping[str, Any],
    counts: Mapping[str, Any],
    speed: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """The results of the stage, fit for JSON.

    candidates: all of them, the lines of pairs.jsonl.
    judge:      model, commit, engine, where, mode, same_family and rubric;  engine: engine, model and where.
    counts:     prompts and data_pairs, each of train and test; retried, unparsed and order_disagreements of verdicts.
    speed:      tokens and seconds of answers and of verdicts.

    `rates` are shares of candidates; generated ones are those that the model's server did not refuse. A chosen answer
    counts once in histograms, means and correlation, with the mean of its scores where each comparison gave it others.
    """
    found = Counter(candidate["status"] for candidate in candidates)
    statuses = {status: found[status] for status in STATUSES}
    assert sum(statuses.values()) == len(candidates), "a candidate without a status of the table"
    answers = _answers(candidates)
    results = {
        **engine,
        "judge": dict(judge),
        "prompts": dict(counts["prompts"]),
        "candidates": len(candidates),
        "degraded": {kind: sum(c["degraded"] == kind for c in candidates) for kind in Degrade.model_fields},
        "statuses": statuses,
        "min_gap": recipe.pairs.min_gap,
        "pairs": {split: sum(c["status"] == "kept" and c["split"] == split for c in candidates) for split in SPLITS},
        "data_pairs": dict(counts["data_pairs"]),
        "retention": share(len(_prompts(_kept(candidates))), sum(counts["prompts"].values())),
        "rates": _rates(statuses),
        "histograms": {side: histogram([answer.mean for answer in answers[side]], 1, 10) for side in answers}
        | {"gap": histogram([c["gap"] for c in candidates if c["gap"] is not None], -9, 9)},
        "means": {side: _means([answer.scores for answer in answers[side]]) for side in answers},
        **_lengths(answers, _kept(candidates)),
        **{name: counts[name] for name in ("retried", "unparsed", "order_disagreements")},
        "speed": {name: dict(speed[name]) for name in ("answers", "verdicts")},
    }
    return results | {"warnings": advice.warnings(results, recipe, _lost(candidates), _verdicts(candidates, recipe))}


def write(results: Mapping[str, Any], folder: Path) -> None:
    """FOLDER/report.txt and FOLDER/report.png, each whole or not at all."""
    rundir.write_text(folder / "report.txt", text(results))
    beside = folder / f"report.png.{os.getpid()}.partial"
    beside.write_bytes(picture.draw(results))
    beside.replace(folder / "report.png")


def _answers(candidates: Candidates) -> dict[str, list[Answer]]:
    by_prompt = defaultdict(list)
    for candidate in candidates:
        if candidate["scores"]:
            by_prompt[_prompt(candidate)].append(candidate)
    shared = by_prompt.values()
    return {
        "chosen": [Answer(_means([c["scores"]["chosen"] for c in of]), _words(of[0]["chosen"])) for of in shared],
        "rejected": [Answer(c["scores"]["rejected"], _words(c["rejected"])) for of in shared for c in of],
    }


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Criterion -> mean; empty where nothing was scored."""
    return {criterion: fmean(each[criterion] for each in scores) for criterion in (scores[0] if scores else ())}


def _lengths(answers: Mapping[str, Sequence[Answer]], kept: Candidates) -> dict[str, float | None]:
    scored = [answer for side in answers.values() for answer in side]
    longer = sum(_words(c["chosen"]) > _words(c["rejected"]) for c in kept)
    return {
        "length_correlation": spearman([answer.mean for answer in scored], [answer.words for answer in scored]),
        "chosen_longer": longer / len(kept) if kept else None,
    }


def _rates(statuses: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    generated = sum(statuses.values()) - statuses["ungenerated"]
    judged, kept = sum(statuses[status] for status in JUDGED), statuses["kept"]
    return {
        "kept_of_generated": share(kept, generated),
        "kept_of_judged": share(kept, judged),
        "judged_of_generated": share(judged, generated),
    }


def _lost(candidates: Candidates) -> Counter[str]:
    """What became of the candidates of prompts without a kept pair."""
    with_a_pair = _prompts(_kept(candidates))
    return Counter(c["status"] for c in candidates if _prompt(c) not in with_a_pair)


def _verdicts(candidates: Candidates, recipe: Recipe) -> int:
    """How many were asked for: one of each answer, or one of each order of two answers."""
    judged = [c for c in candidates if c["status"] in AFTER_THE_JUDGE]
    return 2 * len(judged) if recipe.pairs.mode == "pairwise" else len(judged) + len(_prompts(judged))


def _kept(candidates: Candidates) -> Candidates:
    return [candidate for candidate in candidates if candidate["status"] == "kept"]


def _prompts(candidates: Candidates) -> set[tuple[str, int]]:
    return set(map(_prompt, candidates))


def _prompt(candidate: Mapping[str, Any]) -> tuple[str, int]:
    return candidate["split"], candidate["prompt_number"]


def _words(text: str) -> int:
    return len(text.split())
