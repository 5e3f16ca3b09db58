"""The table at the end of a run: stages with times and memory, files, repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localpsych_recipes import cards
from localpsych_recipes.cards.reports import WHOLE
from localpsych_recipes.pipeline import Run
from localpsych_recipes.progress import amount, duration

# the stages of which one must be among the reports for a release folder to be theirs
MADE_BY = {"adapter": {"card"}, "merged": {"merge"}, "gguf": {"gguf"}, "pairs": {"card"}}
LARGE = (".safetensors", ".gguf", ".jsonl")


def table(run: Run, reports: list[dict[str, Any]]) -> str:
    """Plain text, one row a stage, then one a released file, one a gate and model, one a repository."""
    rows = [("stage", "time", "peak memory")]
    rows += [(r["stage"], duration(r["seconds"]), amount(r["peak_memory_bytes"], "bytes")) for r in reports]
    files = [("file", "size")]
    for kind in [kind for kind in cards.kinds(run.recipe) if MADE_BY[kind] & {r["stage"] for r in reports}]:
        folder = run.dir.release(kind)
        left = set(cards.withheld(run, kind))
        files += [(_shown(run, path, left), amount(path.stat().st_size, "bytes")) for path in _large(folder)]
    pushed = next((r["results"]["repositories"] for r in reports if r["stage"] == "push"), [])
    repositories = [("repository", "visibility", "commit")] if pushed else []
    repositories += [(p["url"], "private" if p["private"] else "PUBLIC", p["commit"][:12]) for p in pushed]
    blocks = (rows, files, _gates(run, reports), repositories)
    return "\n\n".join(_aligned(block) for block in blocks if len(block) > 1)


def _gates(run: Run, reports: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each gate and model, known as soon as there are measures: a run without a push must not hide them."""
    measured = any(report["stage"] == "evaluate" for report in reports)
    checked = cards.checked_gates(run) if measured else []
    said = [
        (f"{g['metric']} {g['gate']}", g["column"], f"FAILED: {g['why']}" if g["why"] else "holds") for g in checked
    ]
    return [("gate", "model", "outcome"), *said]


def _shown(run: Run, path: Path, withheld: set[str]) -> str:
    return f"{path.relative_to(run.dir.root)}{' (withheld)' if {path.name, WHOLE} & withheld else ''}"


def _large(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in LARGE)


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
