"""A recipe's data: sources -> columns -> conversations -> splits, each step a pure function of the one before.

sources.py        where rows come from (Hub, file, address); files.py: what each file format means
columns.py        columns by name -> prompt, response, chosen, rejected, messages
conversations.py  one canonical shape; the rows of SFT and the rows of preferences, which never mix
splits.py         empties, duplicates, shuffle, held-out rows
storage.py        the four files of a run;  counts.py: what was counted, in words
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localpsych_recipes.data import columns, conversations, files, sources, splits
from localpsych_recipes.data.conversations import Conversation, Row
from localpsych_recipes.data.counts import describe
from localpsych_recipes.data.storage import read, write
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Data, is_local

__all__ = ["Prepared", "Split", "check", "describe", "prepare", "read", "write"]


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows held out; `test` is empty where the recipe holds nothing out."""

    train: list[Row]
    test: list[Row]


@dataclass(frozen=True)
class Prepared:
    """The rows of both kinds, made from the same split of the source, and what was counted on the way.

    counts: rows, empty, duplicates, duplicates_dropped, over_max_rows, train and test count rows of the source;
    sft_train, sft_test, pairs_train and pairs_test what is made of them; prompts_in_both_splits different prompts;
    equal_pairs pairs whose two answers are the same.
    """

    sft: Split
    pairs: Split | None
    counts: dict[str, int]


def prepare(data: Data, *, revision: str | None = None) -> Prepared:
    """Reads, checks, cleans, shuffles and splits a recipe's rows. SFT and pairs hold out the same rows of the source.

    revision: the commit of a Hub dataset. UserError for anything about the source or its rows that has to be mended.
    """
    train, counts = _cleaned(data, data.split, revision)
    test: list[Conversation] = []
    if data.test_split:
        test, more = _cleaned(data, data.test_split, revision)
        counts = {key: counts[key] + more[key] for key in counts}
    elif data.test_size:
        train, test = splits.split(train, data.test_size, data.split_seed)
    sft = Split(_sft(train, data), _sft(test, data))
    pairs = Split(_preferences(train, data), _preferences(test, data)) if data.columns.rejected else None
    counts |= {"train": len(train), "test": len(test)} | _counts(sft, pairs)
    counts["equal_pairs"] = sum(row.pair is not None and row.pair.chosen == row.pair.rejected for row in train + test)
    return Prepared(sft, pairs, counts)


def check(data: Data) -> None:
    """UserError for a local file that cannot be read or lacks a mapped column. Reads on until all columns were seen."""
    if not is_local(data.source):
        return
    for split in filter(None, (data.split, data.test_split)):
        seen: dict[str, Any] = {}
        for record in files.records(sources.local_file(data.source, split)):
            seen |= dict.fromkeys(record)
            if seen.keys() >= set(sources.mapped(data.columns).values()):
                break
        else:
            columns.refuse_missing(data.source, seen, data.columns)


def _cleaned(data: Data, split: str, revision: str | None) -> tuple[list[Conversation], dict[str, int]]:
    rows = sources.read(data, split, revision)
    cells = columns.select(rows, data.columns)
    kept, counts = splits.clean(rows.source, conversations.canonical(rows.source, cells), data)
    if not kept:
        raise UserError(f"{rows.source} ({split}) has no row with text", "at least one", "check data.columns")
    shuffled = splits.shuffle(kept, data.shuffle_seed, data.max_rows)
    return shuffled, counts | {"over_max_rows": len(kept) - len(shuffled)}


def _sft(rows: list[Conversation], data: Data) -> list[Row]:
    return [made for row in rows for made in conversations.sft_rows(row.turns, data.system, data.system_in)]


def _preferences(rows: list[Conversation], data: Data) -> list[Row]:
    pairs = ((row.turns[:1], row.pair) for row in rows if row.pair)
    return [conversations.preference_row(prompt, pair, data.system, data.system_in) for prompt, pair in pairs]


def _counts(sft: Split, pairs: Split | None) -> dict[str, int]:
    made = {"sft_train": len(sft.train), "sft_test": len(sft.test)}
    if pairs:
        made |= {"pairs_train": len(pairs.train), "pairs_test": len(pairs.test)}
    return made | {"prompts_in_both_splits": splits.prompts_in_both(sft.train, sft.test)}
