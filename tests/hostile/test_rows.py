"""Rows of a stranger's become conversations, are dropped and counted, or end in one message that quotes none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from localpsych_recipes import cli, data
from localpsych_recipes.data import files
from localpsych_recipes.data import parquet as reader
from localpsych_recipes.errors import UserError, visible
from localpsych_recipes.recipe import Data

CANARY = "zebrafinch"  # in every text of every row
# half of a character is no name that a recipe can hold (test_recipes.py), but a row can
MAPPED = ("question", "answer", "other", "chat.text", "a b", "{x}", "\x1b[31m", "\u202e", "")
NAMES = (*MAPPED, "\ud800")
TEXTS = st.text(max_size=6).map(lambda text: f"{CANARY} {text}") | st.just("")
CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(("role", "content", "from", "value", "text")), below, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(("system", "user", "assistant", "x")), "content": below})
        )
    ),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), CELLS, max_size=4), max_size=5)
PARTS = st.sampled_from((*MAPPED, "{question} {answer}", "{question}: {x}", "chat", "{", "}{"))
COLUMNS = st.dictionaries(
    st.sampled_from(("prompt", "response", "chosen", "rejected", "messages", "score")), PARTS, min_size=1, max_size=4
)
SAID = {"source": "rows.jsonl", "columns": {"prompt": "question", "response": "answer"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("rows")


@given(
    rows=ROWS,
    columns=COLUMNS,
    more=st.fixed_dictionaries(
        {},
        optional={
            "turns": st.sampled_from(
                ({"separator": "\x1b"}, {"pattern": "(?P<role>z?)(?P<content>.*)"}, {"join": True})
            ),
            "labels": st.dictionaries(st.sampled_from(MAPPED), st.just({"0": "joy"}), max_size=1),
            "html": st.booleans(),
            "test_size": st.just(0.5),
            "group_by": st.sampled_from(("prompt", *MAPPED)),
        },
    ),
)
@example(rows=[{"question": CANARY, "answer": "\ud800" + CANARY}], columns=SAID["columns"], more={})
@example(rows=[{"question": 10**400, "answer": CANARY}], columns={"messages": "answer", "score": "question"}, more={})
def test_any_rows_under_any_mapping_are_conversations_or_one_message(place, rows, columns, more) -> None:
    path = place / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        wanted = Data.model_validate({"source": str(path), "columns": columns, **more})
    except ValidationError:
        return
    try:
        prepared = data.prepare(wanted)
    except UserError as error:
        assert CANARY not in str(error) and visible(str(error), keep="\n") == str(error)
        return
    kept = sum(prepared.counts[name] for name in ("train", "test"))
    assert prepared.counts["rows"] == len(rows) >= kept
    for kind in ("sft", "pairs"):
        for split in ("train", "test"):
            for row in prepared.rows(kind, split):
                json.dumps(row, ensure_ascii=False).encode()


IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import pyarrow.parquet, pyarrow.compute
from localpsych_recipes.data import files
from localpsych_recipes.errors import UserError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), used + (2 << 30)))
try:
    for record in files.records(Path(sys.argv[1])):
        pass
except UserError as error:
    print(error)
"""


def gigabyte(path: Path, before: str) -> None:
    """A file that says to hold a text of a gigabyte and more; what it does not write is a hole that reads as zeros."""
    with path.open("w") as file:
        file.write(before)
        file.truncate(3 << 30)


def shared_text(path: Path) -> None:
    """A few kilobytes that mean a hundred gigabytes: one text of 100 MB in each of a thousand rows."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * (100 << 20)]))
    said = pa.StructArray.from_arrays([pa.array(["user"] * 1000), text], ["role", "content"])
    turns = pa.ListArray.from_arrays(pa.array(range(1001), pa.int32()), said)
    pq.write_table(pa.table({"messages": turns}), path, compression="zstd", store_schema=False)


BOMBS = {
    "cell.csv": lambda path: gigabyte(path, "question,answer\na,"),
    "cell.jsonl": lambda path: gigabyte(path, '{"question": "'),
    "list.json": lambda path: gigabyte(path, "["),
    "shared.parquet": shared_text,
    "columns.csv": lambda path: path.write_text(",".join(map(str, range(1_000_000))) + "\n"),
    "columns.jsonl": lambda path: path.write_text("[" * 1_000_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_fill_the_memory_is_refused_before_it_does(tmp_path, name) -> None:
    BOMBS[name](tmp_path / name)
    done = subprocess.run([sys.executable, "-c", IN_LITTLE_MEMORY, tmp_path / name], capture_output=True, text=True)
    assert done.returncode == 0 and "expected: well-formed" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("limit", [0, 1])
def test_the_size_of_rows_is_counted_by_what_they_mean(tmp_path, limit, monkeypatch) -> None:
    rows = [{"a": "xy" * 50, "m": [{"role": "user", "content": "z" * 30}] * 2}] * 10
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert list(reader.rows(tmp_path / "rows.parquet", 10)) == rows
    monkeypatch.setattr(reader, "LARGEST_BATCH", 10 * (100 + 2 * (4 + 30)) - 1 + limit * 1000)
    if limit:
        assert len(list(files.records(tmp_path / "rows.parquet"))) == 10
    else:
        with pytest.raises(UserError, match="bytes each"):
            list(files.records(tmp_path / "rows.parquet"))


def test_dates_that_python_does_not_have_are_one_message(tmp_path) -> None:
    pq.write_table(pa.table({"a": pa.array([2**62], pa.timestamp("us"))}), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="Parquet"):
        list(files.records(tmp_path / "rows.parquet"))


def test_the_columns_of_a_file_neither_drive_the_terminal_nor_fill_it(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = {f"c{number}": "x" for number in range(500)} | {"\x1b]0;owned\x07\u202e\n\ud800": "x"}
    Path("rows.jsonl").write_text(json.dumps(named) + "\n")
    Path("mine.yaml").write_text(f"name: a\nbase: {{model: a/b}}\ndata: {json.dumps(SAID)}\nsft:\n")
    assert cli.main(["data", "mine.yaml"]) == 2
    assert cli.main(["fork", "demo", "--dataset", "rows.jsonl", "-o", "forked.yaml"]) == 2
    said = "".join(capsys.readouterr())
    assert all(c.isprintable() or c == "\n" for c in said) and len(said) < 10_000
    cli.say("\x1b[31m\ud800")
    assert capsys.readouterr().out == "\\x1b[31m\\ud800\n"
