"""Of scored answers the best are learnt, worse ones never; better and worse ones make pairs."""

from __future__ import annotations

import pytest

from localpsych_recipes.data import pairs
from localpsych_recipes.data.conversations import Conversation

# row: question, answer, score. Two best answers to Q1, one answer to Q2, two equal ones to Q3
SCORED = (
    ("Q1", "a", 3),
    ("Q2", "b", 0),
    ("Q1", "c", 1),
    ("Q1", "d", 3),
    ("Q3", "e", 2),
    ("Q1", "f", 0),
    ("Q3", "g", 2),
)
ROWS = [Conversation((question, answer), score=score) for question, answer, score in SCORED]


def named(worse: pairs.Worse) -> dict[str, str]:
    return {SCORED[row][1]: "".join(SCORED[other][1] for other in others) for row, others in worse.items()}


def test_rows_with_a_better_answer_beside_them_are_never_learnt() -> None:
    assert {SCORED[row][1] for row in pairs.worse_rows(ROWS, range(7))} == {"c", "f"}


def test_best_answers_stand_against_each_worse_one() -> None:
    assert named(pairs.worse_answers(ROWS, range(7), "best")) == {"a": "cf", "d": "cf"}


def test_all_pairs_are_each_better_answer_against_each_worse_one() -> None:
    assert named(pairs.worse_answers(ROWS, range(7), "all")) == {"a": "cf", "d": "cf", "c": "f"}


def test_only_the_rows_that_are_left_make_pairs() -> None:
    assert named(pairs.worse_answers(ROWS, [2, 5, 6], "best")) == {"c": "f"}


@pytest.mark.parametrize(
    "second", [Conversation(("Q", "A", "Q2", "B"), score=1), Conversation(("Q", "B"), "S", score=1)]
)
def test_a_question_is_all_that_stands_before_the_answer(second: Conversation) -> None:
    assert pairs.worse_rows([Conversation(("Q", "A"), score=2), second], range(2)) == set()
