"""A recipe's `data.source` -> rows: a dataset on the Hub, a local file or folder, or the address of a file."""

from __future__ import annotations

import http.client
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes import hub, rundir
from localpsych_recipes.data import columns, files
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Source, is_local

if TYPE_CHECKING:
    from datasets import DatasetBuilder

BATCH = 1_000  # rows of a Hub dataset that are Python objects at once
_BLOCK, _LARGEST_FILE = 2**20, 2**36  # bytes of a file at an address: a server may never stop
_TIMEOUT = 60  # seconds without a byte from a server
_SAFE = ("BuilderConfig", "Config name is missing", "Dataset scripts are no longer supported")  # texts without content


def read(
    source: Source, split: str, revision: str | None = None, fetched: dict[str, str] | None = None
) -> Iterator[files.Record]:
    """The rows of one split one by one, in the source's order: the cells of the columns that are needed, absent as None.

    split:    of a Hub dataset; in a local folder the file of that name. A single file is the split "train".
    revision: commit of a Hub dataset, before `source.revision`.
    fetched:  is given the SHA-256 of a file that was fetched, by its address.
    UserError for what cannot be found, reached or read, and, after the last row, for a column that was in none.
    """
    if source.source.startswith(("http://", "https://")):
        return _picked(source, _from_address(source, split, {} if fetched is None else fetched))
    if is_local(source.source):
        return _picked(source, files.records(local_file(source, split), source.format))
    return _from_hub(source, split, revision or source.revision)


def check(source: Source, split: str) -> None:
    """UserError for a local file that cannot be read or lacks a column. Reads on until all columns were seen."""
    if is_local(source.source):
        seen: dict[str, None] = {}
        for record in files.records(local_file(source, split), source.format):
            seen |= dict.fromkeys(record)
            files.refuse_columns(Path(source.source), len(seen))
            if all(columns.has(seen, name) for name in columns.read_by(source)):
                return
        columns.refuse_missing(source.source, seen, source)


def local_file(source: Source, split: str) -> Path:
    """The file that a local source means: itself, or in a folder the one named after the split or alone there."""
    path = Path(source.source).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if _is_data(p, source.format))
        named = [p for p in found if p.stem == split]
        if len(named) == 1:
            return named[0]
        if len(found) != 1 or split != "train":
            names = ", ".join(p.name for p in found) or "no data file"
            expected = f"one file called {split}{'|'.join(files.READERS)}"
            do = "name the file itself as data.source, or another split"
            raise UserError(f"{source.source} holds {names}", expected, do)
        return found[0]
    _refuse_split(path.name, split)
    return path


def _is_data(path: Path, format: str | None) -> bool:
    return not path.name.startswith(".") and (path.suffix.lower() in files.READERS or bool(format))


def shown(source: str) -> str:
    """A source as it may be printed: an address without user, password and query, where keys can stand."""
    if not source.startswith(("http://", "https://")):
        return source
    parts = urllib.parse.urlsplit(source)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _refuse_split(name: str, split: str) -> None:
    if split != "train":
        raise UserError(
            f"{name} is one file; it has no split {split!r}",
            "data.split: train, and no data.test_split, for a single file",
            "hold rows out with data.test_size, or name a folder with one file for each split",
        )


def _picked(source: Source, records: Iterable[files.Record]) -> Iterator[files.Record]:
    wanted = columns.read_by(source)
    seen: dict[str, None] = {}  # a set in the order of first appearance; JSON rows may lack keys
    for record in records:
        if seen.keys() != record.keys():
            seen.update(dict.fromkeys(record))
            files.refuse_columns(Path(shown(source.source)), len(seen))
        yield {name: columns.cell(record, name) for name in wanted}
    columns.refuse_missing(shown(source.source), seen, source)


def _from_address(source: Source, split: str, fetched: dict[str, str]) -> Iterator[files.Record]:
    name = Path(urllib.parse.urlsplit(source.source).path).name
    _refuse_split(name, split)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if source.format or path.suffix.lower() in files.READERS:  # else `records` says so, and nothing need be fetched
            _download(source.source, path)
            fetched[source.source] = rundir.file_sha256(path)
        yield from files.records(path, source.format)


def _download(address: str, path: Path) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "localpsych-recipes"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response, path.open("wb") as file:
            while block := response.read(_BLOCK):
                if file.write(block) and file.tell() > _LARGEST_FILE:
                    raise ValueError("it does not end")
            length = response.headers.get("Content-Length")
        if length and int(length) != path.stat().st_size:
            raise urllib.error.ContentTooShortError("the connection was cut", b"")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        status = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise UserError(
            f"{shown(address)}: cannot be fetched ({status}{reason})",
            files.one_of_formats(),
            "check the address and the network",
        ) from None


def fetch(builder: DatasetBuilder) -> None:
    """A dataset's files by way of `hub`, which looks at what came; the library, which does not, then finds them."""
    if not Path(builder.cache_dir).exists():
        hub.fetch_dataset(address for part in (builder.config.data_files or {}).values() for address in part)


def _from_hub(source: Source, split: str, revision: str | None) -> Iterator[files.Record]:
    with hub_errors(source):
        builder = hub_builder(source, split, revision)
        fetch(builder)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=split)
    columns.refuse_missing(source.source, dataset.column_names if len(dataset) else (), source)
    wanted = columns.read_by(source)
    kept = [name for name in dataset.column_names if _needed(name, wanted)]
    for table in dataset.select_columns(kept).with_format("arrow").iter(BATCH):
        yield from ({name: columns.cell(row, name) for name in wanted} for row in table.to_pylist())


def _needed(name: str, wanted: Iterable[str]) -> bool:
    return any(column == name or column.startswith(f"{name}.") for column in wanted)


def hub_builder(source: Source, split: str, revision: str | None) -> DatasetBuilder:
    """datasets' builder of a Hub dataset, which has fetched nothing yet; the cells of a CSV are text to it."""
    from datasets import Features, Value, load_dataset_builder
    from datasets.packaged_modules.csv.csv import CsvConfig

    builder = load_dataset_builder(source.source, name=source.name, revision=revision)
    _refuse_unknown_split(source.source, split, builder)
    if not isinstance(builder.config, CsvConfig):
        return builder
    # left to itself, pandas makes numbers of digits, and nothing of "NA" and "None"
    first = next(iter(builder.as_streaming_dataset(split=split.partition("[")[0])), {})
    as_text = {"features": Features(dict.fromkeys(first, Value("string"))), "keep_default_na": False} if first else {}
    return load_dataset_builder(source.source, name=source.name, revision=revision, **as_text)


def _refuse_unknown_split(source: str, split: str, builder: DatasetBuilder) -> None:
    splits = list(map(str, builder.config.data_files or builder.info.splits or ()))
    if splits and split.partition("[")[0] not in splits:  # "train[:100]" is a part of "train"
        known = f"one of {', '.join(splits)}"
        raise UserError(f"{source} has no split {split!r}", known, "set data.split or data.test_split")


@contextmanager
def hub_errors(source: Source) -> Iterator[None]:
    """What can go wrong with a dataset on the Hub, as UserError; datasets' own messages and log can quote cells."""
    from datasets import exceptions
    from datasets.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    except exceptions.DatasetNotFoundError:
        raise UserError(
            f"data.source: no dataset {source.source!r} on the Hub, and no file or folder of that name here",
            "a Hub id that your token may read, a local path, or an address",
            "check the name; for a private or gated dataset log in with `hf auth login`",
        ) from None
    except (exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = str(error) if str(error).startswith(_SAFE) else type(error).__name__
        raise UserError(
            f"data.source: {source.source} cannot be read ({reason})",
            "a dataset that `datasets.load_dataset` reads without code of its own",
            "check data.name, data.revision and the network",
        ) from None
    finally:
        logging.set_verbosity(verbosity)
