"""A first look at a dataset: its columns, its first rows, its splits, on this machine and on the Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from huggingface_hub import HfApi

from localpsych_recipes.data.peek import peek
from localpsych_recipes.errors import UserError
from localpsych_recipes.local_hub import LocalHub, new_token

CHECKOUT = Path(__file__).parents[2]
ROWS = [{"Context": f"q{i}", "Response": f"a{i}", "votes": i} for i in range(9)]


def jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_no_more_rows_of_a_file_are_read_than_asked_for(tmp_path):
    (tmp_path / "rows.jsonl").write_text(jsonl(ROWS) + "no JSON\n")
    seen = peek(str(tmp_path / "rows.jsonl"), rows=5)
    assert (seen.columns, seen.records, seen.splits) == (("Context", "Response", "votes"), ROWS[:5], ("train",))


def test_columns_are_those_of_all_rows_that_were_read(tmp_path):
    (tmp_path / "rows.jsonl").write_text(jsonl([{"a": 1}, {"b": 2}]))
    assert peek(str(tmp_path / "rows.jsonl")).columns == ("a", "b")


def test_the_files_of_a_folder_are_its_splits(tmp_path):
    for name in ("train.csv", "test.csv", "README.md"):
        (tmp_path / name).write_text("text,label\nx,1\n")
    seen = peek(str(tmp_path))
    assert (seen.columns, seen.records) == (("text", "label"), [{"text": "x", "label": "1"}])
    assert set(seen.splits) == {"train", "test"}


@pytest.mark.parametrize("source", ["https://user:key@example.org/rows.csv?key=1", "./missing.csv"])
def test_what_cannot_be_looked_at_is_one_message(source):
    with pytest.raises(UserError) as told:
        peek(source)
    assert "key" not in str(told.value)


LOOK = """
import json, sys
from localpsych_recipes.data.peek import peek
from localpsych_recipes.errors import UserError
for source, options in json.loads(sys.argv[1]):
    try:
        seen = peek(source, **options)
        print(json.dumps([seen.columns, seen.records, seen.splits, seen.classes]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def test_a_dataset_of_the_hub_is_looked_at_as_a_run_would_read_it(tmp_path):
    from datasets import ClassLabel, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["calm", "tense"])})
    table = pa.table({"text": ["x", "y"], "label": [1, 0]}, schema=features.arrow_schema)
    pa.parquet.write_table(table, tmp_path / "rows.parquet")
    token = new_token()
    with LocalHub(tmp_path / "hub", tokens={token: "ann"}) as hub:
        api = HfApi(endpoint=hub.url, token=token)
        several = (
            "---\nconfigs:\n- {config_name: one, data_files: a.csv}\n- {config_name: two, data_files: b.csv}\n---\n"
        )
        for name, files in {
            "letters": {"data/train.csv": b"q,a\n007,NA\n", "data/validation.csv": b"q,a\n1,2\n"},
            "classes": {"train.parquet": (tmp_path / "rows.parquet").read_bytes()},
            "several": {"a.csv": b"x\n1\n", "b.csv": b"x\n2\n", "README.md": several.encode()},
        }.items():
            api.create_repo(f"ann/{name}", repo_type="dataset", private=True)
            for path, content in files.items():
                api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=f"ann/{name}", repo_type="dataset")
        asked = [["ann/letters", {}], ["ann/classes", {"rows": 1}], ["ann/several", {"name": "two"}], ["ann/several", {}],
                 ["ann/letters", {"split": "exam"}], ["ann/nothing", {}]]  # fmt: skip
        environment = {**os.environ, **hub.environment(token), "HF_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-c", LOOK, json.dumps(asked)],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    letters, classes, two, unnamed, no_split, nothing = map(json.loads, done.stdout.splitlines())
    assert letters == [["q", "a"], [{"q": "007", "a": "NA"}], ["train", "validation"], {}]
    assert classes == [["text", "label"], [{"text": "x", "label": 1}], ["train"], {"label": ["calm", "tense"]}]
    assert two[1] == [{"x": "2"}]
    assert "one" in unnamed and "two" in unnamed
    assert "validation" in no_split and "no dataset" in nothing
