"""Real files beside the checkout load through small recipes; the counts are those of the README beside them.

Where the README gives none, rows are counted a second way here: with csv's reader and Python's sets alone.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localpsych_recipes import data
from localpsych_recipes.recipe import Columns, Data, Source

QUESTION = "{questionTitle}\n\n{questionText}"
ESCONV = {
    "separator": " EOS ",
    "pattern": r"[\d.]+ (?P<role>[01]) \d+ (?:\[[^\]]*\] )?(?P<content>.*)",
    "roles": {"0": "user", "1": "assistant"},
    "join": True,
    "opening": "cut",
}


def source(path: Path, columns: dict[str, str], **keys: Any) -> Source:
    return Source(source=str(path), columns=Columns(**columns), **keys)


def prepare(*sources: Source, **keys: Any) -> data.Prepared:
    return data.prepare(Data(mixture=sources, **keys))


def records(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(10**8)
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def answers(prepared: data.Prepared) -> list[str]:
    return [row["completion"][0]["content"] for row in prepared.rows("sft", "train")]


def words(text: str) -> str:
    return re.sub(r"\W+", "", text).lower()


def test_counsel_chat_of_2020_makes_a_pair_of_every_better_and_worse_answer_to_one_question(shared: Path) -> None:
    path = shared / "data" / "counsel_chat" / "20200325_counsel_chat.csv"
    columns = {"prompt": QUESTION, "response": "answerText", "score": "upvotes"}
    prepared = prepare(source(path, columns, pairs="all", test_size=0.1), shuffle_seed=65)
    counts = prepared.counts
    votes: dict[tuple[str, str], list[int]] = {}
    for row in records(path):
        votes.setdefault((row["questionTitle"], row["questionText"]), []).append(int(row["upvotes"]))

    assert counts["rows"] == counts["train"] + counts["test"] == 2129
    assert counts["pairs_train"] + counts["pairs_test"] == 3224
    assert len({conversation.question for conversation in prepared.conversations}) == len(votes) == 824
    best = sum(of.count(max(of)) for of in votes.values())
    assert counts["sft_train"] + counts["sft_test"] == best
    assert counts["prompts_in_both_splits"] == 0
    assert counts["test"] == 213  # 212.9 rounded up


def test_the_answers_of_counsel_chat_that_are_in_both_files_are_found_across_a_mixture(shared: Path) -> None:
    """1,367 of the HTML file's answers are in the file of 2020; a few of them differ there by more than markup."""
    folder, columns = shared / "data" / "counsel_chat", {"prompt": "questionText", "response": "answerText"}
    plain = source(folder / "20200325_counsel_chat.csv", columns)
    html = source(folder / "counselchat-data.csv", columns, html=True)
    counts = prepare(plain, html).counts["sources"][1]
    assert counts["rows"] == 1482
    found = counts["duplicates"] + counts["near_duplicates"]
    assert 0.95 * (1367 - counts["empty"]) < found < 1.02 * 1367
    assert counts["from_html"] > 1000


@pytest.mark.parametrize(
    "name, rows", [("imhi_dreaddit", (2837, 300, 414)), ("imhi_dr", (1003, 430, 405)), ("imhi_sad", (616, 684))]
)
def test_instruction_sets_load_with_both_spellings_of_their_columns(shared: Path, name: str, rows: tuple) -> None:
    folder = shared / "data" / name
    made = {"prompt": "{post}\n\n{question}", "response": "response"}
    asked = {"prompt": "query", "response": "gpt-3.5-turbo"}
    files = ["train.csv", "val.csv", "test.csv"][-len(rows) :]
    prepared = prepare(*(source(folder / file, asked if file == "test.csv" else made) for file in files))
    assert tuple(of["rows"] for of in prepared.counts["sources"]) == rows
    assert prepared.counts["empty"] + len(answers(prepared)) == sum(rows)


@pytest.mark.parametrize(
    "name, counted",
    [
        ("imhi_dreaddit", ((1492, 1345), (157, 143))),
        ("imhi_dr", ((801, 202), (330, 100))),
    ],
)
def test_labels_stand_in_the_responses(shared: Path, name: str, counted: tuple) -> None:
    for file, (yes, no) in zip(("train", "val"), counted, strict=True):
        columns = {"prompt": "{post}\n\n{question}", "response": "response"}
        found = answers(prepare(source(shared / "data" / name / f"{file}.csv", columns)))
        labels = Counter(re.search(r"\w+", answer)[0].lower() for answer in found)
        assert (labels["yes"], labels["no"]) == (yes, no)


def test_posts_of_dreaddit_that_are_held_out_and_trained_on_are_leaks(shared: Path) -> None:
    """The post alone is compared, since the explanations of one post differ; the label is the first word of them."""
    folder = shared / "data" / "imhi_dreaddit"
    train, val = ({row["post"] for row in records(folder / f"{name}.csv")} for name in ("train", "val"))
    prepared = prepare(source(folder, {"prompt": "post", "response": "post"}, test_split="val"))
    assert prepared.counts["prompts_in_both_splits"] == len(train & val) > 0
    assert prepared.counts["leaks"] >= len(train & val)
    dropped = prepare(source(folder, {"prompt": "post", "response": "post"}, test_split="val"), leaks="drop")
    assert dropped.counts["prompts_in_both_splits"] == 0


@pytest.mark.parametrize("name, rows", [("dev", 2985), ("test", 2775)])
def test_separated_turns_become_conversations_whose_last_answer_is_learnt(shared: Path, name: str, rows: int) -> None:
    path = shared / "data" / "esconv" / f"{name}WithStrategy_short.tsv"
    asked = source(path, {"messages": "text"}, format="lines", turns=ESCONV, train_on="last")
    prepared = prepare(asked)
    assert prepared.counts["rows"] == rows
    lines = path.read_text(encoding="utf-8").splitlines()
    openings = [[piece.split(" ")[1] for piece in line.split(" EOS ")] for line in lines]
    without_user = sum("0" not in speakers for speakers in openings)
    assert prepared.counts["empty"] == without_user
    assert prepared.count("sft", "train") == rows - without_user
    assert not [text for text in answers(prepared) if re.match(r"\[|[\d.]+ [01] \d", text)]


def test_labels_become_words_by_the_recipes_map(shared: Path) -> None:
    folder = shared / "data"
    areas = {row["harm_area"]: f"It is about {number}." for number, row in enumerate(records(safety(folder)))}
    asked = (
        source(
            folder / "toxigen_sample" / "toxiGen.json",
            {"prompt": "Is this hateful?\n\n{text}", "response": "label"},
            labels={"label": {"hate": "Yes.", "neutral": "No."}},
        ),
        source(
            folder / "xstest" / "xstest_prompts.csv",
            {"prompt": "prompt", "response": "label"},
            labels={"label": {"safe": "I may answer.", "unsafe": "I decline."}},
        ),
        source(safety(folder), {"prompt": "prompts_final", "response": "harm_area"}, labels={"harm_area": areas}),
    )
    found = Counter(answers(prepare(*asked)))
    assert (found.pop("Yes."), found.pop("No.")) == (2767, 3747)
    assert (found.pop("I may answer."), found.pop("I decline.")) == (250, 200)
    assert sorted(found.values()) == [20] * 5


def safety(folder: Path) -> Path:
    return folder / "simple_safety_tests" / "SimpleSafetyTests - test cases.csv"


@pytest.mark.parametrize("name, rows", [("toxic", 1196), ("nontoxic", 1200)])
def test_a_text_inside_of_a_cell_is_reached_with_a_dot(shared: Path, name: str, rows: int) -> None:
    path = shared / "data" / "real_toxicity_prompts_sample" / f"{name}.jsonl"
    prepared = prepare(source(path, {"prompt": "prompt.text", "response": "continuation.text"}))
    assert prepared.counts["rows"] == rows
    assert prepared.counts["train"] + prepared.counts["empty"] == rows


def test_posts_of_dreaddit_that_stand_in_several_files_are_found_across_their_columns(shared: Path) -> None:
    """Three posts of val and test are in train too; a query of test is a post and its question in one column."""
    folder = shared / "data" / "imhi_dreaddit"
    columns = ({"prompt": "{post} {question}", "response": "question"},) * 2 + (
        {"prompt": "query", "response": "query"},
    )
    parts = [source(folder / f"{name}.csv", of) for name, of in zip(("train", "val", "test"), columns, strict=True)]
    _, val, test = prepare(*parts, similarity=0.95).counts["sources"]
    assert sum(of["duplicates"] + of["near_duplicates"] for of in (val, test)) == 3
