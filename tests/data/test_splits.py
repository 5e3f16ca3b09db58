"""Rows are counted, shuffled and held out; the order is that of `datasets`, on which published results rest."""

from __future__ import annotations

import pytest
from datasets import Dataset

from localpsych_recipes.data import splits
from localpsych_recipes.data.conversations import Conversation, Pair, Turn
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Columns, Data


def recipe(**keys: object) -> Data:
    return Data(source="my.csv", columns=Columns(prompt="q", response="a"), **keys)


def row(question: str, answer: str, pair: Pair | None = None) -> Conversation:
    return Conversation((Turn("user", question), Turn("assistant", answer)), pair)


def test_9846_rows_give_8861_and_985() -> None:
    train, test = splits.split(splits.shuffle(range(9846), 65), 0.1, 42)
    assert (len(train), len(test)) == (8861, 985)
    assert sorted(train + test) == list(range(9846))


@pytest.mark.parametrize("count", [1000, 9846])
def test_the_rows_come_in_the_order_of_a_dataset_that_is_shuffled_and_split_itself(count: int) -> None:
    texts = [f"row {number}" for number in range(count)]
    dataset = Dataset.from_dict({"question": texts, "response_j": texts, "response_k": texts})
    expected = dataset.shuffle(seed=65).train_test_split(test_size=0.1, seed=42)
    train, test = splits.split(splits.shuffle(texts, 65), 0.1, 42)
    assert train == list(expected["train"]["question"])
    assert test == list(expected["test"]["question"])


def test_max_rows_takes_the_first_rows_after_the_shuffle() -> None:
    shuffled = splits.shuffle(range(100), 65)
    assert shuffled != list(range(100))
    assert splits.shuffle(range(100), 65, max_rows=10) == shuffled[:10]


def test_without_a_seed_rows_stay_in_the_order_of_the_source() -> None:
    assert splits.shuffle("abcd", None, max_rows=3) == ["a", "b", "c"]


@pytest.mark.parametrize("count, test_size", [(1, 0.1), (1, 0.9), (2, 0.6), (10, 0.95)])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(count: int, test_size: float) -> None:
    with pytest.raises(UserError, match=f"{test_size} of {count} rows leaves none"):
        splits.split(range(count), test_size, 42)


def test_the_smallest_split_has_a_row_on_either_side() -> None:
    train, test = splits.split(["a", "b"], 0.01, 42)
    assert sorted(train + test) == ["a", "b"]
    assert len(train) == len(test) == 1


def test_empty_rows_are_counted_and_go() -> None:
    rows = [row("Q1", "A"), row("", "A"), row("Q2", "  "), row("Q3", "A")]
    kept, counts = splits.clean("my.csv", rows, recipe())
    assert kept == [rows[0], rows[3]]
    assert counts == {"rows": 4, "empty": 2, "duplicates": 0, "duplicates_dropped": 0}


def test_empty_rows_fail_where_the_recipe_says_so_and_are_named() -> None:
    rows = [row("Q1", "A"), row("", "A"), row("Q2", "")]
    with pytest.raises(UserError, match="row 2 has an empty field; row 3 has an empty field"):
        splits.clean("my.csv", rows, recipe(empty="fail"))
    assert splits.clean("my.csv", rows[:1], recipe(empty="fail"))[0] == rows[:1]


def test_duplicates_are_counted_and_dropped_only_where_the_recipe_says_so() -> None:
    rows = [row("Q", "A"), row("Q", "B"), row("Q", "A"), row("Q", "A", Pair("A", "C")), row("Q", "A")]
    kept, counts = splits.clean("my.csv", rows, recipe())
    assert kept == rows
    assert (counts["duplicates"], counts["duplicates_dropped"]) == (2, 0)
    kept, counts = splits.clean("my.csv", rows, recipe(duplicates="drop"))
    assert kept == [rows[0], rows[1], rows[3]]
    assert (counts["duplicates"], counts["duplicates_dropped"]) == (2, 2)


def test_a_prompt_that_stands_in_both_splits_is_counted_once() -> None:
    def rows(*questions: str) -> list[dict]:
        return [{"prompt": [{"role": "user", "content": q}], "completion": []} for q in questions]

    assert splits.prompts_in_both(rows("a", "b", "b", "c"), rows("b", "b", "c", "d")) == 2
    assert splits.prompts_in_both(rows("a"), []) == 0
