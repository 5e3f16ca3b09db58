"""The first rows of a dataset that no recipe maps yet, and its splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from localpsych_recipes.data import files, sources
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Source, is_local


@dataclass(frozen=True)
class Peek:
    """columns: in the source's order; records: its first rows; splits: by name; classes: column -> its labels' names."""

    columns: tuple[str, ...]
    records: list[dict[str, Any]]
    splits: tuple[str, ...]
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def peek(
    source: str, *, revision: str | None = None, name: str | None = None, split: str = "train", rows: int = 50
) -> Peek:
    """The first `rows` rows of a Hub dataset, a local file or a folder; of the Hub's no more is fetched than these need.

    name: configuration of a Hub dataset. UserError for what cannot be found or read; where a dataset has several
    configurations it lists them.
    """
    if source.startswith(("http://", "https://")):
        expected = "the id of a dataset on the Hub, a file or a folder"
        raise UserError(f"{sources.shown(source)} is an address", expected, "fetch the file, and name it here")
    asked = Source.model_construct(source=source, revision=revision, name=name, split=split)
    if not is_local(source):
        return _on_the_hub(asked, rows)
    records = list(islice(files.records(sources.local_file(asked, split)), rows))
    return Peek(_columns(records), records, _local_splits(Path(source).expanduser(), split))


def _on_the_hub(source: Source, rows: int) -> Peek:
    from datasets import ClassLabel

    with sources._hub_errors(source):
        builder = sources._builder(source, source.split, source.revision)
        stream = builder.as_streaming_dataset(split=source.split.partition("[")[0])
        records = list(islice(stream, rows))
    features = stream.features or {}
    classes = {name: tuple(kind.names) for name, kind in features.items() if isinstance(kind, ClassLabel)}
    splits = tuple(map(str, builder.config.data_files or builder.info.splits or (source.split,)))
    return Peek(tuple(features) or _columns(records), records, splits, classes)


def _columns(records: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for record in records for name in record))  # rows of JSON may lack keys


def _local_splits(path: Path, split: str) -> tuple[str, ...]:
    if not path.is_dir():
        return (split,)
    names = sorted(p.stem for p in path.iterdir() if p.suffix.lower() in files.READERS and not p.name.startswith("."))
    return tuple(names) if split in names else (split,)
