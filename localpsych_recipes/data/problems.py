"""What is wrong with single rows: the first few are named by number and column, the others counted, none is quoted."""

from __future__ import annotations

from typing import NamedTuple

from localpsych_recipes.errors import UserError

NAMED = 3  # of the rows with the same problem; the others are counted


class Rule(NamedTuple):
    """What rows have to be, and what to do where they are not."""

    expected: str
    do: str


TEXT = Rule("text in every cell of a mapped column", "mend these rows, or map another column")
LABEL = Rule("only values that data.labels names", "add them to the labels, or mend these rows")
SCORE = Rule("a number in every cell of the score column", "mend these rows, or map another column")
TURNS = Rule(
    "an optional system turn, then user and assistant in turn, as {role, content} or {from, value}",
    "mend or remove these rows, or say in data.turns how they are written",
)
EMPTY = Rule("text in every field, since data.empty is fail", "mend them, or set data.empty: drop")


class RowError(Exception):
    """One row breaks a rule. `problem` goes on from "row 7": ", column 'a': int, not text"."""

    def __init__(self, problem: str, rule: Rule):
        super().__init__(problem)
        self.problem, self.rule = problem, rule


class Problems:
    """Collects the rows that break rules, so that one message tells of all of them."""

    def __init__(self) -> None:
        self._named: dict[Rule, list[str]] = {}
        self._counts: dict[Rule, int] = {}

    def add(self, number: int, error: RowError) -> None:
        """number: of the row in its source, from 1."""
        self._counts[error.rule] = self._counts.get(error.rule, 0) + 1
        if self._counts[error.rule] <= NAMED:
            self._named.setdefault(error.rule, []).append(f"row {number}{error.problem}")

    def refuse(self, source: str) -> None:
        """UserError for the rule that was broken first, if one was."""
        for rule, named in self._named.items():
            more = self._counts[rule] - len(named)
            raise UserError(f"{source}: {'; '.join(named)}{f'; and {more:,} more' if more else ''}", *rule)
