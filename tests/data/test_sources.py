"""Rows come out of every kind of source as they stand there, and what cannot be read is said without quoting it."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from huggingface_hub import HfApi

from localpsych_recipes import data
from localpsych_recipes.data import files, sources
from localpsych_recipes.errors import UserError
from localpsych_recipes.local_hub import LocalHub, new_token
from localpsych_recipes.recipe import Columns, Data

SECRET = "only my diary knows this"
ASKED = [{"q": "I can't sleep.", "a": "That sounds tiring."}, {"q": "Grüße, 你好 🙂", "a": "a\nb"}]


def recipe(source: object, **keys: object) -> Data:
    return Data(source=str(source), columns=Columns(prompt="q", response="a"), **keys)


def rows(source: object, split: str = "train") -> list[dict]:
    return list(sources.read(recipe(source), split))


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def in_every_format(folder: Path) -> Iterator[Path]:
    cells = [[row["q"], f'"{row["a"]}"'] for row in ASKED]
    yield file(folder, "rows.csv", "q,a\n" + "".join(f'"{q}",{a}\n' for q, a in cells))
    yield file(folder, "rows.TSV", "q\ta\r\n" + "".join(f"{q}\t{a}\r\n" for q, a in cells))
    yield file(folder, "rows.json", json.dumps(ASKED))
    yield file(folder, "rows.jsonl", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ASKED))
    pa.parquet.write_table(pa.Table.from_pylist(ASKED), folder / "rows.parquet")
    yield folder / "rows.parquet"


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    paths = list(in_every_format(tmp_path))
    assert len(paths) == 5
    for path in paths:
        assert rows(path) == ASKED, path.name


@pytest.mark.parametrize("cell", ["42", "1e5", "007", "1.0", "NA", "null", "None", "nan", "true", "2020-01-01", " a "])
def test_a_cell_of_a_csv_stays_the_text_that_it_is(tmp_path: Path, cell: str) -> None:
    assert rows(file(tmp_path, "rows.csv", f"q,a\n{cell},{cell}\n")) == [{"q": cell, "a": cell}]


@pytest.mark.parametrize(
    "name, text", [("r.csv", "q,a\nx,y\n"), ("r.json", '[{"q":"x","a":"y"}]'), ("r.jsonl", '{"q":"x","a":"y"}')]
)
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str, text: str) -> None:
    assert rows(file(tmp_path, name, b"\xef\xbb\xbf" + text.encode())) == [{"q": "x", "a": "y"}]


def test_quoted_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    path = file(tmp_path, "rows.csv", 'q,a\r\n"one\r\ntwo","say ""hello"", then\nwait"\r\n')
    assert rows(path) == [{"q": "one\r\ntwo", "a": 'say "hello", then\nwait'}]


def test_a_cell_may_be_larger_than_the_csv_module_allows_by_itself(tmp_path: Path) -> None:
    long = "word " * 100_000
    assert rows(file(tmp_path, "rows.csv", f"q,a\n{long},y\n")) == [{"q": long, "a": "y"}]


def test_only_columns_that_are_needed_are_kept(tmp_path: Path) -> None:
    path = file(tmp_path, "rows.jsonl", '{"q": "x", "name": "Ann", "user": 1}\n{"q": "z", "a": "y", "user": 2}\n')
    read = list(sources.read(recipe(path, group_by="user"), "train"))
    assert read == [{"q": "x", "a": None, "user": 1}, {"q": "z", "a": "y", "user": 2}]


def test_a_file_is_read_while_its_rows_are_used(tmp_path: Path) -> None:
    path = file(tmp_path, "rows.csv", "q,a\nx,y\nthis row is broken\n")
    assert next(sources.read(recipe(path), "train")) == {"q": "x", "a": "y"}


def test_lines_of_text_are_rows_whatever_the_suffix(tmp_path: Path) -> None:
    path = file(tmp_path, "turns.tsv", 'one "EOS\ttwo\r\n\r\nthree \u2028 four\n')
    asked = Data(source=str(path), format="lines", columns=Columns(messages="text"))
    assert [row["text"] for row in sources.read(asked, "train")] == ['one "EOS\ttwo', "three \u2028 four"]


def test_a_format_goes_before_the_suffix(tmp_path: Path) -> None:
    path = file(tmp_path, "rows.txt", "q\ta\nx\ty\n")
    assert list(sources.read(recipe(path, format="tsv"), "train")) == [{"q": "x", "a": "y"}]


def test_an_index_column_without_a_name_does_no_harm(tmp_path: Path) -> None:
    assert rows(file(tmp_path, "rows.csv", ",q,a\n0,x,y\n")) == [{"q": "x", "a": "y"}]


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("r.csv", f'q,a\nx,y\n"{SECRET}\n', "unexpected end of data"),
        ("r.csv", f'q,a\n"{SECRET}"x,y\n', "line 2"),
        ("r.csv", f"q,a\nx,y\n\n{SECRET}\n", "row 2 (line 4) has 1 cells, the header 2"),
        ("r.csv", "q,a,q\nx,y,z\n", "1 column names stand more than once"),
        ("r.csv", "", "no header"),
        ("r.csv", f"q,a\nx,y\n{SECRET} é,y\n".encode("latin-1"), "line 3 is not UTF-8"),
        ("r.csv", f"q,a\n{SECRET},y\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("r.json", f'[{{"q": "{SECRET}",}}]', "line 1: not JSON"),
        ("r.json", f'{{"q": "{SECRET}"}}', "one list of objects"),
        ("r.json", f'{{"q": "{SECRET}"}}\n{{"q": "x"}}', "name the file .jsonl"),
        ("r.json", f'[{{"q": "x"}}, "{SECRET}"]', "row 2 is no object"),
        ("r.json", "[" * 100_000, "line 1: not JSON (RecursionError)"),
        ("r.jsonl", f'{{"q": "x"}}\n{{"q": "{SECRET}"\n', "line 2: not JSON"),
        ("r.jsonl", f'{{"q": "x"}}\n["{SECRET}"]', "line 2 is no object"),
        ("r.jsonl", b'{"q": "x"}\n{"q": "\xff"}\n', "line 2 is not UTF-8"),
        ("r.parquet", SECRET, "not a whole Parquet file"),
        ("r.parquet", "", "not a whole Parquet file"),
        ("r.xlsx", SECRET, "'.xlsx' are not read"),
        ("rows", SECRET, "'nothing' are not read"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_place_and_without_its_text(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    with pytest.raises(UserError) as error:
        rows(file(tmp_path, name, content))
    assert says in str(error.value)
    assert SECRET not in str(error.value)


def test_a_folder_gives_the_file_named_after_the_split(tmp_path: Path) -> None:
    file(tmp_path, "train.csv", "q,a\nx,y\n")
    file(tmp_path, "test.jsonl", '{"q": "held", "a": "out"}')
    file(tmp_path, "LICENSE.txt", "MIT")
    assert rows(tmp_path) == [{"q": "x", "a": "y"}]
    assert rows(tmp_path, "test") == [{"q": "held", "a": "out"}]
    with pytest.raises(UserError, match="holds test.jsonl, train.csv"):
        rows(tmp_path, "validation")


def test_a_folder_with_a_single_data_file_gives_it_whatever_its_name(tmp_path: Path) -> None:
    file(tmp_path, "export.csv", "q,a\nx,y\n")
    assert rows(tmp_path) == [{"q": "x", "a": "y"}]
    with pytest.raises(UserError, match="holds export.csv"):
        rows(tmp_path, "test")


def test_a_single_file_has_no_other_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no split 'test'"):
        rows(file(tmp_path, "rows.csv", "q,a\nx,y\n"), "test")


def test_real_csv_files_have_the_records_that_were_counted(shared: Path) -> None:
    """Counts from the README beside the files; both have quoted line ends, one has cells above 131,072 characters."""
    counted = {"20200325_counsel_chat.csv": 2129, "counselchat-data.csv": 1482}
    for name, records in counted.items():
        columns = Columns(prompt="questionText", response="answerText")
        source = str(shared / "data" / "counsel_chat" / name)
        assert len(list(sources.read(Data(source=source, columns=columns), "train"))) == records


def test_real_tsv_and_json_files_have_the_records_that_were_counted(shared: Path) -> None:
    """Counts from the README beside the files."""
    counted = {"vera_mh/rubric.tsv": 49, "toxigen_sample/toxiGen.json": 6514, "mt_bench/question.jsonl": 80}
    assert {name: len(list(files.records(shared / "data" / name))) for name in counted} == counted


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a web server that gives the files in tmp_path; cut.csv is announced longer than it is."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def send_header(self, keyword: str, value: str) -> None:
            longer = keyword == "Content-Length" and "cut" in self.path
            super().send_header(keyword, str(int(value) + 1000) if longer else value)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_at_an_address_gives_the_same_rows_as_on_the_disk(tmp_path: Path, site: str) -> None:
    for path in in_every_format(tmp_path):
        assert rows(f"{site}/{path.name}?download=true") == ASKED


@pytest.mark.parametrize(
    "path, says",
    [("none.csv", "404"), ("cut.csv", "cut"), ("rows.xlsx", "'.xlsx' are not read"), ("", "'nothing' are not read")],
)
def test_an_address_without_a_whole_data_file_is_refused_and_its_key_not_shown(
    tmp_path: Path, site: str, path: str, says: str
) -> None:
    file(tmp_path, "cut.csv", "q,a\nx,y\n")
    with pytest.raises(UserError) as error:
        rows(f"{site}/{path}?key=hidden")
    assert says in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be fetched"):
        rows("http://127.0.0.1:9/rows.csv")


FROM_HUB = """
import json, sys
from localpsych_recipes.data import sources
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Columns, Data

for source, name, split, revision in json.loads(sys.argv[1]):
    try:
        data = Data(source=source, name=name, columns=Columns(prompt="q", response="a"))
        print(json.dumps(list(sources.read(data, split, revision))))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def from_hub(hub: LocalHub, token: str, home: Path, asked: list[tuple]) -> list:
    """What a process of its own reads from the hub: the libraries take the address at their import."""
    environment = {**os.environ, **hub.environment(token), "HF_HOME": str(home)}
    command = [sys.executable, "-c", FROM_HUB, json.dumps(asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert SECRET not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_hub_dataset_is_read_at_the_commit_that_is_asked_for(tmp_path: Path) -> None:
    token = new_token()
    with LocalHub(tmp_path / "hub", tokens={token: "ann"}) as hub:
        api = HfApi(endpoint=hub.url, token=token)

        def commit(repo: str, path: str, content: str) -> str:
            api.create_repo(f"ann/{repo}", repo_type="dataset", private=True, exist_ok=True)
            where = {"repo_id": f"ann/{repo}", "repo_type": "dataset"}
            return api.upload_file(path_or_fileobj=content.encode(), path_in_repo=path, **where).oid

        first = commit("json", "train.jsonl", json.dumps({"q": "one", "a": "1", "other": 3}))
        commit("json", "train.jsonl", json.dumps({"q": "two", "a": "2"}))
        commit("json", "test.jsonl", json.dumps({"q": "three", "a": "3"}))
        commit("csv", "rows.csv", "q,a,n\n42,NA,1\n007,,2\n")
        commit("broken", "rows.jsonl", f'{{"q": "x", "a": 1}}\n{{"q": "{SECRET}", "a": \n')
        asked = [
            ("ann/json", None, "train", first),
            ("ann/json", None, "train", None),
            ("ann/json", None, "test", None),
            ("ann/csv", None, "train", None),
            ("ann/csv", None, "train[1:]", None),
            ("ann/json", None, "validation", None),
            ("ann/json", "english", "train", None),
            ("ann/none", None, "train", None),
            ("ann/broken", None, "train", None),
            ("ann/json", None, "train", "0" * 40),
        ]
        at_first, head, test, csv, part, *refused = from_hub(hub, token, tmp_path / "home", asked)

    assert at_first == [{"q": "one", "a": "1"}]
    assert head == [{"q": "two", "a": "2"}]
    assert test == [{"q": "three", "a": "3"}]
    assert csv == [{"q": "42", "a": "NA"}, {"q": "007", "a": ""}]
    assert part == [{"q": "007", "a": ""}]
    says = ("no split 'validation'", "BuilderConfig", "no dataset 'ann/none'", "cannot be read", "ann/json")
    for message, expected in zip(refused, says, strict=True):
        assert expected in message
        assert SECRET not in message


def test_a_local_file_is_checked_without_being_read_to_its_end(tmp_path: Path) -> None:
    path = file(tmp_path, "rows.csv", "q,a\nx,y\nthis row is broken\n")
    data.check(recipe(path))
    with pytest.raises(UserError, match="row 2 .line 3. has 1 cells"):
        data.prepare(recipe(path))


def test_a_check_says_which_column_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'a'"):
        data.check(recipe(file(tmp_path, "rows.csv", "q,answer\nx,y\n")))


def test_a_check_finds_a_column_that_only_a_late_row_has(tmp_path: Path) -> None:
    data.check(recipe(file(tmp_path, "rows.jsonl", '{"q": "x"}\n' * 500 + '{"q": "x", "a": "y"}\n')))


@pytest.mark.parametrize("content", ["q,a\n", "q,a\n\n\n"])
def test_a_source_without_rows_is_refused_before_and_during_the_run(tmp_path: Path, content: str) -> None:
    path = file(tmp_path, "rows.csv", content)
    for look in (data.check, data.prepare):
        with pytest.raises(UserError, match="has no rows"):
            look(recipe(path))
