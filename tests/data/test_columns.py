"""Columns are found by name, and whatever is not text is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from localpsych_recipes.data import columns
from localpsych_recipes.data.problems import Problems, RowError
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Columns, Source

PAIRS = {"prompt": "question", "chosen": "response_j", "rejected": "response_k"}


def source(mapped: dict[str, str], **keys: Any) -> Source:
    return Source(source="my.csv", columns=Columns(**mapped), **keys)


def parts(record: dict[str, Any], mapped: dict[str, str], **keys: Any) -> dict[str, Any]:
    asked = source(mapped, **keys)
    cells = columns.cleaned(record, asked, lambda cell: cell)
    return {part: columns.render(words, cells) for part, words in asked.columns.parts.items()}


def refused(records: list[dict[str, Any]], mapped: dict[str, str], **keys: Any) -> UserError:
    """What is said of all the rows together."""
    problems = Problems()
    for number, record in enumerate(records, 1):
        try:
            columns.score(record, source(mapped, **keys))
            parts(record, mapped, **keys)
        except RowError as error:
            problems.add(number, error)
    with pytest.raises(UserError) as error:
        problems.refuse("my.csv")
    return error.value


def test_each_part_gets_the_cell_of_its_column() -> None:
    record = {"question": "Q", "response_k": "worse", "response_j": "better", "name": "Ann"}
    assert parts(record, PAIRS) == {"prompt": "Q", "chosen": "better", "rejected": "worse"}


def test_one_column_can_play_two_parts() -> None:
    both = {"prompt": "q", "response": "a", "chosen": "a", "rejected": "b"}
    cells = {"prompt": "Q", "response": "A", "chosen": "A", "rejected": "B"}
    assert parts({"q": "Q", "a": "A", "b": "B"}, both) == cells


def test_an_absent_cell_is_an_empty_one() -> None:
    assert parts({"q": None, "a": "A"}, {"prompt": "q", "response": "a"}) == {"prompt": "", "response": "A"}
    assert parts({"m": None}, {"messages": "m"}) == {"messages": ""}


def test_a_template_is_filled_with_cells_once() -> None:
    mapped = {"prompt": "{title}: {text}", "response": "a"}
    record = {"title": "{text} {a}", "text": "T", "a": "A"}
    assert parts(record, mapped)["prompt"] == "{text} {a}: T"


def test_a_template_without_one_of_its_cells_has_no_blank_end_and_without_all_of_them_is_blank() -> None:
    mapped = {"prompt": "{instruction}\n\n{input}", "response": "a"}
    assert parts({"instruction": "Sum", "input": "", "a": "A"}, mapped)["prompt"] == "Sum"
    assert parts({"instruction": " ", "input": None, "a": "A"}, mapped)["prompt"] == ""


@pytest.mark.parametrize("label", [0, "0", " 0 ", 0.0])
def test_a_label_becomes_its_words_however_it_is_stored(label: Any) -> None:
    mapped = {"prompt": "t", "response": "This is {label}."}
    made = parts({"t": "T", "label": label}, mapped, labels={"label": {"0": "joy", "1": "fear"}})
    assert made["response"] == "This is joy."


@pytest.mark.parametrize("label", ["secret", None, "", 7, 0.5, float("nan"), True])
def test_a_value_without_words_is_refused_with_row_and_column_but_not_shown(label: Any) -> None:
    mapped, labels = {"prompt": "t", "response": "label"}, {"label": {"0": "joy"}}
    error = refused([{"t": "T", "label": "0"}, {"t": "T", "label": label}], mapped, labels=labels)
    assert "row 2, column 'label': a value that is no label" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("score, number", [(3, 3.0), ("3", 3.0), (" -1.5 ", -1.5), (0.25, 0.25)])
def test_a_score_is_a_number_or_the_text_of_one(score: Any, number: float) -> None:
    mapped = {"prompt": "q", "response": "a", "score": "votes"}
    assert columns.score({"q": "Q", "a": "A", "votes": score}, source(mapped)) == number


@pytest.mark.parametrize("score", ["secret", "", None, True, "nan", "inf", [3]])
def test_a_score_that_is_no_number_is_refused(score: Any) -> None:
    error = refused([{"q": "Q", "a": "A", "votes": score}], {"prompt": "q", "response": "a", "score": "votes"})
    assert "row 1, column 'votes': no number" in str(error)
    assert "secret" not in str(error)


def test_a_dot_reaches_into_a_cell() -> None:
    record = {"prompt": {"text": "P"}, "a.b": "with a dot in its name"}
    assert columns.cell(record, "prompt.text") == "P"
    assert columns.cell(record, "a.b") == "with a dot in its name"
    assert columns.cell(record, "prompt.none.deeper") is None


def missing(existing: list[str], mapped: dict[str, str], **keys: Any) -> UserError:
    with pytest.raises(UserError) as error:
        columns.refuse_missing("my.csv", existing, source(mapped, **keys))
    return error.value


def test_a_column_that_already_plays_a_part_is_never_proposed_for_another() -> None:
    assert missing(["question", "response_k"], PAIRS).do == "map the parts to these under data.columns"


def test_missing_columns_are_reported_together_with_those_that_exist_and_the_nearest() -> None:
    error = missing(["Question", "response_J", "response_k"], PAIRS)
    assert error.given == (
        "my.csv has no column 'question' (data.columns.prompt) and no column 'response_j' (data.columns.chosen)"
    )
    assert error.expected == "one of its columns: 'Question', 'response_J', 'response_k'"
    assert error.do == "did you mean 'Question' and 'response_J'?"


def test_columns_of_templates_and_groups_are_looked_for_too() -> None:
    error = missing(["text", "a"], {"prompt": "{title}: {text}", "response": "a"}, group_by="user")
    assert "no column 'title' (data.columns.prompt) and no column 'user' (data.group_by)" in error.given


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
    error = refused([{"q": "Q", "a": "A"}, {"q": "Q", "a": cell}], {"prompt": "q", "response": "a"})
    assert f"row 2, column 'a': {problem}" in str(error)
    assert "secret" not in str(error)


def test_of_many_bad_cells_the_first_three_are_named_and_the_others_counted() -> None:
    error = refused([{"q": "Q", "a": 1}] * 2000, {"prompt": "q", "response": "a"})
    assert "row 3, column 'a': int, not text; and 1,997 more" in str(error)
    assert "row 1, " in str(error) and "row 4, " not in str(error)
