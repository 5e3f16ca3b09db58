"""Prepared rows on disk: {sft,pairs}_{train,test}.jsonl, the same bytes for the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes.data.conversations import Row
from localpsych_recipes.data.prepared import KINDS, SPLITS, Kind, Prepared, Split

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 10_000  # rows; one Arrow array of text must stay below 2 GiB
_ANSWERS = {"sft": ("completion",), "pairs": ("chosen", "rejected")}


def write(prepared: Prepared, folder: Path) -> None:
    """Fills `folder` with one file for each kind and split that has rows; UTF-8, one row a line, in order."""
    for kind in KINDS:
        for split in SPLITS:
            write_rows(prepared.rows(kind, split), folder / f"{kind}_{split}.jsonl")


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """One of the files; none where there are no rows."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if (first := next(lines, None)) is not None:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(first)
            file.writelines(lines)


def rows(folder: Path, kind: Kind, split: Split) -> Iterator[Row]:
    """The rows that `write` put there, one by one; none where there is no file."""
    path = folder / f"{kind}_{split}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from map(json.loads, file)


def read(folder: Path, kind: Kind, split: Split) -> Dataset | None:
    """The rows that `write` put there, held in memory; None where there are none.

    Nothing is cached: neither a file left by another run nor a datasets cache can stand in for what is in `folder`, and
    the fingerprint follows from the rows alone.
    """
    import pyarrow as pa
    from datasets import Dataset

    messages = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    schema = pa.schema({name: messages for name in ("prompt", *_ANSWERS[kind])})
    tables = [pa.Table.from_pylist(batch, schema) for batch in _batches(rows(folder, kind, split))]
    return Dataset(pa.concat_tables(tables)) if tables else None


def _batches(rows: Iterator[Row]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch
