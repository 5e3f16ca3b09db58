"""Rows are shuffled and held out; the order is that of `datasets`, on which published results rest."""

from __future__ import annotations

import random

import numpy as np
import pytest
from datasets import Dataset

from localpsych_recipes.data import splits
from localpsych_recipes.data.groups import Groups, joined
from localpsych_recipes.errors import UserError

ROWS = np.arange


def test_9846_rows_give_8861_and_985() -> None:
    train, test = splits.split(splits.shuffle(ROWS(9846), 65), 0.1, 42)
    assert (len(train), len(test)) == (8861, 985)
    assert sorted([*train, *test]) == list(range(9846))


@pytest.mark.parametrize("count", [1000, 9846])
def test_the_rows_come_in_the_order_of_a_dataset_that_is_shuffled_and_split_itself(count: int) -> None:
    texts = [f"row {number}" for number in range(count)]
    dataset = Dataset.from_dict({"question": texts, "response_j": texts, "response_k": texts})
    expected = dataset.shuffle(seed=65).train_test_split(test_size=0.1, seed=42)
    train, test = splits.split(splits.shuffle(ROWS(count), 65), 0.1, 42)
    assert [texts[row] for row in train] == list(expected["train"]["question"])
    assert [texts[row] for row in test] == list(expected["test"]["question"])


def test_max_rows_takes_the_first_rows_after_the_shuffle() -> None:
    shuffled = splits.shuffle(ROWS(100), 65).tolist()
    assert shuffled != list(range(100))
    assert splits.shuffle(ROWS(100), 65, max_rows=10).tolist() == shuffled[:10]


def test_without_a_seed_rows_stay_in_the_order_of_the_source() -> None:
    assert splits.shuffle(ROWS(4), None, max_rows=3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("count, test_size", [(1, 0.1), (1, 0.9), (2, 0.6), (10, 0.95)])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(count: int, test_size: float) -> None:
    with pytest.raises(UserError, match=f"{test_size} of {count} rows leaves none"):
        splits.split(ROWS(count), test_size, 42)


def test_the_smallest_split_has_a_row_on_either_side() -> None:
    train, test = splits.split(ROWS(2), 0.01, 42)
    assert sorted([*train, *test]) == [0, 1]
    assert len(train) == len(test) == 1


@pytest.mark.parametrize("seed", range(20))
def test_whole_groups_are_held_out_as_near_to_the_share_as_any_choice_of_groups_comes(seed: int) -> None:
    """All sums of some but not all of the sizes, tried one by one, are the other source."""
    dice = random.Random(seed)
    sizes = [dice.randint(1, 9) for _ in range(dice.randint(2, 10))]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    wanted = -(-3 * len(groups) // 10)
    sums = {sum(s for at, s in enumerate(sizes) if bits >> at & 1) for bits in range(1, 2 ** len(sizes) - 1)}
    train, test = splits.split_groups(ROWS(len(groups)) + 7, groups, 0.3, seed)
    assert abs(len(test) - wanted) == min(abs(total - wanted) for total in sums)
    assert not set(groups[train - 7]) & set(groups[test - 7])
    assert sorted([*train, *test]) == list(range(7, 7 + len(groups)))


def test_groups_of_all_sizes_are_held_out_and_others_with_another_seed() -> None:
    sizes = [1, 2, 3, 8] * 250
    groups = np.repeat(np.arange(1000), sizes)
    first, again, other = (splits.split_groups(ROWS(3500), groups, 0.1, seed)[1] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert len(first) == 350
    held_out = [sizes[group] for group in set(groups[first])]
    assert all(held_out.count(size) > 10 for size in (1, 2, 3, 8))


def test_one_group_alone_cannot_be_split() -> None:
    with pytest.raises(UserError, match="all 4 rows belong to one group"):
        splits.split_groups(ROWS(4), np.zeros(4, int), 0.25, 42)


def grouped(*keys: str | None) -> np.ndarray:
    groups = Groups()
    for key in keys:
        groups.add(key)
    return groups.numbers()


def test_rows_agree_in_their_key_and_those_without_one_stand_alone() -> None:
    assert grouped("a", None, "b", "a", None).tolist() == [0, 1, 2, 0, 4]


def test_rows_that_are_together_in_any_grouping_are_together() -> None:
    assert joined([grouped("a", "b", "b", "c", "d"), grouped("x", "x", "y", "z", "y")]).tolist() == [0, 0, 0, 3, 0]
    chain = joined([grouped(*(str(n // 2) for n in range(99))), grouped(*(str(-(-n // 2)) for n in range(99)))])
    assert set(chain.tolist()) == {0}
