"""What was counted while rows were prepared: the totals and each source's, and one line of words about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localpsych_recipes.data import sources
from localpsych_recipes.data.crisis import CrisisLines
from localpsych_recipes.data.intake import Part
from localpsych_recipes.data.prepared import KINDS, SPLITS, Kind, Prepared, Split
from localpsych_recipes.recipe import Source, is_local


def counted(
    prepared: Prepared, parts: Sequence[Part], lines: Sequence[CrisisLines], own: CrisisLines
) -> dict[str, Any]:
    """All counts of a `Prepared`, fit for JSON; what they count stands there. own: lines in the system prompt."""
    made = {f"{kind}_{split}": _made(prepared, kind, split) for kind in _kinds(prepared) for split in SPLITS}
    each = [_of_source(of, prepared, parts, made) for of in range(len(prepared.data.sources))]
    names = dict.fromkeys(name for counts in each for name in counts)
    total = {name: sum(counts.get(name, 0) for counts in each) for name in names}
    total |= {"prompts_in_both_splits": _prompts_in_both(prepared), "equal_pairs": _equal_pairs(prepared)}
    total["crisis_lines"] = dict(sorted(sum((line.found for line in (*lines, own)), Counter()).items()))
    total["crisis_lines_replaced"] = sum(line.replaced for line in (*lines, own))
    shown = [{"source": _shown(source)} for source in prepared.data.sources]
    return total | {"sources": [name | counts | line.counts for name, counts, line in zip(shown, each, lines)]}


def describe(counts: dict[str, Any]) -> str:
    """One line for the log, from the counts of a `Prepared`."""
    parts = [f"{_number(counts['rows'], 'row')}: {_cleaning(counts)}", _splitting(counts)]
    if counts["sft_train"] != counts["train"]:
        parts.append(f"{counts['sft_train']:,} answers to learn from them, {counts['sft_test']:,} held out")
    if both := counts["prompts_in_both_splits"]:
        parts.append(f"{_number(both, 'held-out prompt')} also {'occurs' if both == 1 else 'occur'} in training")
    if leaks := counts["leaks"]:
        done = "dropped" if counts["leaks_dropped"] else "kept"
        parts.append(f"{_number(leaks, 'training row')} like a held-out one {done}")
    if equal := counts["equal_pairs"]:
        parts.append(f"{_number(equal, 'pair')} of equal answers")
    if lines := sum(counts["crisis_lines"].values()):
        parts.append(f"{_number(lines, 'outdated help line')}, {counts['crisis_lines_replaced']:,} replaced")
    return "; ".join(parts)


def _of_source(
    of: int, prepared: Prepared, parts: Sequence[Part], made: Mapping[str, Mapping[int, int]]
) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in parts:
        if part.of == of:
            counts.update(part.counts)  # adds
    counts["worse_answers"] = sum(int(prepared.of[row]) == of for row, _ in prepared.never_learnt)
    sides = {split: int((prepared.of[prepared.sides[split]] == of).sum()) for split in SPLITS}
    return {**counts, **sides, **{name: rows[of] for name, rows in made.items()}}


def _kinds(prepared: Prepared) -> tuple[Kind, ...]:
    return KINDS if any(prepared.data.learnt_by("dpo")) else ("sft",)


def _made(prepared: Prepared, kind: Kind, split: Split) -> Counter[int]:
    """Source -> rows of the kind."""
    made: Counter[int] = Counter()
    for row in prepared.used(kind, split):
        made[int(prepared.of[row])] += prepared.made_of(row, kind, split)
    return made


def _prompts_in_both(prepared: Prepared) -> int:
    """How many different prompts stand on both sides, word for word."""
    prompts = {
        split: (
            prompt
            for row in prepared.sides[split].tolist()
            for prompt in prepared.conversations[row].prompts(prepared.source(row).train_on)
        )
        for split in SPLITS
    }
    held_out = set(prompts["test"])
    return len({prompt for prompt in prompts["train"] if prompt in held_out})


def _equal_pairs(prepared: Prepared) -> int:
    return sum(
        pair.chosen == pair.rejected
        for split in SPLITS
        for row in prepared.used("pairs", split)
        for pair in prepared.pairs_of(row, split)
    )


def _shown(source: Source) -> str:
    """A source as a published report may name it: of a path the last part."""
    return Path(source.source).name if is_local(source.source) else sources.shown(source.source)


def _cleaning(counts: dict[str, Any]) -> str:
    empty = f"{counts['empty']:,} empty dropped" if counts["empty"] else "none empty"
    done = "dropped" if counts["duplicates_dropped"] else "kept"
    repeated = f"{_number(counts['duplicates'], 'duplicate')} {done}" if counts["duplicates"] else "no duplicates"
    more = [
        f", {counts[name]:,} {words}"
        for name, words in (
            ("prompts_differ", "pairs without a common prompt dropped"),
            ("no_last_answer", "pairs without two answers dropped"),
            ("near_duplicates_dropped", "near duplicates dropped"),
            ("too_short", "too short"),
            ("too_long", "too long"),
            ("over_max_rows", "beyond max_rows"),
        )
        if counts.get(name)
    ]
    return f"{empty}, {repeated}{''.join(more)}"


def _splitting(counts: dict[str, Any]) -> str:
    held_out = f"{counts['test']:,}" if counts["test"] else "none"
    return f"{counts['train']:,} to train on, {held_out} held out"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
