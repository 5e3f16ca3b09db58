"""However turns are written, user and assistant speak in turn, and whatever cannot be told apart is refused unseen."""

from __future__ import annotations

from typing import Any

import pytest

from localpsych_recipes.data import turns
from localpsych_recipes.data.problems import RowError
from localpsych_recipes.recipe import Turns


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def cut(cell: Any, **how: Any) -> tuple[str | None, tuple[str, ...]]:
    return turns.cut(cell, Turns(**how))


def test_messages_are_what_user_and_assistant_say_behind_a_system_prompt() -> None:
    assert cut([system("S"), user("Q"), assistant("A")]) == ("S", ("Q", "A"))
    assert cut([user("Q"), assistant("A")]) == (None, ("Q", "A"))


def test_sharegpt_reads_like_messages() -> None:
    share = [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    assert cut(share) == cut([system("S"), user("Q"), assistant("A")])


def test_keys_that_a_table_added_to_every_message_do_no_harm() -> None:
    wide = [{**user("Q"), "from": None, "value": None}, {**assistant("A"), "name": None}]
    assert cut(wide) == cut([user("Q"), assistant("A")])


def test_a_source_may_have_its_own_names_for_speakers_beside_the_known_ones() -> None:
    roles = {"seeker": "user", "helper": "assistant"}
    said = [{"role": "seeker", "content": "Q"}, assistant("A"), user("Q2"), {"role": "helper", "content": "A2"}]
    assert cut(said, roles=roles) == (None, ("Q", "A", "Q2", "A2"))


def test_a_list_of_texts_alternates_from_the_user_on() -> None:
    assert cut(["Q", "A", "Q2"]) == (None, ("Q", "A", "Q2"))


def test_a_text_is_cut_at_its_separator() -> None:
    assert cut(" Q <sep>A<sep> <sep>Q2", separator="<sep>") == (None, ("Q", "A", "Q2"))


def test_a_pattern_finds_speaker_and_content_of_each_piece_over_several_lines() -> None:
    pattern = r"\d (?P<role>[01]) (?:\[\w+\] )?(?P<content>.*)"
    text = "1 0 Hello\nyou EOS 0 1 [Question] How are\nyou?"
    roles = {"0": "user", "1": "assistant"}
    assert cut(text, separator=" EOS ", pattern=pattern, roles=roles) == (None, ("Hello\nyou", "How are\nyou?"))


def test_a_pattern_without_a_separator_is_looked_for_along_the_text() -> None:
    pattern = r"(?P<role>Human|Assistant): (?P<content>.*?)(?=\n\n(?:Human|Assistant): |\Z)"
    roles = {"Human": "user", "Assistant": "assistant"}
    text = "\n\nHuman: Q\n\nwith a gap\n\nAssistant: A\n\nHuman: Q2"
    assert cut(text, pattern=pattern, roles=roles) == (None, ("Q\n\nwith a gap", "A", "Q2"))


def test_turns_of_one_speaker_become_one_where_the_recipe_says_so() -> None:
    said = [user("Q"), user("Q again"), assistant("A"), assistant("B")]
    assert cut(said, join=True) == (None, ("Q\nQ again", "A\nB"))


def test_an_opening_of_the_assistant_is_cut_where_the_recipe_says_so() -> None:
    said = [system("S"), assistant("Welcome"), user("Q"), assistant("A")]
    assert cut(said, opening="cut") == ("S", ("Q", "A"))
    assert cut([assistant("Welcome"), assistant("Hello?")], opening="cut") == (None, ())


def test_nothing_is_no_turn() -> None:
    assert cut([]) == cut("") == cut(" \n") == cut("", separator="x") == (None, ())


def test_an_empty_system_turn_is_none() -> None:
    assert cut([system(" "), user("Q"), assistant("A")]) == (None, ("Q", "A"))


@pytest.mark.parametrize(
    "cell, how, says",
    [
        ([user("Q"), user("secret")], {}, ", turn 2: user, expected assistant"),
        ([assistant("secret")], {}, ", turn 1: assistant, expected user"),
        ([system("S"), assistant("secret")], {}, ", turn 2: assistant, expected user"),
        ([user("Q"), system("secret")], {}, ", turn 2: system, expected assistant"),
        ([user("Q"), {"role": "tool", "content": "secret"}], {}, ", turn 2: role is none of system, user, assistant"),
        ([user("Q"), {"role": "secret", "content": "A"}], {}, ", turn 2: role is none of"),
        ([{"from": "user", "value": "secret"}], {}, ", turn 1: from is none of system, human, gpt"),
        ([user("Q"), assistant(["secret"])], {}, ", turn 2: list, not text"),
        ([user("Q"), {"role": ["assistant"], "content": "secret"}], {}, ", turn 2: role is none of"),
        ([user("Q"), {"secret": "x"}], {}, ", turn 2: no role"),
        (["Q", None], {}, ", turn 2: no role"),
        (["Q", 42], {}, ", turn 2: int, not text"),
        ("secret", {}, "str, not a list of messages"),
        ("a: secret|secret", {"separator": "|", "pattern": "a: (?P<content>.*)"}, ", turn 2: no match of"),
        ("secret a: b", {"pattern": "a: (?P<content>.*)"}, ", turn 1: no match of data.turns.pattern before it"),
        ("a: b; secret", {"pattern": "a: (?P<content>[^;]*);"}, "its end is no match"),
        ("secret: b", {"pattern": "(?P<role>\\w+): (?P<content>.*)"}, ", turn 1: speaker is none of"),
    ],
)
def test_turns_that_cannot_be_told_are_refused_with_their_place_but_not_shown(cell: Any, how: dict, says: str) -> None:
    with pytest.raises(RowError) as error:
        cut(cell, **how)
    assert says in str(error.value)
    assert "secret" not in str(error.value)
