"""A data file -> its records, one dict a row, in the file's order. What each format means stands in FORMATS."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from localpsych_recipes.data import parquet
from localpsych_recipes.errors import UserError

Record = dict[str, Any]
LARGEST_CELL = 2**24  # characters; csv's own limit of 131,072 is below what real exports hold
LARGEST_ROW = 2**26  # characters of a line, which is read before it is looked at
LARGEST_JSON = 2**30  # bytes of a .json file, which is read as one value
MOST_COLUMNS = 10_000
_ENCODING = "utf-8-sig"  # UTF-8, with or without the byte-order mark that spreadsheets write


def records(path: Path, format: str | None = None) -> Iterator[Record]:
    """The records of a CSV, TSV, JSON, JSONL or Parquet file, or of lines of text, read as they are asked for.

    format: one of FORMATS; None: by the file's suffix. Cells of CSV and TSV are text, whatever they look like.
    UserError for a file that cannot be read, is not UTF-8 or is malformed: it names the row (counted from 1, without a
    header) or the line, never what stands there.
    """
    reader = FORMATS[format] if format else READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path.name}: files ending in {path.suffix or 'nothing'!r} are not read",
            one_of_formats(),
            "convert the file, or say how to read it with data.format",
        )
    try:
        yield from reader(path)
    except UnicodeDecodeError:
        line = _first_line_not_utf8(path)
        raise UserError(f"{path.name}: line {line} is not UTF-8", "UTF-8 text", "save the file as UTF-8") from None
    except OSError as error:
        reason = error.strerror or "not a whole file"
        do = "check the path and its permissions"
        raise UserError(f"{path}: cannot be read ({reason})", "a readable file", do) from None


def one_of_formats() -> str:
    """The formats in words, for messages."""
    return f"a file ending in {', '.join(READERS)}"


def _csv(path: Path, delimiter: str = ",") -> Iterator[Record]:
    csv.field_size_limit(LARGEST_CELL)
    with path.open(encoding=_ENCODING, newline="") as file:
        lines = csv.reader(_whole_lines(path, file), delimiter=delimiter, strict=True)
        try:
            header = _header(path, next(lines, []))
            rows = (cells for cells in lines if cells)
            for number, cells in enumerate(rows, 1):
                if len(cells) != len(header):
                    found = f"row {number} (line {lines.line_num}) has {len(cells)} cells"
                    raise _malformed(path, f"{found}, the header {len(header)}")
                yield dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise _malformed(path, f"line {lines.line_num}: {error}") from None


def _tsv(path: Path) -> Iterator[Record]:
    return _csv(path, delimiter="\t")


def _header(path: Path, header: list[str]) -> list[str]:
    if not header:
        raise _malformed(path, "no header; the first line names the columns")
    refuse_columns(path, len(header))
    if twice := [name for name, times in Counter(header).items() if name and times > 1]:
        raise _malformed(path, f"{len(twice)} column names stand more than once in its header")
    return header


def refuse_columns(path: Path, number: int) -> None:
    """UserError for more columns than any table has."""
    if number > MOST_COLUMNS:
        raise _malformed(path, f"more than {MOST_COLUMNS:,} columns")


def _whole_lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a text, none longer than a row may be."""
    for number, line in enumerate(iter(lambda: file.readline(LARGEST_ROW), ""), 1):
        if len(line) == LARGEST_ROW:
            raise _malformed(path, f"line {number} has more than {LARGEST_ROW:,} characters")
        yield line


def _json(path: Path) -> Iterator[Record]:
    if path.stat().st_size > LARGEST_JSON:
        raise _malformed(path, "more than 1 GB, and a .json file is read as one value; .jsonl is read line by line")
    try:
        rows = json.loads(path.read_text(encoding=_ENCODING))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        hint = "; one object a line is JSONL: name the file .jsonl" if str(error).startswith("Extra data") else ""
        raise _malformed(path, f"{_json_error(error, getattr(error, 'lineno', 1))}{hint}") from None
    if not isinstance(rows, list):
        raise _malformed(path, "not a list; a .json file holds one list of objects")
    for number, row in enumerate(rows, 1):
        yield _object(path, row, f"row {number}")


def _jsonl(path: Path) -> Iterator[Record]:
    with path.open(encoding=_ENCODING) as file:
        for number, line in enumerate(_whole_lines(path, file), 1):
            if line.isspace():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _malformed(path, _json_error(error, number)) from None
            yield _object(path, row, f"line {number}")


def _lines(path: Path) -> Iterator[Record]:
    """A row a line; other characters that Unicode counts as ends of lines are text."""
    with path.open(encoding=_ENCODING, newline="\n") as file:
        yield from ({"text": line.rstrip("\r\n")} for line in _whole_lines(path, file) if not line.isspace())


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow

    try:
        yield from parquet.rows(path, MOST_COLUMNS)
    except parquet.TooLarge as error:
        raise _malformed(path, str(error)) from None
    except (pyarrow.ArrowException, UnicodeDecodeError, ValueError, OverflowError, LookupError):
        raise _malformed(path, "not a whole Parquet file, or one with values that Python has no place for") from None


FORMATS = {"csv": _csv, "tsv": _tsv, "json": _json, "jsonl": _jsonl, "parquet": _parquet, "lines": _lines}
READERS = {f".{name}": reader for name, reader in FORMATS.items() if name != "lines"}  # by suffix


def _object(path: Path, row: Any, where: str) -> Record:
    if not isinstance(row, dict):
        raise _malformed(path, f"{where} is no object; every row is one, with the columns as keys")
    return row


def _json_error(error: Exception, line: int) -> str:
    # only the decoder's own words are free of content
    return f"line {line}: not JSON ({error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__})"


def _malformed(path: Path, problem: str) -> UserError:
    kind = path.suffix.removeprefix(".").upper()
    return UserError(f"{path.name}: {problem}", f"well-formed {kind}", "mend the file, or export it again")


def _first_line_not_utf8(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
