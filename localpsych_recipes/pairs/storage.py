"""Candidates on disk: pairs.jsonl, every one with its status, and pairs_{train,test}.jsonl, what DPO learns from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from localpsych_recipes import data
from localpsych_recipes.data import storage
from localpsych_recipes.data.prepared import SPLITS, Split
from localpsych_recipes.pairs.candidates import Candidate

FILE = "pairs.jsonl"
KEYS = (
    "split", "prompt_number", "candidate", "status", "degraded", "prompt", "chosen", "rejected", "scores", "vetoes", "gap",
)  # fmt: skip


def row(candidate: Candidate) -> dict[str, Any]:
    """Its line of pairs.jsonl."""
    return {key: getattr(candidate, key) for key in KEYS}


def write(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """One JSON object a line, whole or as it was; an empty file where there are none."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    data.write_rows(rows, beside)
    beside.touch()
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def write_pairs(rows: Iterable[Mapping[str, Any]], folder: Path, own: Path) -> None:
    """The kept rows as DPO reads them, behind the data's own pairs, which lie in `own`."""
    kept = [row for row in rows if row["status"] == "kept"]
    for split in SPLITS:
        made = (_preference(row) for row in kept if row["split"] == split)
        write(chain(storage.rows(own, "pairs", split), made), folder / f"pairs_{split}.jsonl")


def own_pairs(own: Path) -> dict[Split, int]:
    """How many pairs of the data's own there are."""
    return {split: sum(1 for _ in storage.rows(own, "pairs", split)) for split in SPLITS}


def sft_rows(folder: Path) -> dict[Split, Iterator[dict[str, Any]]]:
    """The rows whose prompts and answers pairs are made of."""
    return {split: storage.rows(folder, "sft", split) for split in SPLITS}


def _preference(row: Mapping[str, Any]) -> dict[str, Any]:
    answers = {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    return {"prompt": row["prompt"], **answers}


def read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)
