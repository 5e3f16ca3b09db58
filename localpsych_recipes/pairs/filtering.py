"""What becomes of each candidate: exactly one of STATUSES, part of them found before the judge is asked, part after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from localpsych_recipes.data.duplicates import similarity
from localpsych_recipes.judge import Judged
from localpsych_recipes.pairs.candidates import Candidate
from localpsych_recipes.recipe import Pairs


def before_the_judge(candidates: Iterable[Candidate], similar_from: float) -> list[Candidate]:
    """Those that are of no use get the status that says why; the others have none yet.

    similar_from: from which on two answers are near-identical (`data.duplicates.similarity`).
    """
    seen: dict[tuple[str, int], set[str]] = defaultdict(set)
    found = []
    for candidate in candidates:
        if candidate.status is None:
            candidate = replace(candidate, status=_useless(candidate, seen[candidate.of], similar_from))
        if candidate.status is None:
            seen[candidate.of].add(candidate.rejected.strip())
        found.append(candidate)
    return found


def _useless(candidate: Candidate, seen: set[str], similar_from: float) -> str | None:
    chosen, rejected = candidate.chosen.strip(), candidate.rejected.strip()
    if rejected == chosen:
        return "identical"
    if similarity(chosen, rejected) >= similar_from:
        return "near_identical"
    return "repeated" if rejected in seen else None


def after_the_judge(candidates: Sequence[Candidate], judged: Iterable[Judged], pairs: Pairs) -> list[Candidate]:
    """Every candidate with its status. judged: of chosen and rejected of each that has none yet, in order."""
    verdicts = iter(judged)
    found = [c if c.status else _weighed(c, next(verdicts), pairs.min_gap) for c in candidates]
    spare = _spare(found, pairs.pick)
    return [replace(c, status="spare") if number in spare else c for number, c in enumerate(found)]


def _weighed(candidate: Candidate, judged: Judged, min_gap: float) -> Candidate:
    """With scores, vetoes and gap; "kept" where the gap is wide enough."""
    if judged.failure:
        return replace(candidate, status=judged.failure)
    sides = dict(zip(("chosen", "rejected"), judged.verdicts, strict=True))
    # from the sums: a difference of means can fall short of 2 by its last bit
    gap = (sides["chosen"].total - sides["rejected"].total) / len(sides["chosen"].scores)
    return replace(
        candidate,
        status=_status(judged, gap, min_gap),
        scores={side: {name: float(score) for name, score in v.scores.items()} for side, v in sides.items()},
        vetoes={side: list(verdict.vetoes) for side, verdict in sides.items()},
        gap=gap,
    )


def _status(judged: Judged, gap: float, min_gap: float) -> str:
    if judged.verdicts[0].vetoes:
        return "vetoed"
    if judged.disagree or gap == 0:
        return "tie"
    if gap < 0:
        return "rejected_better"
    return "kept" if gap >= min_gap else "gap_below"


def _spare(candidates: Sequence[Candidate], pick: str) -> set[int]:
    """The places of those with enough of a gap that are not picked: of each prompt one is, the first of equals."""
    by_prompt: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, candidate in enumerate(candidates):
        if candidate.status == "kept" and pick != "all":
            by_prompt[candidate.of].append(number)

    def score(number: int) -> float:
        return sum(candidates[number].scores["rejected"].values())

    best = max if pick == "near" else min
    picked = {best(numbers, key=score) for numbers in by_prompt.values()}
    return {number for numbers in by_prompt.values() for number in numbers} - picked
