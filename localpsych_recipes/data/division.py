"""Each source's rows -> those to train on and those held out, without what leaks from one side to the other."""

from __future__ import annotations

import numpy as np

from localpsych_recipes.data import splits
from localpsych_recipes.data.intake import Intake, Part
from localpsych_recipes.data.repeats import leaks
from localpsych_recipes.data.splits import Numbers
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Data

Sides = dict[str, list[Numbers]]  # "train" and "test" -> rows of each source


def divide(intake: Intake, data: Data) -> Sides:
    """Shuffles, cuts and splits each source by itself; what was cut and what leaks is counted in its parts.

    UserError if no row is left to train on.
    """
    sides: Sides = {"train": [], "test": []}
    for of in range(len(data.sources)):
        train, test = _divided([part for part in intake.parts if part.of == of], data)
        sides["train"].append(train)
        sides["test"].append(test)
    held_out, then = np.concatenate(sides["test"]), data.leaks
    sides["train"] = [_without_leaks(intake, of, rows, held_out, then) for of, rows in enumerate(sides["train"])]
    if not any(map(len, sides["train"])):
        raise UserError(
            "every training row repeats a held-out one", "some that do not", "set data.leaks: keep, or mend them"
        )
    return sides


def _divided(parts: list[Part], data: Data) -> tuple[Numbers, Numbers]:
    """The training part's rows and the held-out part's or, where there is none, a share of the former."""
    for part in parts:
        rows = splits.shuffle(part.rows, data.shuffle_seed, part.source.max_rows)
        part.counts["over_max_rows"] = len(part.rows) - len(rows)
        part.rows = rows
    train, source = parts[0], parts[0].source
    if len(parts) == 2:
        return train.rows, parts[1].rows
    if not source.test_size:
        return train.rows, train.rows[:0]
    if train.groups is None:
        return splits.split(train.rows, source.test_size, data.split_seed)
    return splits.split_groups(train.rows, train.groups[train.rows - train.start], source.test_size, data.split_seed)


def _without_leaks(intake: Intake, of: int, train: Numbers, held_out: Numbers, then: str) -> Numbers:
    leaking = leaks(intake.found, train, held_out)
    kept = train[~leaking] if then == "drop" else train
    part = next(part for part in intake.parts if part.of == of)
    part.counts |= {"leaks": int(leaking.sum()), "leaks_dropped": len(train) - len(kept)}
    return kept
