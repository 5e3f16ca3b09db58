"""The first stage: what a mixture becomes on disk, what is pinned of it, and what a base's template refuses.

The bases are a tokenizer and a config.json: prepare loads no weights.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from embedded_hub import alice, hub  # noqa: F401  fixtures

from localpsych_recipes import licences, models, rundir, training
from localpsych_recipes.data.lengths import count
from localpsych_recipes.data.report import TEACHER_WRITES
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.rundir import RunDir
from localpsych_recipes.stages import prepare
from tests.families import bases

LONG = "It sounds as if those days ask more of you than you have to give. "
PAIRS = [{"question": f"Q{n}", "good": LONG + f"better {n}", "bad": f"worse {n}"} for n in range(10)]
CHATS = [
    {"messages": [{"role": "user", "content": f"Hello {n}"}, {"role": "assistant", "content": f"Welcome {n}"}]}
    for n in range(4)
]
BESIDE = {"role": "system", "content": "a secret of the row"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_base(tmp_path_factory.mktemp("base"), "qwen2.5")


@pytest.fixture(scope="module")
def gemma2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_base(tmp_path_factory.mktemp("gemma2"), "gemma2")


def a_base(folder: Path, name: str) -> Path:
    bases.make_tokenizer(name, folder / "base")
    (folder / "base" / "config.json").write_text(json.dumps({"model_type": bases.BASES[name].architecture}))
    (folder / "base" / "LICENSE").write_text("You may.")
    return folder / "base"


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def a_run(folder: Path, base: Path, rows: dict[str, Any], **sections: Any) -> Run:
    values = {"name": "small", "base": {"model": str(base), "hub_id": "someone/tiny"}, "data": rows, "sft": {}}
    recipe = Recipe.model_validate({**values, "lora": {}, **sections})
    return Run(recipe, RunDir(folder / "run"), say=lambda text: None)


def mixture(folder: Path, **keys: Any) -> dict[str, Any]:
    pairs = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    return {
        "mixture": [
            {"source": jsonl(folder / "pairs.jsonl", PAIRS), "columns": pairs, "test_size": 0.2},
            {"source": jsonl(folder / "chats.jsonl", CHATS), "columns": {"messages": "messages"}},
        ],
        **keys,
    }


def rows_in(run: Run, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.dir.data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_mixture_becomes_files_pins_lengths_and_a_report(tmp_path: Path, base: Path) -> None:
    run = a_run(tmp_path, base, mixture(tmp_path, system="Be calm."), dpo={"max_length": 20})
    results = prepare.run(run)
    made = {name: len(rows_in(run, name)) for name in ("sft_train", "sft_test", "pairs_train", "pairs_test")}
    assert made == {"sft_train": 8 + 4, "sft_test": 2, "pairs_train": 8, "pairs_test": 2}
    assert {name: results["counts"][name] for name in made} == made

    lengths = json.loads((run.dir.data / "lengths.json").read_text())
    assert {name: len(found) for name, found in lengths.items()} == made
    assert [tuple(found) for found in lengths["pairs_test"]] == count(
        rows_in(run, "pairs_test"), models.load_tokenizer(base), {}
    )
    report = (run.dir.data / "report.txt").read_text()
    assert all(words in report for words in ("pairs.jsonl", "chats.jsonl", "max_length 20"))
    assert "better" not in report and "Welcome" not in report and str(tmp_path) not in report

    pins = rundir.read_json(run.dir.pins)
    files = [(pin["file"], pin["sha256"]) for pin in pins["datasets"]]
    assert files == [(name, rundir.file_sha256(tmp_path / name)) for name in ("pairs.jsonl", "chats.jsonl")]
    assert (pins["base"]["model"], pins["base"]["commit"], pins["base"]["local"]["name"]) == (
        "someone/tiny",
        None,
        "base",
    )
    assert str(tmp_path) not in json.dumps([pin | {"asked": None} for pin in (pins["base"], *pins["datasets"])])
    assert [path.name for path in licences.agreement_files(run.dir.agreements)] == ["LICENSE"]


def test_the_commit_of_the_first_run_is_kept(tmp_path: Path, base: Path, hub, alice, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.url)
    alice.create_repo("alice/rows", repo_type="dataset")

    def publish(rows: list[dict[str, Any]]) -> None:
        path = jsonl(tmp_path / "rows.jsonl", rows)
        alice.upload_file(path_or_fileobj=path, path_in_repo="train.jsonl", repo_id="alice/rows", repo_type="dataset")

    publish(CHATS)
    local = {"source": jsonl(tmp_path / "chats.jsonl", CHATS), "columns": {"messages": "messages"}}
    run = a_run(tmp_path, base, {"mixture": [local, {**local, "source": "alice/rows"}]})
    first = prepare.run(run)["pins"]["datasets"]
    publish(CHATS[:1])
    again = prepare.run(run)
    assert again["pins"]["datasets"] == first and first[1]["commit"] != alice.dataset_info("alice/rows").sha
    assert again["counts"]["rows"] == 8


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_at_an_address_is_known_by_its_digest_and_its_key_is_kept_nowhere(
    tmp_path: Path, base: Path, site: str
) -> None:
    jsonl(tmp_path / "chats.jsonl", CHATS)
    rows = {"source": f"{site}/chats.jsonl?key=hidden", "columns": {"messages": "messages"}}
    run = a_run(tmp_path, base, rows)
    prepare.run(run)
    [pin] = rundir.read_json(run.dir.pins)["datasets"]
    assert (pin["file"], pin["sha256"]) == ("chats.jsonl", rundir.file_sha256(tmp_path / "chats.jsonl"))
    assert not [path for path in run.dir.root.rglob("*") if path.is_file() and "hidden" in path.read_text()]


@pytest.mark.parametrize(
    "own, keys",
    [(False, {"system": "Be calm."}), (True, {}), (True, {"max_tokens": 900})],
    ids=["the recipe's", "a row's", "a row's, met when its tokens are counted"],
)
def test_a_system_turn_that_the_base_does_not_know_is_refused_before_anything_is_written(
    tmp_path: Path, gemma2: Path, own: bool, keys: dict[str, Any]
) -> None:
    rows = [*CHATS, {"messages": [BESIDE, *CHATS[0]["messages"]]}] if own else CHATS
    source = {"source": jsonl(tmp_path / "chats.jsonl", rows), "columns": {"messages": "messages"}, **keys}
    run = a_run(tmp_path, gemma2, source)
    with pytest.raises(UserError, match="set data.system_in: user") as error:
        prepare.run(run)
    assert "secret" not in str(error.value)
    assert not run.dir.data.exists()

    run = a_run(tmp_path, gemma2, {**source, "system_in": "user"})
    assert prepare.run(run)["counts"]["sft_train"] == len(rows)
    assert {turn["role"] for row in rows_in(run, "sft_train") for turn in row["prompt"]} == {"user"}


def test_the_report_says_that_a_teachers_texts_are_not_yet_counted(tmp_path: Path, base: Path) -> None:
    run = a_run(tmp_path, base, mixture(tmp_path), augment={})
    prepare.run(run)
    assert TEACHER_WRITES in (run.dir.data / "report.txt").read_text()


def test_another_max_length_is_in_the_report_although_the_rows_are_not_prepared_again(
    tmp_path: Path, base: Path
) -> None:
    run = a_run(tmp_path, base, mixture(tmp_path), dpo={"max_length": 20})
    rundir.write_json(run.dir.report_file("prepare"), {"results": prepare.run(run)})
    run.recipe = run.recipe.model_copy(update={"dpo": run.recipe.dpo.model_copy(update={"max_length": 30})})
    training.report_rows(run)
    report = (run.dir.data / "report.txt").read_text()
    assert "max_length 30" in report and "max_length 20" not in report


def test_a_teachers_answers_are_not_trained_on_once_the_recipe_has_no_teacher(tmp_path: Path, base: Path) -> None:
    run = a_run(tmp_path, base, mixture(tmp_path), augment={})
    prepare.run(run)
    row = {**rows_in(run, "sft_train")[0], "completion": [{"role": "assistant", "content": "the teacher's"}]}
    rundir.write_text(run.dir.augmented / "sft_train.jsonl", json.dumps(row) + "\n")
    assert training.rows(run, "sft", "train")["completion"] == [row["completion"]]
    run.recipe = run.recipe.model_copy(update={"augment": None})
    assert training.rows(run, "sft", "train").to_list() == rows_in(run, "sft_train")
