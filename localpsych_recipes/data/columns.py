"""Columns of the source -> parts of a conversation, by the names that the recipe gives."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Any

from localpsych_recipes.data.sources import Rows, mapped
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Columns

Cells = dict[str, Any]  # part -> text; `messages` -> a list


def select(rows: Rows, columns: Columns) -> list[Cells]:
    """For each row its cells by part ("prompt", "chosen", ...), an absent cell as "" or [].

    UserError for a column that the source does not have, and for cells that are not text.
    """
    refuse_missing(rows.source, rows.columns, columns)
    parts = mapped(columns)
    problems = [
        f"row {number}, column {name!r}: {problem}"
        for number, record in enumerate(rows.records, 1)
        for part, name in parts.items()
        if (problem := _problem(part, record[name]))
    ]
    refuse(rows.source, problems, "text in every cell of a mapped column", "mend these rows, or map another column")
    empty = {part: [] if part == "messages" else "" for part in parts}
    return [{p: empty[p] if record[n] is None else record[n] for p, n in parts.items()} for record in rows.records]


def refuse_missing(source: str, existing: Collection[str], columns: Columns) -> None:
    """UserError if mapped columns are not among the existing ones: which, those that exist, the nearest names."""
    if not existing:
        raise UserError(f"{source} has no rows", "at least one row", "check data.source and data.split")
    missing = {part: name for part, name in mapped(columns).items() if name not in existing}
    if not missing:
        return
    # a column that plays another part is never the one that was meant: `chosen` must not be led to `rejected`
    free = {name.casefold(): name for name in existing if name not in mapped(columns).values()}
    close = [difflib.get_close_matches(name.casefold(), free, 1) for name in missing.values()]
    near = [free[name] for names in close for name in names]
    raise UserError(
        f"{source} has no column {' and no column '.join(f'{n!r} (data.columns.{p})' for p, n in missing.items())}",
        f"one of its columns: {', '.join(map(shown, existing))}",
        f"did you mean {' and '.join(map(repr, near))}?" if near else "map the parts to these under data.columns",
    )


def shown(name: str) -> str:
    """A column's name; not one that looks like a cell of a file without a header."""
    looks_like_text = len(name) > 40 or len(name.split()) > 4
    return "(one that looks like text: is the header missing?)" if looks_like_text else repr(name)


def refuse(source: str, problems: Sequence[str], expected: str, do: str) -> None:
    """UserError with the first three problems and the number of the others, if there is any."""
    if problems:
        more = f"; and {len(problems) - 3:,} more" if len(problems) > 3 else ""
        raise UserError(f"{source}: {'; '.join(problems[:3])}{more}", expected, do)


def _problem(part: str, cell: Any) -> str | None:
    if cell is None:
        return None
    if part == "messages":
        return None if isinstance(cell, list) else f"{type(cell).__name__}, not a list of messages"
    return text_problem(cell)


def text_problem(value: Any) -> str | None:
    """Why a value cannot be trained on as text; None if it can."""
    if not isinstance(value, str):
        return f"{type(value).__name__}, not text"
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair, which no tokenizer takes
        return "not valid Unicode"
    return None
