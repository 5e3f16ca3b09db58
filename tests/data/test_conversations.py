"""Every source ends in one shape; what is learnt from and what is only compared with never mix."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from localpsych_recipes.data import conversations
from localpsych_recipes.data.conversations import Conversation, Pair, Unpaired
from localpsych_recipes.data.turns import Turn
from localpsych_recipes.recipe import Turns

SYSTEM = "You are calm."


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def only(**parts: Any) -> Conversation:
    return conversations.canonical(parts, Turns())


def test_a_question_and_its_answer_become_one_sft_row() -> None:
    row = {"prompt": [user("Q")], "completion": [assistant("A")]}
    assert conversations.sft_rows(only(prompt="Q", response="A").turns, None, "system") == [row]


def test_the_chosen_answer_is_learnt_where_no_response_is_mapped() -> None:
    assert only(prompt="Q", chosen="better", rejected="worse").turns[-1] == Turn("assistant", "better")
    assert only(prompt="Q", response="A", chosen="better", rejected="worse").turns[-1] == Turn("assistant", "A")


def test_a_pair_becomes_one_preference_row() -> None:
    row = only(prompt="Q", response="A", chosen="better", rejected="worse")
    assert conversations.preference_row(row.turns[:1], row.pair, SYSTEM, "system") == {
        "prompt": [system(SYSTEM), user("Q")],
        "chosen": [assistant("better")],
        "rejected": [assistant("worse")],
    }


def test_the_maker_of_sft_rows_cannot_be_given_a_rejected_answer() -> None:
    parameters = inspect.signature(conversations.sft_rows).parameters
    assert set(parameters) == {"turns", "system", "system_in", "train_on"}
    assert "worse" not in str(only(prompt="Q", chosen="better", rejected="worse").turns)


@pytest.mark.parametrize(
    "place, prompt",
    [("system", [system(SYSTEM), user("Q")]), ("user", [user(f"{SYSTEM}\n\nQ")])],
)
def test_the_system_prompt_stands_in_its_own_turn_or_before_the_question(place: str, prompt: list) -> None:
    [row] = conversations.sft_rows(only(prompt="Q", response="A").turns, SYSTEM, place)
    assert row == {"prompt": prompt, "completion": [assistant("A")]}
    pair = conversations.preference_row((Turn("user", "Q"),), Pair("better", "worse"), SYSTEM, place)
    assert pair["prompt"] == prompt


def test_a_conversation_gives_one_row_for_each_answer_with_everything_before_it_as_prompt() -> None:
    turns = only(messages=[user("Q1"), assistant("A1"), user("Q2"), assistant("A2"), user("Q3")]).turns
    assert conversations.sft_rows(turns, SYSTEM, "user") == [
        {"prompt": [user(f"{SYSTEM}\n\nQ1")], "completion": [assistant("A1")]},
        {"prompt": [user(f"{SYSTEM}\n\nQ1"), assistant("A1"), user("Q2")], "completion": [assistant("A2")]},
    ]


def test_only_the_last_answer_is_learnt_where_the_recipe_says_so() -> None:
    turns = only(messages=[user("Q1"), assistant("A1"), user("Q2"), assistant("A2"), user("Q3")]).turns
    [row] = conversations.sft_rows(turns, None, "system", "last")
    assert row == {"prompt": [user("Q1"), assistant("A1"), user("Q2")], "completion": [assistant("A2")]}


def test_a_conversation_keeps_a_system_prompt_of_its_own() -> None:
    turns = only(messages=[system("Be brief."), user("Q"), assistant("A")]).turns
    assert conversations.sft_rows(turns, SYSTEM, "system")[0]["prompt"] == [system("Be brief."), user("Q")]
    assert conversations.sft_rows(turns, SYSTEM, "user")[0]["prompt"] == [user("Be brief.\n\nQ")]


def test_an_empty_system_turn_is_none() -> None:
    turns = only(messages=[system(""), user("Q"), assistant("A")]).turns
    assert conversations.sft_rows(turns, SYSTEM, "system")[0]["prompt"] == [system(SYSTEM), user("Q")]


def test_two_conversations_that_differ_in_their_last_answer_are_a_prompt_and_a_pair() -> None:
    before = [system("S"), user("Q1"), assistant("A1"), user("Q2")]
    made = only(chosen=[*before, assistant("better")], rejected=[*before, assistant("worse")])
    assert made.pair == Pair("better", "worse")
    assert conversations.preference_row(made.prompt, made.pair, None, "system")["prompt"] == before
    assert [row["completion"] for row in conversations.sft_rows(made.turns, None, "system")] == [
        [assistant("A1")],
        [assistant("better")],
    ]


def test_equal_conversations_are_a_pair_of_equal_answers() -> None:
    chat = [user("Q"), assistant("A")]
    assert only(chosen=chat, rejected=chat).pair == Pair("A", "A")


@pytest.mark.parametrize(
    "chosen, rejected, reason",
    [
        ([user("Q1"), assistant("A")], [user("Q2"), assistant("A")], "prompts_differ"),
        ([system("S"), user("Q"), assistant("A")], [user("Q"), assistant("B")], "prompts_differ"),
        (
            [user("Q"), assistant("A"), user("Q2"), assistant("B")],
            [user("Q"), assistant("C"), user("Q2"), assistant("D")],
            "prompts_differ",
        ),
        ([user("Q"), assistant("A"), user("Q2"), assistant("B")], [user("Q"), assistant("C")], "prompts_differ"),
        ([user("Q"), assistant("A"), user("thanks")], [user("Q"), assistant("B")], "no_last_answer"),
    ],
)
def test_conversations_that_are_no_answers_to_one_prompt_have_a_reason(
    chosen: list, rejected: list, reason: str
) -> None:
    with pytest.raises(Unpaired, match=reason):
        only(chosen=chosen, rejected=rejected)


@pytest.mark.parametrize(
    "cells",
    [
        {"prompt": "", "response": "A"},
        {"prompt": "Q", "response": " \n\t"},
        {"prompt": "Q", "chosen": "better", "rejected": ""},
        {"messages": []},
        {"messages": [user("Q")]},
        {"messages": [user("Q"), {"role": "assistant", "content": None}]},
        {"messages": [user(" "), assistant("A")]},
        {"messages": ""},
        {"chosen": [], "rejected": [user("Q"), assistant("A")]},
        {"chosen": [user("Q"), assistant("A")], "rejected": [user("Q"), assistant(" ")]},
    ],
)
def test_a_row_with_a_blank_field_or_without_an_answer_is_empty(cells: dict) -> None:
    assert only(**cells).empty


def test_a_full_row_is_not_empty() -> None:
    assert not only(prompt="Q", chosen="better", rejected="worse").empty
    assert not only(messages=[user("Q"), assistant("A")]).empty
