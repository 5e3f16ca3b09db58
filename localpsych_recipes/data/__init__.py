"""A recipe's data: sources -> columns -> conversations -> splits. Records come one at a time; rows are made when written.

sources.py        where rows come from (Hub, file, address); files.py: what each file format means
columns.py        columns, templates and labels -> prompt, response, ...;  cleaning.py, text.py: HTML and mojibake
turns.py          one cell -> turns;  conversations.py: one canonical shape, and the two kinds of rows, which never mix
intake.py         all of that for each record;  problems.py: rows that break a rule, in one message
duplicates.py     which rows are alike;  repeats.py: duplicates and leaks;  dropping.py: rows that are not wanted
pairs.py          scored answers -> targets and pairs;  crisis.py: help lines in them
division.py       training and held-out rows;  splits.py: their order;  groups.py: what stays together;  mixing.py: weights
prepared.py       the result;  storage.py: its files;  lengths.py: in tokens;  counts.py, report.py: in words
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from localpsych_recipes.data import dropping, intake, mixing, pairs, sources
from localpsych_recipes.data.counts import counted, describe
from localpsych_recipes.data.crisis import CrisisLines
from localpsych_recipes.data.division import divide
from localpsych_recipes.data.dropping import Tokens
from localpsych_recipes.data.intake import Intake
from localpsych_recipes.data.lengths import count_lengths, lengths_of, longest, token_counter
from localpsych_recipes.data.prepared import Prepared
from localpsych_recipes.data.report import text as report
from localpsych_recipes.data.report import write as write_report
from localpsych_recipes.data.storage import read, write, write_rows
from localpsych_recipes.progress import Progress
from localpsych_recipes.recipe import Data

__all__ = [
    "Prepared", "check", "count_lengths", "describe", "lengths_of", "longest", "prepare", "read", "report",
    "token_counter", "write", "write_report", "write_rows",
]  # fmt: skip


def prepare(
    data: Data,
    revisions: Sequence[str | None] = (),
    *,
    tokens: Tokens | None = None,
    fetched: dict[str, str] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Prepared:
    """Reads, checks, cleans, shuffles, splits and mixes a recipe's rows. SFT and pairs hold out the same rows.

    revisions: commits of the sources that are Hub datasets, in the order of `data.sources`.
    tokens:    length of a conversation for min_tokens and max_tokens; without it these two drop nothing.
    fetched:   is given the SHA-256 of each file that was fetched, by its address.
    say:       is told how far long reading is.
    UserError for anything about a source or its rows that has to be mended.
    """
    own, lines = CrisisLines(data.crisis_lines), [CrisisLines(data.crisis_lines) for _ in data.sources]
    system = data.system and own.text(data.system)
    templates = [line.templates(source) for line, source in zip(lines, data.sources)]
    taken = intake.read(data, revisions, templates, fetched, Progress(say, "read", "rows"))
    # before any row is dropped: an answer stays worse where the better one is dropped
    scored = _rows_with_a_score(taken, data)
    worse_rows = [pairs.worse_rows(taken.conversations, rows) for rows in scored]
    never_learnt = pairs.never_targets(taken.conversations, scored, worse_rows)
    dropping.drop(taken, data, system, tokens)
    sides = divide(taken, data)
    worse = {split: _worse_answers(taken, rows, data) for split, rows in sides.items()}
    only_rejected = set().union(*worse_rows) - worse["train"].keys() - worse["test"].keys()
    for line, source, train, test in zip(lines, data.sources, sides["train"], sides["test"]):
        line.mend(taken.conversations, (row for row in (*train, *test) if row not in only_rejected), source)
    rows = {"train": mixing.mixed(sides["train"], data), "test": np.concatenate(sides["test"])}
    prepared = Prepared(data, system, taken.conversations, rows, _source_of_each(taken), never_learnt, worse, {})
    prepared.counts.update(counted(prepared, taken.parts, lines, own))
    return prepared


def check(data: Data) -> None:
    """UserError for a local file that cannot be read or lacks a mapped column."""
    for source in data.sources:
        for split in filter(None, (source.split, source.test_split)):
            sources.check(source, split)


def _rows_with_a_score(taken: Intake, data: Data) -> list[list[int]]:
    """Of each source that has scores."""
    return [[row for part in taken.parts if part.of == of for row in part.rows.tolist()] for of in _scored(data)]


def _worse_answers(taken: Intake, rows: Sequence[np.ndarray], data: Data) -> pairs.Worse:
    found: pairs.Worse = {}
    for of in _scored(data):
        found |= pairs.worse_answers(taken.conversations, rows[of].tolist(), data.sources[of].pairs)
    return found


def _scored(data: Data) -> list[int]:
    return [of for of, source in enumerate(data.sources) if source.columns.score]


def _source_of_each(taken: Intake) -> np.ndarray:
    return np.repeat([part.of for part in taken.parts], [part.read for part in taken.parts])
