"""Columns are found by name, and whatever is not text is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from localpsych_recipes.data import columns
from localpsych_recipes.data.sources import Rows
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Columns

PAIRS = Columns(prompt="question", chosen="response_j", rejected="response_k")


def rows(*records: dict[str, Any]) -> Rows:
    return Rows("my.csv", tuple(records[0]), list(records))


def test_each_part_gets_the_cell_of_its_column() -> None:
    record = {"question": "Q", "response_k": "worse", "response_j": "better", "name": "Ann"}
    assert columns.select(rows(record), PAIRS) == [{"prompt": "Q", "chosen": "better", "rejected": "worse"}]


def test_one_column_can_play_two_parts() -> None:
    both = Columns(prompt="q", response="a", chosen="a", rejected="b")
    cells = {"prompt": "Q", "response": "A", "chosen": "A", "rejected": "B"}
    assert columns.select(rows({"q": "Q", "a": "A", "b": "B"}), both) == [cells]


def test_a_column_that_already_plays_a_part_is_never_proposed_for_another() -> None:
    with pytest.raises(UserError) as error:
        columns.select(rows({"question": "Q", "response_k": "B"}), PAIRS)
    assert error.value.do == "map the parts to these under data.columns"


def test_an_absent_cell_is_an_empty_one() -> None:
    cells = {"prompt": "", "response": "A"}
    assert columns.select(rows({"q": None, "a": "A"}), Columns(prompt="q", response="a")) == [cells]
    assert columns.select(rows({"m": None}), Columns(messages="m")) == [{"messages": []}]


def test_missing_columns_are_reported_together_with_those_that_exist_and_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        columns.select(rows({"Question": "Q", "response_J": "A", "response_k": "B"}), PAIRS)
    assert error.value.given == (
        "my.csv has no column 'question' (data.columns.prompt) and no column 'response_j' (data.columns.chosen)"
    )
    assert error.value.expected == "one of its columns: 'Question', 'response_J', 'response_k'"
    assert error.value.do == "did you mean 'Question' and 'response_J'?"


@pytest.mark.parametrize(
    "cell, problem",
    [
        (42, "int, not text"),
        (1.5, "float, not text"),
        (True, "bool, not text"),
        (["secret"], "list, not text"),
        ({"secret": 1}, "dict, not text"),
        (b"secret", "bytes, not text"),
        ("secret \ud83d", "not valid Unicode"),
    ],
)
def test_a_cell_that_is_no_text_is_refused_with_row_and_column_but_not_shown(cell: Any, problem: str) -> None:
    good = {"q": "Q", "a": "A"}
    with pytest.raises(UserError) as error:
        columns.select(rows(good, {"q": "Q", "a": cell}), Columns(prompt="q", response="a"))
    assert f"row 2, column 'a': {problem}" in str(error.value)
    assert "secret" not in str(error.value)


def test_of_many_bad_cells_the_first_three_are_named_and_the_others_counted() -> None:
    with pytest.raises(UserError, match="row 1, .*row 2, .*row 3, .*not text; and 1,997 more"):
        columns.select(rows(*[{"q": "Q", "a": 1}] * 2000), Columns(prompt="q", response="a"))


def test_a_messages_column_holds_lists() -> None:
    with pytest.raises(UserError, match="row 1, column 'm': str, not a list of messages"):
        columns.select(rows({"m": "hello"}), Columns(messages="m"))
