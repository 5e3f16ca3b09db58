"""Prepared rows on disk: {sft,pairs}_{train,test}.jsonl, the same bytes for the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datasets import Dataset

    from localpsych_recipes.data import Prepared

_BATCH = 10_000  # rows; one Arrow array of text must stay below 2 GiB
_ANSWERS = {"sft": ("completion",), "pairs": ("chosen", "rejected")}


def write(prepared: Prepared, folder: Path) -> None:
    """Fills `folder` with one file for each kind and split that has rows; UTF-8, one row a line, in order."""
    for kind in _ANSWERS:
        split = getattr(prepared, kind)
        for name in ("train", "test") if split else ():
            if rows := getattr(split, name):
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                with (folder / f"{kind}_{name}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                    file.writelines(lines)


def read(folder: Path, kind: Literal["sft", "pairs"], split: Literal["train", "test"]) -> Dataset | None:
    """The rows that `write` put there, held in memory; None where there are none.

    Nothing is cached: neither a file left by another run nor a datasets cache can stand in for what is in `folder`, and
    the fingerprint follows from the rows alone.
    """
    import pyarrow as pa
    from datasets import Dataset

    path = folder / f"{kind}_{split}.jsonl"
    if not path.exists():
        return None
    messages = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    schema = pa.schema({name: messages for name in ("prompt", *_ANSWERS[kind])})
    with path.open(encoding="utf-8", newline="\n") as file:
        return Dataset(pa.concat_tables(pa.Table.from_pylist(batch, schema) for batch in _batches(file)))


def _batches(file: IO[str]) -> Iterator[list[dict[str, Any]]]:
    while batch := [json.loads(line) for line in islice(file, _BATCH)]:
        yield batch
