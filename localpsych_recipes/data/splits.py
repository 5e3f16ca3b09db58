"""Conversations -> counted and cleaned -> shuffled and split as `datasets` does it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from localpsych_recipes.data.columns import refuse
from localpsych_recipes.data.conversations import Conversation, Row
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Data

if TYPE_CHECKING:
    from datasets import Dataset

T = TypeVar("T")


def clean(source: str, rows: Sequence[Conversation], data: Data) -> tuple[list[Conversation], dict[str, int]]:
    """The rows without empty and, if the recipe says so, without repeated ones, and the counts of both.

    Of identical rows the first stays. UserError for an empty row where `data.empty` is "fail".
    """
    empty = [number for number, row in enumerate(rows, 1) if row.empty]
    if data.empty == "fail":
        problems = [f"row {number} has an empty field" for number in empty]
        refuse(source, problems, "text in every field, since data.empty is fail", "mend them, or set data.empty: drop")
    full = [row for row in rows if not row.empty]
    distinct = list(dict.fromkeys(full))
    counts = {"rows": len(rows), "empty": len(empty), "duplicates": len(full) - len(distinct)}
    kept = distinct if data.duplicates == "drop" else full
    return kept, counts | {"duplicates_dropped": len(full) - len(kept)}


def shuffle(rows: Sequence[T], seed: int | None, max_rows: int | None = None) -> list[T]:
    """The rows in the order of `datasets.Dataset.shuffle(seed=seed)` (None: as they are), cut to max_rows."""
    from datasets import Dataset

    if seed is not None:
        order = Dataset.from_dict({"at": range(len(rows))}).shuffle(seed=seed, keep_in_memory=True)
        rows = _in_order(rows, order)
    return list(rows[:max_rows])


def split(rows: Sequence[T], test_size: float, seed: int) -> tuple[list[T], list[T]]:
    """Training and held-out rows as `datasets.Dataset.train_test_split(test_size=test_size, seed=seed)` divides them.

    test_size: share of the rows, rounded up to whole ones. UserError if no row is left to train on.
    """
    from datasets import Dataset

    if math.ceil(test_size * len(rows)) >= len(rows):
        raise UserError(
            f"data.test_size: {test_size} of {len(rows)} rows leaves none to train on",
            "at least one row on either side",
            "give more rows or a smaller data.test_size",
        )
    index = Dataset.from_dict({"at": range(len(rows))})
    parts = index.train_test_split(test_size=test_size, seed=seed, keep_in_memory=True)
    return _in_order(rows, parts["train"]), _in_order(rows, parts["test"])


def prompts_in_both(train: Iterable[Row], test: Iterable[Row]) -> int:
    """How many different prompts stand in both, word for word."""
    return len({_prompt(row) for row in train} & {_prompt(row) for row in test})


def _in_order(rows: Sequence[T], order: Dataset) -> list[T]:
    return [rows[at] for at in order[:]["at"]]  # the slice: a column that is iterated over is fetched row by row


def _prompt(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in row["prompt"])
