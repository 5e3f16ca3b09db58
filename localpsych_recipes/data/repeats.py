"""Rows that say the same as others: within training and within what is held out (duplicates), and across (leaks)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from localpsych_recipes.data.duplicates import Found


class Repeats(NamedTuple):
    """Two masks over all rows."""

    exact: np.ndarray  # identical to an earlier row of its side
    near: np.ndarray  # not identical to the first row of its cluster on its side


def repeats(found: Found, side: np.ndarray) -> Repeats:
    """side: for each row whether its source holds it out by itself. A row repeats rows of its own side alone: what is
    alike across is a leak, and no duplicate."""
    first = _first(found.near, side)
    return Repeats(_first(found.exact, side) != np.arange(len(side)), found.exact != found.exact[first])


def leaks(found: Found, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Mask over the training rows: which are equal or nearly equal to a held-out one."""
    return np.isin(found.near[train], found.near[test])


def _first(clusters: np.ndarray, side: np.ndarray) -> np.ndarray:
    """For each row the first one of its cluster on its side."""
    _, first, inverse = np.unique(clusters * 2 + side, return_index=True, return_inverse=True)
    return first[inverse]
