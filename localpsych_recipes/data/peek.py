"""The first rows of a dataset that no recipe maps yet, its splits, and what a mapping would make of these rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from localpsych_recipes.data import columns, files, sources
from localpsych_recipes.data.cleaning import Cleaner
from localpsych_recipes.data.conversations import Unpaired, canonical
from localpsych_recipes.data.problems import Problems, RowError
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
    if "://" in source:
        raise UserError(f"{source} is an address", "a dataset's id alone, USER/NAME", "leave out what stands before it")
    asked = Source.model_construct(source=source, revision=revision, name=name, split=split)
    if not is_local(source):
        return _on_the_hub(asked, rows)
    records = list(islice(files.records(sources.local_file(asked, split)), rows))
    return Peek(_columns(records), records, _local_splits(Path(source).expanduser(), split))


def tried(source: Source, records: list[dict[str, Any]]) -> tuple[str, int]:
    """What is wrong with rows under a mapping, "" if nothing is, and how many of them are left out for want of a text."""
    problems, left_out = Problems(), 0
    try:
        columns.refuse_missing(source.source, _columns(records), source)
        for number, record in enumerate(records, 1):
            try:
                left_out += not _has_text(
                    {name: columns.cell(record, name) for name in columns.read_by(source)}, source
                )
            except RowError as error:
                problems.add(number, error)
        problems.refuse(source.source)
    except UserError as error:
        return error.given, left_out
    return "", left_out


def _has_text(record: dict[str, Any], source: Source) -> bool:
    cells = columns.cleaned(record, source, Cleaner(html=source.html, repair=False))
    parts = {part: columns.render(words, cells) for part, words in source.columns.parts.items() if part != "score"}
    columns.score(record, source)
    try:
        return not canonical(parts, source.turns).empty
    except Unpaired:
        return False


def _on_the_hub(source: Source, rows: int) -> Peek:
    from datasets import ClassLabel

    with sources.hub_errors(source):
        builder = sources.hub_builder(source, source.split, source.revision)
        stream = builder.as_streaming_dataset(split=source.split.partition("[")[0])
        cells = stream.decode(False) if stream.features else stream  # a picture's cell may name a file of this machine
        records = list(islice(cells, rows))
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
