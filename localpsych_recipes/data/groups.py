"""Which rows belong together, so that a split keeps them on one side."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np


class Groups:
    """Numbers rows as they come by what they agree in. A row without a key stands alone."""

    def __init__(self) -> None:
        self._first: dict[Hashable, int] = {}
        self._numbers: list[int] = []

    def add(self, key: Hashable | None) -> None:
        own = len(self._numbers)
        self._numbers.append(own if key is None else self._first.setdefault(key, own))

    def numbers(self) -> np.ndarray:
        """For each row the index of the first row of its group."""
        return np.array(self._numbers, np.int64)


def joined(groupings: Iterable[np.ndarray]) -> np.ndarray:
    """One grouping of which each given one is a refinement: rows that are together in any are together in it."""
    first, *others = groupings
    group = first.copy()
    for other in others:
        changed = True
        while changed:  # each round carries the smallest number one step further
            before = group.copy()
            for grouping in (first, other):
                smallest = np.full(len(group), len(group))
                np.minimum.at(smallest, grouping, group)
                group = smallest[grouping]
            changed = bool((group != before).any())
    return group
