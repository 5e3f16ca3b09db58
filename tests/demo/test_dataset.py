"""The demonstration dataset keeps its promises: varied rows, safe answers, no stray personal data, a valid card.

Every check is a function of rows, so that the same function that passes the shipped rows is shown a row with that one
fault and must find it. Rows are numbered from 1, like the lines of the file.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

Row = dict[str, str]

DATA = Path(__file__).parents[2] / "localpsych_recipes" / "demo" / "data"
MIN_ROWS = 200
LONGEST_SHARED_RUN = 6
WORDS = {"question": (12, 45), "response_j": (30, 65), "response_k": (10, 30)}

# The only sentences that rows may share, and the only place for a number or a web address.
HELP_LINES = (
    "In the US, call or text 988, day or night.",
    "If life is in danger, call your local emergency number now.",
    "Elsewhere, findahelpline.com lists help lines near you.",
)

# What a question says when someone may be in danger, a line for each of: wishes to die, self-harm, abuse, an eating
# problem, a goodbye or voices. Phrases, since words such as "safe", "thin" or "died" also stand in harmless questions.
RISK_WORDS = re.compile(
    r"suicid|\bkill|\bto die\b|\bbe dead\b|(\bnot|n't) want to (live|exist)\b|\bend (it all|(my|his|her|their) life)\b"
    r"|\bnot waking up\b|\b(hurts?|harms?|cuts?) (myself|himself|herself|themselves)\b|\bkeep myself safe\b"
    r"|\b(hits|beats|pushes|kicks) me\b|\bblue marks\b|\bnot feel safe\b"
    r"|\bnot eaten\b|\b(too|so) thin\b"
    r"|\bgoodbye\b|\bhear voices\b",
    re.IGNORECASE,
)

# An answer neither names an illness nor advises on medicines, promises no secrecy and does not pass for a person.
OUT_OF_BOUNDS = re.compile(
    r"diagnos|disorder|syndrome|\bptsd\b|\bpills?\b|\bdos(e|age)s?\b|medication|antidepressant"
    r"|\bi promise\b|\bour secret\b|\bi (will|can) keep (it|this) (a )?secret\b"
    r"|\bi am (a )?(human|person|therapist|doctor)\b",
    re.IGNORECASE,
)


def read_rows() -> list[Row]:
    return [json.loads(line) for line in (DATA / "conversations.jsonl").read_text(encoding="utf-8").splitlines()]


def without_help_lines(text: str) -> list[str]:
    """The stretches of a text between its help lines."""
    return re.split("|".join(map(re.escape, HELP_LINES)), text)


def own_text(row: Row) -> str:
    return "\n".join(stretch for text in row.values() for stretch in without_help_lines(text))


def word_runs(text: str, length: int) -> set[tuple[str, ...]]:
    """Every run of `length` consecutive words, case and punctuation aside; no run reaches across a help line."""
    stretches = (re.findall(r"[a-z0-9]+", part.lower().replace("'", "")) for part in without_help_lines(text))
    return {tuple(words[i : i + length]) for words in stretches for i in range(len(words) - length + 1)}


def rows_sharing_runs(rows: list[Row]) -> list[tuple[int, int]]:
    """Pairs of row numbers with a run of more than six words in common; a row with itself if two of its fields do."""
    first_seen: dict[tuple[str, ...], int] = {}
    pairs = set()
    for number, row in enumerate(rows, start=1):
        for text in row.values():
            runs = word_runs(text, LONGEST_SHARED_RUN + 1)
            pairs |= {(first_seen[run], number) for run in runs if run in first_seen}
            first_seen |= dict.fromkeys(runs, number)
    return sorted(pairs)


def rows_with_a_repeated_question(rows: list[Row]) -> list[int]:
    questions = [row["question"].casefold().strip() for row in rows]
    return [number for number, question in enumerate(questions, start=1) if question in questions[: number - 1]]


def wrong_columns(row: Row) -> bool:
    return list(row) != list(WORDS) or not all(isinstance(text, str) and text.strip() for text in row.values())


def wrong_length(row: Row) -> bool:
    return any(not low <= len(row[column].split()) <= high for column, (low, high) in WORDS.items())


def untidy_text(row: Row) -> bool:
    return any(re.search(r"[^ -~]|  |^ | $", text) for text in row.values())


def risk_without_help(row: Row) -> bool:
    """A question in RISK_WORDS needs all three help lines: a reader's country is not known."""
    return bool(RISK_WORDS.search(row["question"])) and not all(line in row["response_j"] for line in HELP_LINES)


def help_without_known_risk(row: Row) -> bool:
    """Catches a risk that RISK_WORDS does not know yet, and help lines in an answer that should stay careless."""
    misplaced = any(line in row[column] for line in HELP_LINES for column in ("question", "response_k"))
    return misplaced or (HELP_LINES[0] in row["response_j"] and not RISK_WORDS.search(row["question"]))


def other_number(row: Row) -> bool:
    """Any digit outside the help lines, the retired 1-800-273-8255 of the US lifeline included."""
    return bool(re.search(r"\d", own_text(row)))


def other_address(row: Row) -> bool:
    return bool(re.search(r"@|://|\bwww\b|\w\.\w", own_text(row)))


def answer_out_of_bounds(row: Row) -> bool:
    return bool(OUT_OF_BOUNDS.search(row["response_j"]))


GOOD_ROW = {
    "question": "I cannot sleep before my first day at the new school, and my stomach hurts.",
    "response_j": "A new school is a big step, so a sore stomach makes sense tonight. You do not have to be brave all "
    "at once. What is one small thing that might make the first hour easier?",
    "response_k": "It is only school. Close your eyes and stop thinking about it.",
}
AT_RISK = {"question": "I want to end my life and nobody in this house has noticed it."}

# Each check of a single row, beside the change to a good row that it must find.
ROW_CHECKS: dict[Callable[[Row], bool], Row] = {
    wrong_columns: {"response_k": " "},
    wrong_length: {"response_k": "It is only school."},
    untidy_text: {"response_k": "It is only school. \u201cClose your eyes\u201d and stop thinking about it."},
    risk_without_help: AT_RISK | {"response_j": GOOD_ROW["response_j"] + " " + HELP_LINES[0]},
    help_without_known_risk: {"response_j": " ".join((GOOD_ROW["response_j"], *HELP_LINES))},
    other_number: {"response_j": "In the US, call 1-800-273-8255, day or night."},
    other_address: {"response_j": "Elsewhere, helplines.example lists help lines near you."},
    answer_out_of_bounds: {"response_j": "You have an anxiety disorder, so half a pill before bed will help you."},
}
NAMES = [check.__name__ for check in ROW_CHECKS]


def test_there_are_at_least_200_rows() -> None:
    assert len(read_rows()) >= MIN_ROWS


@pytest.mark.parametrize("has_fault", ROW_CHECKS, ids=NAMES)
def test_no_row_has_the_fault(has_fault: Callable[[Row], bool]) -> None:
    assert [number for number, row in enumerate(read_rows(), start=1) if has_fault(row)] == []


@pytest.mark.parametrize(("has_fault", "change"), ROW_CHECKS.items(), ids=NAMES)
def test_a_row_with_the_fault_is_found(has_fault: Callable[[Row], bool], change: Row) -> None:
    assert not has_fault(GOOD_ROW)
    assert has_fault(GOOD_ROW | change)


@pytest.mark.parametrize("address", ["someone@example", "https://example", "www.example", "help.org"])
def test_every_form_of_address_is_found(address: str) -> None:
    assert other_address(GOOD_ROW | {"response_k": address})


def test_no_two_rows_share_more_than_six_consecutive_words() -> None:
    assert rows_sharing_runs(read_rows()) == []


def test_a_run_of_seven_shared_words_is_found_and_one_of_six_is_not() -> None:
    seven = GOOD_ROW | {"question": "Well, CLOSE your eyes: and stop thinking about, they tell me every evening."}
    six = {"question": "They say close your eyes and stop thinking, and then I lie awake for hours."}
    assert rows_sharing_runs([{"response_k": GOOD_ROW["response_k"]}, {"question": seven["question"]}]) == [(1, 2)]
    assert rows_sharing_runs([{"response_k": GOOD_ROW["response_k"]}, six]) == []
    assert rows_sharing_runs([seven]) == [(1, 1)]


def test_help_lines_may_be_shared() -> None:
    assert rows_sharing_runs([{"response_j": f"I hear you. {line} Please." for line in HELP_LINES}] * 2) == []


def test_no_question_is_asked_twice() -> None:
    assert rows_with_a_repeated_question(read_rows()) == []
    assert rows_with_a_repeated_question([GOOD_ROW, {"question": GOOD_ROW["question"].upper()}]) == [2]


def test_about_twenty_rows_show_safe_answers_to_risk() -> None:
    assert 18 <= sum(bool(RISK_WORDS.search(row["question"])) for row in read_rows()) <= 30


def card_front_matter() -> dict[str, object]:
    _, front_matter, _ = (DATA / "README.md").read_text(encoding="utf-8").split("---\n", maxsplit=2)
    return YAML(typ="safe").load(front_matter)


def test_the_card_names_the_licence_that_ships_beside_it() -> None:
    front_matter = card_front_matter()
    assert front_matter["license"] == "cc0-1.0"
    assert "SPDX-License-Identifier: CC0-1.0" in (DATA / "LICENSE").read_text(encoding="utf-8")


def test_the_card_describes_the_file_that_ships_beside_it() -> None:
    front_matter, card = card_front_matter(), (DATA / "README.md").read_text(encoding="utf-8")
    assert front_matter["language"] == ["en"]
    assert front_matter["task_categories"] == ["text-generation"]
    assert front_matter["size_categories"] == ["n<1K"] and len(read_rows()) < 1000
    assert front_matter["configs"][0]["data_files"] == "conversations.jsonl"
    assert all(f"`{column}`" in card for column in WORDS) and all(line in card for line in HELP_LINES)
