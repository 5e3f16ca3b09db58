"""The order of rows, and which are held out, as `datasets` does it; whole groups where a recipe asks for them.

Rows are numbers here: every function takes and gives numpy arrays of row numbers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from localpsych_recipes.errors import UserError

Numbers = np.ndarray  # of rows


def shuffle(rows: Numbers, seed: int | None, max_rows: int | None = None) -> Numbers:
    """The rows in the order of `datasets.Dataset.shuffle(seed=seed)` (None: as they are), cut to max_rows."""
    from datasets import Dataset

    if seed is not None:
        order = Dataset.from_dict({"at": range(len(rows))}).shuffle(seed=seed, keep_in_memory=True)
        rows = rows[order[:]["at"]]
    return rows[:max_rows]


def split(rows: Numbers, test_size: float, seed: int) -> tuple[Numbers, Numbers]:
    """Training and held-out rows as `datasets.Dataset.train_test_split(test_size=test_size, seed=seed)` divides them.

    test_size: share of the rows, rounded up to whole ones. UserError if no row is left to train on.
    """
    from datasets import Dataset

    _held_out(len(rows), test_size)
    index = Dataset.from_dict({"at": range(len(rows))})
    parts = index.train_test_split(test_size=test_size, seed=seed, keep_in_memory=True)
    return rows[parts["train"][:]["at"]], rows[parts["test"][:]["at"]]


def split_groups(rows: Numbers, groups: Numbers, test_size: float, seed: int) -> tuple[Numbers, Numbers]:
    """Training and held-out rows, in their order, so that all rows of a group are on one side.

    groups: for each of the rows the number of its group. As many rows as `split` would hold out, or as near to it as
    whole groups allow. UserError if there is one group only.
    """
    wanted = _held_out(len(rows), test_size)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise UserError(
            f"data.test_size: all {len(rows)} rows belong to one group",
            "at least one group on either side",
            "give more rows, or leave data.group_by and data.test_size out",
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    held_out = np.isin(group, order[choose(sizes[order].tolist(), wanted)])
    return rows[~held_out], rows[held_out]


def choose(sizes: Sequence[int], wanted: int) -> list[int]:
    """Indices of some, not all, of the sizes, whose sum is as near to `wanted` as any.

    The first ones are taken as they come, so that a random order gives a random choice; only the end of the way is
    reckoned exactly. Where that misses, everything is.
    """
    taken, total, room = 0, 0, wanted - 2 * max(sizes)
    while total + sizes[taken] <= room:
        total, taken = total + sizes[taken], taken + 1
    rest, missing = _nearest(sizes[taken:], wanted - total, some=not taken)
    if missing and taken:
        return _nearest(sizes, wanted, some=True)[0]
    return [*range(taken), *(taken + at for at in rest)]


def _nearest(sizes: Sequence[int], wanted: int, some: bool) -> tuple[list[int], int]:
    """Indices of sizes with the sum nearest to `wanted`, and how far it is from there; never all of them."""
    at: dict[int, list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        at[size].append(index)
    sums = _reachable({size: len(indices) for size, indices in at.items()})
    allowed = range(1 if some else 0, sum(sizes))
    total = next(
        total
        for distance in range(sum(sizes) + 1)
        for total in (wanted - distance, wanted + distance)
        if total in allowed and sums[-1] >> total & 1
    )
    chosen, rest = [], total
    for (size, indices), before in zip(reversed(at.items()), reversed(sums[:-1])):
        count = next(
            count for count in range(len(indices) + 1) if rest >= count * size and before >> rest - count * size & 1
        )
        chosen += indices[:count]
        rest -= count * size
    return sorted(chosen), abs(total - wanted)


def _reachable(counts: dict[int, int]) -> list[int]:
    """After none, one, two, ... of the sizes, as the bits of an integer: which sums can be had of so many of each."""
    sums = [1]
    for size, count in counts.items():
        bits, step = sums[-1], 1
        while count:  # 13 of a size are had of 1 + 2 + 4 + 6 of it
            step = min(step, count)
            bits |= bits << step * size
            count, step = count - step, step * 2
        sums.append(bits)
    return sums


def _held_out(rows: int, test_size: float) -> int:
    wanted = math.ceil(test_size * rows)
    if wanted >= rows:
        raise UserError(
            f"data.test_size: {test_size} of {rows} rows leaves none to train on",
            "at least one row on either side",
            "give more rows or a smaller data.test_size",
        )
    return wanted
