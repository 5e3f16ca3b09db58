"""Warnings about the pairs of a run: what was seen, what is expected, what to change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from localpsych_recipes.pairs.statuses import JUDGED, STATUSES
from localpsych_recipes.recipe import Recipe

# All of these are judgement. 60 to 80 % of prompts with a pair is what one published pipeline expects; no other source
# was found, so that only what is far outside is warned of.
RETENTION = (0.40, 0.90)
LENGTH_CORRELATION = 0.5
CHOSEN_LONGER = 0.65
UNPARSED = 0.05  # of verdicts
REJECTED_BETTER = 0.10  # of judged candidates
HELD_OUT = 30  # pairs; a share of so few is known to about 17 points either way

READ_THEM = "read them with `localpsych pairs RUN --status {status}`"
MORE_VARIED = "raise pairs.temperature, or let sft learn for fewer epochs"
TOO_FEW = {  # what most of the lost candidates are -> what to change
    "ungenerated": "give the server that `pairs` asks a longer context, or look for the reason in its log",
    "empty": "lower pairs.temperature, or raise pairs.max_tokens if the model reasons at length",
    "cut_off": "raise pairs.max_tokens, or lower pairs.temperature",
    "identical": MORE_VARIED,
    "near_identical": MORE_VARIED,
    "repeated": MORE_VARIED,
    "unjudged": "name a judge.model with a longer context, or look for the reason in the log of its server",
    "unparsed": "raise judge.max_tokens, or name a judge.model that is larger or has a longer context",
    "vetoed": f"{READ_THEM}; then clean the data, or name another judge.model if it errs",
    "tie": "name another judge.model, a larger one, or raise pairs.temperature or the shares under pairs.degrade",
    "rejected_better": f"{READ_THEM}; then clean the data, or name another judge.model if it errs",
    "gap_below": "raise pairs.temperature, the shares under pairs.degrade or pairs.candidates, or lower pairs.min_gap",
}


def warnings(results: Mapping[str, Any], recipe: Recipe, lost: Mapping[str, int], verdicts: int) -> list[str]:
    """One sentence or two for each thing that is not as expected.

    lost: status -> candidates, of the prompts without a kept pair;  verdicts: how many were asked for.
    """
    return [
        *_retention(results["retention"], Counter(lost)),
        *_lengths(results, recipe),
        *_judging(results, verdicts),
        *_held_out(results, recipe),
    ]


def _retention(retention: Mapping[str, Any], lost: Counter[str]) -> Iterator[str]:
    (low, high), share = RETENTION, retention["share"]
    if share is None:
        return
    seen = f"{_percent(share)} of the prompts gave a pair; 60 to 80 % is expected"
    if share < low:
        yield f"{seen}. {_reason(lost)}" if lost else f"{seen}: raise pairs.candidates"
    if share > high:
        yield (
            f"{seen}. The rejected answers may be too easy to tell: lower the shares under pairs.degrade or "
            "pairs.temperature, or raise pairs.min_gap"
        )


def _reason(lost: Counter[str]) -> str:
    (status, count), *_ = lost.most_common(1)
    part = f"{_percent(count / lost.total())} of the other prompts' candidates are {status} ({STATUSES[status]})"
    return f"{part}: {TOO_FEW[status].format(status=status)}"


def _lengths(results: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    rank, longer = results["length_correlation"], results["chosen_longer"]
    if rank is not None and abs(rank) > LENGTH_CORRELATION:
        yield (
            f"scores go with length: a rank correlation of {rank:.2f}, where {LENGTH_CORRELATION} at most is expected. "
            "The judge may score length: say in pairs.rubric that it does not count, or name another judge.model"
        )
    if longer is not None and longer > CHOSEN_LONGER:
        cut = "lower pairs.degrade.truncate, or " if recipe.pairs.degrade.truncate else ""
        yield (
            f"chosen is the longer one in {_percent(longer)} of the kept pairs; {_percent(CHOSEN_LONGER)} at most is "
            f"expected. DPO may learn length instead: {cut}set ld_alpha: 0.5 under dpo.trainer"
        )


def _judging(results: Mapping[str, Any], verdicts: int) -> Iterator[str]:
    judged, better = sum(results["statuses"][s] for s in JUDGED), results["statuses"]["rejected_better"]
    if verdicts and results["unparsed"] / verdicts > UNPARSED:
        yield (
            f"{_percent(results['unparsed'] / verdicts)} of the verdicts could not be read; {_percent(UNPARSED)} at "
            f"most is expected: {TOO_FEW['unparsed']}"
        )
    if judged and better / judged > REJECTED_BETTER:
        do = TOO_FEW["rejected_better"].format(status="rejected_better")
        yield (
            f"{_percent(better / judged)} of the judged candidates scored higher than the data's answer; "
            f"{_percent(REJECTED_BETTER)} at most is expected: {do}"
        )
    if results["judge"]["same_family"]:
        yield (
            "the judge is of the base's own family, and models favour answers like their own; one of another family is "
            "expected: name it as judge.model"
        )


def _held_out(results: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    held_out = results["pairs"]["test"] + results["data_pairs"]["test"]
    if recipe.dpo and held_out < HELD_OUT:
        yield (
            f"held-out pairs: {held_out}; {HELD_OUT} at least are expected, or the figures of dpo rest on few: hold out "
            "more rows (data.test_size), or raise pairs.max_prompts if it is set"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
