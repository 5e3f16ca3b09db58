"""How often rows are taken, and how those of several sources come together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localpsych_recipes.data.splits import shuffle
from localpsych_recipes.recipe import Data


def weighted(rows: np.ndarray, weight: float, seed: Sequence[int]) -> np.ndarray:
    """The rows as often as `weight` says: 2.5 is all of them twice, then half of them, drawn by `seed`, in order."""
    whole = int(weight)
    part = round((weight - whole) * len(rows))
    drawn = np.random.default_rng(seed).choice(len(rows), part, replace=False)
    return np.concatenate([*[rows] * whole, rows[np.sort(drawn)]])


def mixed(rows: Sequence[np.ndarray], data: Data) -> np.ndarray:
    """The training rows of all sources, each by its weight, shuffled among each other where there are several."""
    seed = data.shuffle_seed or 0
    taken = [weighted(of, source.weight, (seed, at)) for at, (of, source) in enumerate(zip(rows, data.sources))]
    together = np.concatenate(taken)
    return shuffle(together, data.shuffle_seed) if len(taken) > 1 else together
