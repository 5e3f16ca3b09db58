"""Every source ends in one shape; what is learnt from and what is only compared with never mix."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from localpsych_recipes.data import conversations
from localpsych_recipes.data.conversations import Conversation, Pair, Turn
from localpsych_recipes.errors import UserError

SYSTEM = "You are calm."


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def only(**cells: Any) -> Conversation:
    [conversation] = conversations.canonical("my.csv", [cells])
    return conversation


def refused(*messages: Any) -> str:
    good = [user("Q"), assistant("A")]
    with pytest.raises(UserError) as error:
        conversations.canonical("my.csv", [{"messages": good}, {"messages": list(messages)}])
    return str(error.value)


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
    assert set(inspect.signature(conversations.sft_rows).parameters) == {"turns", "system", "system_in"}
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


def test_a_conversation_keeps_a_system_prompt_of_its_own() -> None:
    turns = only(messages=[system("Be brief."), user("Q"), assistant("A")]).turns
    assert conversations.sft_rows(turns, SYSTEM, "system")[0]["prompt"] == [system("Be brief."), user("Q")]
    assert conversations.sft_rows(turns, SYSTEM, "user")[0]["prompt"] == [user("Be brief.\n\nQ")]


def test_an_empty_system_turn_is_none() -> None:
    turns = only(messages=[system(""), user("Q"), assistant("A")]).turns
    assert conversations.sft_rows(turns, SYSTEM, "system")[0]["prompt"] == [system(SYSTEM), user("Q")]


def test_sharegpt_reads_like_messages() -> None:
    share = [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    assert only(messages=share) == only(messages=[system("S"), user("Q"), assistant("A")])


def test_keys_that_a_table_added_to_every_message_do_no_harm() -> None:
    wide = [{**user("Q"), "from": None, "value": None}, {**assistant("A"), "name": None}]
    assert only(messages=wide) == only(messages=[user("Q"), assistant("A")])


@pytest.mark.parametrize(
    "messages, says",
    [
        ([user("Q"), user("secret")], "row 2, turn 2: user, expected assistant"),
        ([assistant("secret")], "row 2, turn 1: assistant, expected user"),
        ([system("S"), assistant("secret")], "row 2, turn 2: assistant, expected user"),
        ([user("Q"), system("secret")], "row 2, turn 2: system, expected assistant"),
        ([user("Q"), {"role": "tool", "content": "secret"}], "row 2, turn 2: role is none of system, user, assistant"),
        ([user("Q"), {"role": "secret", "content": "A"}], "row 2, turn 2: role is none of"),
        ([{"from": "user", "value": "secret"}], "row 2, turn 1: from is none of system, human, gpt"),
        ([user("Q"), {"role": "assistant", "content": ["secret"]}], "row 2, turn 2: list, not text"),
        ([user("Q"), {"role": ["assistant"], "content": "secret"}], "row 2, turn 2: role is none of"),
        (["secret"], "row 2, turn 1: no role"),
    ],
)
def test_messages_out_of_order_are_refused_with_row_and_turn_but_not_shown(messages: list, says: str) -> None:
    message = refused(*messages)
    assert says in message
    assert "secret" not in message


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
    ],
)
def test_a_row_with_a_blank_field_or_without_an_answer_is_empty(cells: dict) -> None:
    assert only(**cells).empty


def test_a_full_row_is_not_empty() -> None:
    assert not only(prompt="Q", chosen="better", rejected="worse").empty
    assert not only(messages=[user("Q"), assistant("A")]).empty
