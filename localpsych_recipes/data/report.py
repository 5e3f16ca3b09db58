"""The data report of a run: what became of its rows, for people. Counts and names of sources; no text of any row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from localpsych_recipes import rundir
from localpsych_recipes.data.lengths import PERCENTILES, longest, summary
from localpsych_recipes.data.prepared import KINDS, SPLITS
from localpsych_recipes.recipe import Recipe

# key of the counts, words, for cards too; zeros are left out but for those that every reader asks for
WORDS = (
    ("rows", "rows read"),
    ("empty", "with an empty field, dropped"),
    ("prompts_differ", "pairs whose conversations part before the last answer, dropped"),
    ("no_last_answer", "pairs that do not end in an answer, dropped"),
    ("from_html", "cells of HTML made text"),
    ("repaired", "cells whose text was mended"),
    ("duplicates", "repeated rows"),
    ("duplicates_dropped", "... of them dropped"),
    ("near_duplicates", "rows that differ in little from an earlier one"),
    ("near_duplicates_dropped", "... of them dropped"),
    ("too_short", "with fewer tokens than min_tokens, dropped"),
    ("too_long", "with more tokens than max_tokens, dropped"),
    ("over_max_rows", "beyond max_rows, left out"),
    ("worse_answers", "worse answers to a question, no targets of SFT"),
    ("leaks", "training rows equal or nearly equal to a held-out one"),
    ("leaks_dropped", "... of them dropped"),
    ("train", "in the training split"),
    ("test", "held out"),
    ("sft_train", "answers to learn"),
    ("sft_test", "answers held out"),
    ("pairs_train", "pairs to learn"),
    ("pairs_test", "pairs held out"),
    ("prompts_in_both_splits", "held-out prompts that also occur in training"),
    ("equal_pairs", "pairs of equal answers"),
)
ALWAYS = ("rows", "empty", "duplicates", "near_duplicates", "leaks", "train", "test")
TEACHER_WRITES = "The answers are those before augment: a teacher's texts make the ones that SFT learns longer.\n"


def write(
    folder: Path, recipe: Recipe, counts: Mapping[str, Any], lengths: Mapping[str, Sequence[Sequence[int]]]
) -> None:
    """The report of a run as FOLDER/report.txt; written anew by each training stage, whose max_length may have changed."""
    report = text(counts, lengths, longest(recipe)) + TEACHER_WRITES * bool(recipe.augment)
    rundir.write_text(folder / "report.txt", report)


def text(
    counts: Mapping[str, Any],
    lengths: Mapping[str, Sequence[Sequence[int]]] | None,
    max_length: Mapping[str, int] | int | None,
) -> str:
    """The report.

    counts:     of a `Prepared`.
    lengths:    kind_split ("sft_train") -> tokens of prompt and answer of each row; None: no lengths are told.
    max_length: tokens, of the stage that learns from a kind ("sft", "pairs"), or one for all; None: no limit.
    """
    sources = counts["sources"]
    blocks = [("All sources" if len(sources) > 1 else sources[0]["source"], counts)]
    blocks += [(source["source"], source) for source in sources] if len(sources) > 1 else []
    lines = [line for name, block in blocks for line in _block(name, block)]
    for kind in KINDS:
        for split in SPLITS:
            if found := (lengths or {}).get(f"{kind}_{split}"):
                limit = max_length.get(kind) if isinstance(max_length, Mapping) else max_length
                lines += _lengths(kind, split, summary(found, limit), limit)
    return "\n".join(lines)


def _block(name: str, counts: Mapping[str, Any]) -> Iterator[str]:
    yield name
    for key, words in WORDS:
        if counts.get(key) or (key in ALWAYS and key in counts):
            yield f"{counts[key]:>12,}  {words}"
    for line, count in counts["crisis_lines"].items():
        yield f"{count:>12,}  outdated help line: {line}"
    if counts["crisis_lines"]:
        yield f"{counts['crisis_lines_replaced']:>12,}  ... of them replaced by today's"
    yield ""


def _lengths(kind: str, split: str, found: Mapping[str, Any], limit: int | None) -> Iterator[str]:
    what, where = {"sft": "answers", "pairs": "pairs"}[kind], {"train": "to learn", "test": "held out"}[split]
    yield f"Tokens of the {found['rows']:,} {what} {where}"
    yield f"{'percentile':>12}" + "".join(f"{share:>9}" for share in PERCENTILES)
    for name, shares in found["percentiles"].items():
        yield f"{name:>12}" + "".join(f"{length:>9,}" for length in shares.values())
    if limit is not None:
        yield f"{found['truncated']:>12,}  longer than max_length {limit:,}, cut"
        yield f"{found['dropped']:>12,}  whose prompt alone fills max_length, left out"
    if kind == "sft" and split == "train":
        yield f"{found['trained_tokens']:>12,}  trained tokens in one pass"
    yield ""
