"""The evaluation's rows as a table for a terminal: one line for each measure, one column for each model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from localpsych_recipes import metrics

ARROWS = {"higher": "↑", "lower": "↓", "neither": " "}
MARK = "*"
LEGEND = (
    f"value [95 % interval]; ↑ higher is better, ↓ lower is; {MARK} the paired interval of the difference to the base "
    "excludes 0, as that of about one in twenty equal models does by chance"
)
Row = Mapping[str, Any]


def text(results: Mapping[str, Any]) -> str:
    """The evaluate stage's results as RUN/evaluation/report.txt has them."""
    columns, by_group = results["columns"], _by_group(results["rows"])
    lines = [LEGEND]
    for group, of_group in by_group.items():
        heading = [group, "n", *columns]
        lines += ["", *aligned([heading, *(_line(metric, rows, columns) for metric, rows in of_group.items())])]
    if results["skipped"]:
        lines += ["", "Not measured", *(_skip(skip) for skip in results["skipped"])]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells under each other, the first column's to the left, the others' to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for first, *others in rows:
        yield "  ".join([first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))])


def number(value: float | None) -> str:
    """With three digits behind the point below 10, fewer above."""
    if value is None:
        return "-"
    return f"{value:,.{3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0}f}"


def _by_group(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, Row]]]:
    """Group -> measure -> column -> row, in the rows' order."""
    found: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        of_group = found.setdefault(metrics.of(row["metric"]).group, {})
        of_group.setdefault(row["metric"], {})[row["column"]] = row
    return found


def _line(metric: str, rows: Mapping[str, Row], columns: Sequence[str]) -> list[str]:
    what, counts = metrics.of(metric), sorted({row["n"] for row in rows.values()})
    n = "-".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    return [f"{ARROWS[what.direction]} {what.words}", n, *(_cell(rows.get(column)) for column in columns)]


def _cell(row: Row | None) -> str:
    if row is None or row["value"] is None:
        return "- "
    interval = f" [{number(row['low'])}, {number(row['high'])}]" if row["low"] is not None else ""
    return f"{number(row['value'])}{interval}{MARK if _differs(row['difference']) else ' '}"


def _differs(difference: Row | None) -> bool:
    """Whether the interval leaves 0 out."""
    if not difference or difference["low"] is None:
        return False
    return difference["low"] > 0 or difference["high"] < 0


def _skip(skip: Row) -> str:
    return f"  {skip['what']}{' of ' + skip['column'] if skip['column'] else ''}: {skip['why']}"
