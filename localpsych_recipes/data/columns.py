"""Columns of a record -> the parts of a conversation, by the names and templates that the recipe gives."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Any

from localpsych_recipes.data.problems import LABEL, SCORE, TEXT, RowError
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Source
from localpsych_recipes.recipe.data import columns_of

Record = Mapping[str, Any]
Cells = dict[str, Any]  # column -> text, or a list of messages; part -> the same
LISTED = 50  # names of columns in a message
PROMPT = "prompt"  # as group_by: rows with the same prompt, whatever columns it is made of


def read_by(source: Source) -> tuple[str, ...]:
    """Every column that a source's rows need, each once: the mapped ones and the one that groups are made by."""
    by = (source.group_by,) if source.group_by not in (None, PROMPT) else ()
    return tuple(dict.fromkeys((*source.columns.names, *by)))


def cell(record: Record, name: str) -> Any:
    """The cell of a column; None where there is none. "prompt.text" is `text` inside of `prompt`."""
    if name in record or "." not in name:
        return record.get(name)
    head, _, rest = name.partition(".")
    return cell(record[head], rest) if isinstance(record.get(head), dict) else None


def cleaned(record: Record, source: Source, clean: Callable[[Any], Any]) -> Cells:
    """Column -> its text, cleaned, an absent one as "". Labels become their words.

    RowError for a cell that is not text, and for a value without words where the column has labels.
    """
    parts = {part: name for part, name in source.columns.parts.items() if part != "score"}
    names = dict.fromkeys(name for part in parts.values() for name in columns_of(part))
    return {name: _value(name, record[name], source, clean) for name in names}


def score(record: Record, source: Source) -> float | None:
    """The answer's score; None where none is mapped. RowError for anything that is no finite number."""
    if not source.columns.score:
        return None
    name = columns_of(source.columns.score)[0]
    value = _words(name, record[name], source.labels[name]) if name in source.labels else record[name]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f", column {name!r}: no number", SCORE)
    return number


def render(part: str, cells: Cells) -> Any:
    """The cell of a column, or the text of a template. A template whose cells are all blank is blank itself."""
    names = columns_of(part)
    if names == (part,):
        return cells[part]
    if not any(cells[name].strip() for name in names):
        return ""
    places = "|".join(re.escape(f"{{{name}}}") for name in names)
    return re.sub(places, lambda place: cells[place[0][1:-1]], part).strip()


def refuse_missing(shown_source: str, existing: Collection[str], source: Source) -> None:
    """UserError if needed columns are not among the existing ones: which, those that exist, the nearest names."""
    if not existing:
        raise UserError(f"{shown_source} has no rows", "at least one row", "check data.source and data.split")
    missing = [(key, name) for key, name in _keys(source) if not has(existing, name)]
    if not missing:
        return
    # a column that plays another part is never the one that was meant: `chosen` must not be led to `rejected`
    free = {name.casefold(): name for name in existing if name not in read_by(source)}
    close = [difflib.get_close_matches(name.casefold(), free, 1) for _, name in missing]
    near = [free[name] for names in close for name in names]
    raise UserError(
        f"{shown_source} has no column {' and no column '.join(f'{name!r} (data.{key})' for key, name in missing)}",
        f"one of its columns: {listed(existing)}",
        f"did you mean {' and '.join(map(repr, near))}?" if near else "map the parts to these under data.columns",
    )


def listed(names: Collection[str]) -> str:
    """Names of columns for a message, the first of them where there are many."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(map(shown, islice(names, LISTED))) + more


def has(existing: Collection[str], name: str) -> bool:
    """Whether a column is there, or the one that a dotted name reaches into."""
    return name in existing or ("." in name and name.partition(".")[0] in existing)


def shown(name: str) -> str:
    """A column's name; not one that looks like a cell of a file without a header."""
    looks_like_text = len(name) > 40 or len(name.split()) > 4
    return "(one that looks like text: is the header missing?)" if looks_like_text else repr(name)


def text_problem(value: Any) -> str | None:
    """Why a value cannot be trained on as text; None if it can."""
    if not isinstance(value, str):
        return f"{type(value).__name__}, not text"
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair, which no tokenizer takes
        return "not valid Unicode"
    return None


def _value(name: str, value: Any, source: Source, clean: Callable[[Any], Any]) -> Any:
    if name in source.labels:
        return _words(name, value, source.labels[name])
    if value is None:
        return ""
    if isinstance(value, list) and name in _of_conversations(source):
        return clean(value)
    if problem := text_problem(value):
        raise RowError(f", column {name!r}: {problem}", TEXT)
    return clean(value)


def _words(name: str, value: Any, words: Mapping[str, str]) -> str:
    label = "" if value is None else str(value).strip()
    if label not in words and isinstance(value, float) and value.is_integer():
        label = str(int(value))  # tables with gaps hold 1.0 for 1
    if label not in words:
        raise RowError(f", column {name!r}: a value that is no label", LABEL)
    return words[label]


def _of_conversations(source: Source) -> tuple[str | None, ...]:
    columns = source.columns
    return (columns.messages,) if columns.prompt or columns.messages else (columns.chosen, columns.rejected)


def _keys(source: Source) -> list[tuple[str, str]]:
    mapped = [(f"columns.{key}", name) for key, part in source.columns.parts.items() for name in columns_of(part)]
    return mapped + [("group_by", name) for name in read_by(source) if name not in source.columns.names]
