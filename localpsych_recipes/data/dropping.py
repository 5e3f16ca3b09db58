"""Rows that a recipe does not want: repeated ones, and those of too few or too many tokens. All of them are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from localpsych_recipes.data import sources
from localpsych_recipes.data.conversations import Conversation, messages, with_system
from localpsych_recipes.data.intake import Intake, Part
from localpsych_recipes.data.repeats import Repeats, repeats
from localpsych_recipes.data.turns import Turn
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Data

Tokens = Callable[[list[dict[str, str]]], int]  # messages -> how many tokens they are


def drop(intake: Intake, data: Data, system: str | None, tokens: Tokens | None) -> None:
    """Takes rows out of the parts and counts them there. UserError for a part that has none left."""
    side = np.zeros(len(intake.conversations), bool)
    for part in intake.parts:
        side[part.rows] = part.held_out
    repeated = repeats(intake.found, side)
    for part in intake.parts:
        _drop_repeated(part, repeated, data)
        _drop_by_length(part, intake.conversations, data, system, tokens)
        if not len(part.rows):
            name = f"{sources.shown(part.source.source)} ({part.split})"
            raise UserError(f"{name} has no row with text left", "at least one", "check data.columns and the filters")


def _drop_repeated(part: Part, repeated: Repeats, data: Data) -> None:
    for name, mask, then in (
        ("duplicates", repeated.exact, data.duplicates),
        ("near_duplicates", repeated.near, data.near_duplicates),
    ):
        rows = np.arange(part.start, part.start + part.read)
        part.counts[name] = int(mask[rows].sum())
        kept = part.rows[~mask[part.rows]] if then == "drop" else part.rows
        part.counts[f"{name}_dropped"] = len(part.rows) - len(kept)
        part.rows = kept


def _drop_by_length(
    part: Part, conversations: list[Conversation], data: Data, system: str | None, tokens: Tokens | None
) -> None:
    part.counts |= {"too_short": 0, "too_long": 0}
    if tokens is None or not (data.min_tokens or data.max_tokens):
        return
    lengths = [[tokens(said) for said in _said(conversations[row], data, system)] for row in part.rows.tolist()]
    short = np.array([min(length) < (data.min_tokens or 0) for length in lengths], bool)
    long = np.array([max(length) > (data.max_tokens or max(length)) for length in lengths], bool) & ~short
    part.counts |= {"too_short": int(short.sum()), "too_long": int(long.sum())}
    part.rows = part.rows[~short & ~long]


def _said(conversation: Conversation, data: Data, system: str | None) -> Iterator[list[dict[str, str]]]:
    """The conversation, and with a pair its prompt with either answer."""
    pair = conversation.pair
    ends = [Turn("assistant", answer) for answer in (pair.chosen, pair.rejected)] if pair else []
    for turns in (conversation.turns, *((*conversation.prompt, end) for end in ends)):
        yield messages(with_system(turns, system, data.system_in))
