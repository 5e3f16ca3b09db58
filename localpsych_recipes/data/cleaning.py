"""Cells -> the same cells as their writers meant them, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localpsych_recipes.data.text import from_html
from localpsych_recipes.data.text import repair as repair_text


class Cleaner:
    """Makes text of HTML and mends wrongly decoded text, as the recipe asks; counts the cells that each changed.

    separator: of turns. One that would be changed itself, such as "</s>", is kept, and what it parts is changed.
    """

    def __init__(self, *, html: bool, repair: bool, separator: str | None = None):
        self.counts = {"from_html": 0, "repaired": 0}
        self._html, self._repair = html, repair
        self._kept = separator if separator and repair_text(from_html(separator)) != separator else None

    def __call__(self, cell: Any) -> Any:
        """A text, or a list of texts or messages, with all its texts changed."""
        if self._html:
            cell = self._changed(cell, from_html, "from_html")
        return self._changed(cell, repair_text, "repaired") if self._repair else cell

    def _changed(self, cell: Any, change: Callable[[str], str], count: str) -> Any:
        changed = _inside(cell, _around(self._kept, change) if self._kept else change)
        self.counts[count] += changed != cell
        return changed


def _around(separator: str, change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: separator.join(map(change, text.split(separator)))


def _inside(cell: Any, change: Callable[[str], str]) -> Any:
    if isinstance(cell, str):
        return change(cell)
    if isinstance(cell, list):
        return [_inside(item, change) for item in cell]
    return {key: _inside(value, change) for key, value in cell.items()} if isinstance(cell, dict) else cell
