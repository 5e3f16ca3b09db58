"""From a recipe's data section to the four files of a run and back."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from localpsych_recipes import data
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Columns, Data

PAIRS = {"prompt": "question", "chosen": "response_j", "rejected": "response_k"}


def recipe(source: Path, columns: dict[str, str] = PAIRS, **keys: object) -> Data:
    return Data(source=str(source), columns=Columns(**columns), **keys)


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    """100 rows; every text is different, and those of the rejected column all begin with "worse"."""
    rows = [{"question": f"Q{n}", "response_j": f"better {n}", "response_k": f"worse {n}"} for n in range(100)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def written(prepared: data.Prepared, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    data.write(prepared, folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_no_text_of_the_rejected_column_is_in_any_sft_row(hundred: Path, tmp_path: Path) -> None:
    files = written(data.prepare(recipe(hundred, test_size=0.1)), tmp_path / "data")
    assert b"better" in files["sft_train.jsonl"] and b"better" in files["sft_test.jsonl"]
    assert b"worse" not in files["sft_train.jsonl"] and b"worse" not in files["sft_test.jsonl"]
    assert files["pairs_train.jsonl"].count(b"worse") == 90
    assert files["pairs_test.jsonl"].count(b"worse") == 10


def test_sft_and_pairs_hold_out_the_same_questions(hundred: Path) -> None:
    prepared = data.prepare(recipe(hundred, shuffle_seed=65, test_size=0.1))
    for name in ("train", "test"):
        sft, pairs = list(prepared.rows("sft", name)), list(prepared.rows("pairs", name))
        assert len(sft) == {"train": 90, "test": 10}[name]
        assert [row["prompt"] for row in sft] == [row["prompt"] for row in pairs]
        assert [row["completion"] for row in sft] == [row["chosen"] for row in pairs]


def test_without_a_rejected_column_there_are_no_pairs(hundred: Path, tmp_path: Path) -> None:
    prepared = data.prepare(recipe(hundred, {"prompt": "question", "response": "response_k"}))
    assert prepared.count("pairs", "train") == 0
    assert list(written(prepared, tmp_path / "data")) == ["sft_train.jsonl"]


def test_rows_are_read_back_as_they_were_made(hundred: Path, tmp_path: Path) -> None:
    prepared = data.prepare(recipe(hundred, test_size=0.1, system="Be calm.", system_in="user"))
    written(prepared, tmp_path / "data")
    for kind in ("sft", "pairs"):
        for split in ("train", "test"):
            made = list(prepared.rows(kind, split))
            assert data.read(tmp_path / "data", kind, split).to_list() == made
            assert len(made) == prepared.count(kind, split) == prepared.counts[f"{kind}_{split}"]
    assert made[0]["prompt"][0]["content"].startswith("Be calm.\n\nQ")


def test_what_was_not_held_out_is_read_back_as_none(hundred: Path, tmp_path: Path) -> None:
    written(data.prepare(recipe(hundred)), tmp_path / "data")
    assert data.read(tmp_path / "data", "sft", "test") is None


def test_text_survives_the_files_unchanged(tmp_path: Path) -> None:
    odd = ["2020-01-01", "NA", "1e5", "Grüße 🙂\u2028\u0085\r\n\ttab", '"', "\\n", "null"]
    source = tmp_path / "odd.json"
    source.write_text(json.dumps([{"q": text, "a": text} for text in odd]))
    written(data.prepare(recipe(source, {"prompt": "q", "response": "a"}, repair=False)), tmp_path / "data")
    rows = data.read(tmp_path / "data", "sft", "train")
    assert [row["completion"][0]["content"] for row in rows] == odd
    assert [row["prompt"][0]["content"] for row in rows] == odd


def test_the_same_recipe_gives_the_same_bytes_and_fingerprint_in_every_process(hundred: Path, tmp_path: Path) -> None:
    """The fingerprint names what datasets caches; a resumed run must come to the same one."""
    again = (
        "import sys; from pathlib import Path; from localpsych_recipes import data, recipe\n"
        "recipe = recipe.Data.model_validate_json(sys.argv[1]); folder = Path(sys.argv[2]); folder.mkdir()\n"
        "data.write(data.prepare(recipe), folder); print(data.read(folder, 'pairs', 'train')._fingerprint)"
    )
    asked = recipe(hundred, shuffle_seed=65, test_size=0.1)
    first = written(data.prepare(asked), tmp_path / "first")
    command = [sys.executable, "-c", again, asked.model_dump_json(), str(tmp_path / "second")]
    fingerprint = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()} == first
    assert data.read(tmp_path / "first", "pairs", "train")._fingerprint == fingerprint


def test_a_held_out_split_of_the_source_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("q,a\nshared,A\nQ2,A\n,A\n")
    (tmp_path / "test.csv").write_text("q,a\nshared,B\n")
    prepared = data.prepare(recipe(tmp_path, {"prompt": "q", "response": "a"}, test_split="test"))
    assert [row["completion"][0]["content"] for row in prepared.rows("sft", "test")] == ["B"]
    assert prepared.counts["rows"] == 4
    assert prepared.counts["empty"] == 1
    assert (prepared.counts["train"], prepared.counts["test"]) == (2, 1)
    assert prepared.counts["prompts_in_both_splits"] == 1


def test_a_held_out_split_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("q,a\nQ,A\n")
    (tmp_path / "test.csv").write_text("q,a\n ,A\n")
    with pytest.raises(UserError, match="test.* has no row with text"):
        data.prepare(recipe(tmp_path, {"prompt": "q", "response": "a"}, test_split="test"))


def test_a_conversation_stays_on_one_side_of_the_split(tmp_path: Path) -> None:
    source = tmp_path / "chats.jsonl"
    roles = ("user", "assistant") * 3
    chats = [[{"role": role, "content": f"{n} {role} {at}"} for at, role in enumerate(roles)] for n in range(20)]
    source.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    prepared = data.prepare(recipe(source, {"messages": "messages"}, test_size=0.1))
    train, test = ({row["prompt"][0]["content"] for row in prepared.rows("sft", split)} for split in ("train", "test"))
    assert len(train | test) == 20
    assert not train & test
    assert (prepared.count("sft", "train"), prepared.count("sft", "test")) == (54, 6)
    assert (prepared.counts["train"], prepared.counts["test"]) == (18, 2)


def test_the_line_for_the_log_says_what_was_counted(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    rows = ["Q,A,A", "Q,A,A", ",A,B", *(f"Q{n},A,B" for n in range(9))]
    source.write_text("question,response_j,response_k\n" + "\n".join(rows) + "\n")
    assert data.describe(data.prepare(recipe(source, max_rows=10)).counts) == (
        "12 rows: 1 empty dropped, 1 duplicate kept, 1 beyond max_rows; 10 to train on, none held out; "
        "2 pairs of equal answers"
    )
    assert data.describe(data.prepare(recipe(source, duplicates="drop", test_size=0.1)).counts) == (
        "12 rows: 1 empty dropped, 1 duplicate dropped; 9 to train on, 1 held out; 1 pair of equal answers"
    )


def test_importing_the_package_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules)"
    command = [sys.executable, "-c", f"import sys; import localpsych_recipes.data; print({heavy})"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_counsel_chat_has_its_empty_rows_and_repeated_questions_counted(shared: Path) -> None:
    """Counted here a second way, straight from the file: csv's reader and Python's sets alone."""
    source = shared / "data" / "counsel_chat" / "counselchat-data.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(row["questionText"], row["answerText"]) for row in csv.DictReader(file)]
    full = [row for row in rows if row[0].strip() and row[1].strip()]
    columns = {"prompt": "questionText", "response": "answerText"}
    asked = recipe(source, columns, shuffle_seed=65, test_size=0.1, repair=False)
    prepared = data.prepare(asked)
    rows_of = {split: list(prepared.rows("sft", split)) for split in ("train", "test")}
    questions = [{row["prompt"][0]["content"] for row in made} for made in rows_of.values()]

    assert len(rows) == 1482
    assert prepared.counts["empty"] == len(rows) - len(full) > 0
    assert prepared.counts["duplicates"] == len(full) - len(set(full))
    assert prepared.counts["prompts_in_both_splits"] == len(questions[0] & questions[1]) > 0
    answers = [row["completion"][0]["content"] for made in rows_of.values() for row in made]
    assert sorted(answers) == sorted(answer for _, answer in full)


def test_published_splits_of_a_folder_have_the_rows_that_were_counted(shared: Path) -> None:
    """Counts from the README beside the files: 2,837 rows in train and 300 in val."""
    columns = {"prompt": "post", "response": "response"}
    counts = data.prepare(recipe(shared / "data" / "imhi_dreaddit", columns, test_split="val")).counts
    assert counts["rows"] == 2837 + 300
    assert counts["train"] + counts["test"] + counts["empty"] == counts["rows"]
