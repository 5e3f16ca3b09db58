"""What comes from the Hub is what was put there, byte for byte, or one message says that it cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faulty_hub import (
    Action,
    Answer,
    corrupted,
    cut_answer,
    edited,
    lost_after,
    lost_before,
    stalled,
    status,
)
from huggingface_hub import CommitOperationAdd, HfApi, constants

from localpsych_recipes import hub as door
from localpsych_recipes.data import sources
from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import answers, checking, facts
from localpsych_recipes.recipe import Source

REPO = "alice/base"
FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": bytes(range(256)) * 40,
    "README.md": b"---\nlicense: mit\n---\n",
    "recipe.yaml": b"name: calm\n",
}
# every call of a download, in order
CALLS = {
    "information": "GET /api/models/.*/revision/",
    "tree": "GET .*/tree/",
    "head of a small file": "HEAD .*/config.json",
    "head of a large file": "HEAD .*/model.safetensors",
    "small file": "GET .*/config.json",
    "large file": "GET .*/model.safetensors",
}


def without_its_end(answer: Answer) -> None:
    answer.body = answer.body[:-1]


FAULTS: dict[str, Action] = {
    "one byte less": edited(without_its_end),
    "429": status(429, Retry_After="30"),
    "500": status(500),
    "503": status(503),
    "lost before": lost_before,
    "lost after": lost_after,
    "cut answer": cut_answer,
    "corrupted": corrupted,
    **{str(code): status(code) for code in (401, 403, 404, 409)},
}
REFUSED = {"401", "403", "404", "409"}


@pytest.fixture
def commit(direct: HfApi) -> str:
    return upload(direct, REPO)


def upload(api: HfApi, repo: str, files: dict[str, bytes] = FILES) -> str:
    api.create_repo(repo, exist_ok=True)
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(repo, operations, commit_message="files").oid


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


MODEL = {name: content for name, content in FILES.items() if name != "recipe.yaml"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_one_request_gives_the_true_files_or_one_message(faulty, direct, tmp_path, fault) -> None:
    for call, pattern in CALLS.items():
        repo = f"alice/under-{call.replace(' ', '-')}"
        commit = upload(direct, repo)
        injected = faulty.inject(FAULTS[fault], pattern)
        try:
            assert held(door.snapshot(repo, commit, say=str)) == MODEL
        except UserError:
            assert fault in REFUSED, call
        assert injected.left == 0, f"{call} was never asked"
        assert held(door.snapshot(repo, commit, say=str)) == MODEL


@pytest.mark.parametrize("call", ["information", "tree", "head of a small file", "large file"])
def test_a_hub_that_falls_silent_is_left_after_the_limit(faulty, impatient, commit, call) -> None:
    faulty.inject(stalled, CALLS[call])
    assert held(door.snapshot(REPO, commit, say=str)) == MODEL
    assert faulty.outwaited == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_always_comes_corrupted_is_never_given_out(faulty, commit, name) -> None:
    said: list[str] = []
    faulty.inject(corrupted, f"GET .*/{name}", times=100)
    with pytest.raises(UserError, match=f"{name} damaged, on the way here"):
        door.snapshot(REPO, commit, say=said.append)
    assert sum("fetching anew" in line for line in said) == 2
    faulty.calm()
    assert held(door.snapshot(REPO, commit, say=str)) == MODEL


def flip(path: Path) -> None:
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink], ids=["flipped", "truncated", "gone"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_bad_file_of_the_cache_is_found_and_fetched_anew(faulty, commit, monkeypatch, name, damage) -> None:
    said: list[str] = []
    folder = door.snapshot(REPO, commit, say=str)
    damage((folder / name).resolve())
    assert held(door.snapshot(REPO, commit, say=said.append)) == MODEL
    assert said and (damage is Path.unlink or f"{name} damaged" in said[0])
    damage((folder / name).resolve())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        door.snapshot(REPO, commit, say=str)


def test_a_file_is_read_once_and_not_at_every_start(faulty, commit, monkeypatch) -> None:
    folder = door.snapshot(REPO, commit, say=str)
    monkeypatch.setattr("localpsych_recipes.hub.checking._is_whole", lambda path: pytest.fail(f"{path} is read again"))
    asked = len(faulty.asked)
    assert door.snapshot(REPO, commit, say=str) == folder and len(faulty.asked) == asked


def test_a_file_put_into_the_cache_by_others_is_looked_at_before_its_first_use(faulty, commit) -> None:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(REPO, revision=commit))
    flip((folder / "config.json").resolve())
    assert held(door.snapshot(REPO, commit, say=str)) == {".gitattributes": held(folder)[".gitattributes"], **FILES}


@pytest.mark.parametrize("moved", ["repository", "blobs"])
def test_a_part_of_the_cache_may_lie_on_another_disk(faulty, commit, tmp_path, moved) -> None:
    folder = door.snapshot(REPO, commit, say=str)
    place = folder.parents[1] if moved == "repository" else folder.parents[1] / "blobs"
    place.rename(tmp_path / "another-disk")
    place.symlink_to(tmp_path / "another-disk")
    (tmp_path / "another-disk" / "checked" / f"{commit}.json").unlink(missing_ok=True)
    assert held(door.snapshot(REPO, commit, say=str)) == held(folder)


def test_no_link_of_the_cache_leads_out_of_it(faulty, commit, tmp_path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = door.snapshot(REPO, commit, say=str)
    (folder / "generation_config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UserError, match="generation_config.json in the Hub's cache is a link that leads out"):
        door.snapshot(REPO, commit, say=str)
    (folder / "generation_config.json").unlink()
    (folder / "sub").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out"):
        door.snapshot(REPO, commit, allow=("*",), say=str)


@pytest.mark.parametrize("fault", [status(503), status(401), lost_before], ids=["503", "401", "lost"])
def test_no_old_copy_passes_for_what_the_hub_says_now(faulty, direct, commit, fault) -> None:
    assert door.recipe_file(REPO, None).read_bytes() == FILES["recipe.yaml"]
    door.snapshot(REPO, commit, say=str)
    newer = upload(direct, REPO, {"recipe.yaml": b"name: newer\n"})
    faulty.inject(fault, ".*", times=100)
    for question in (lambda: door.recipe_file(REPO, None), lambda: door.pin(REPO, "model", None)):
        with pytest.raises(UserError):
            question()
    faulty.calm()
    assert door.recipe_file(REPO, None).read_bytes() == b"name: newer\n"
    assert door.pin(REPO, "model", None).commit == newer


def test_offline_a_recipe_is_as_the_hub_last_gave_it(faulty, commit, monkeypatch) -> None:
    path = door.recipe_file(REPO, None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert door.recipe_file(REPO, None) == path


@pytest.mark.parametrize("header", ["Retry-After", "RateLimit"])
def test_a_pause_that_the_hub_asks_for_is_said_made_once_and_has_an_end(faulty, commit, waits, header) -> None:
    said: list[str] = []
    asks = {"Retry-After": "30", "RateLimit": '"api";r=0;t=29'}
    faulty.inject(status(429, **{header: asks[header]}), "HEAD .*")
    door.snapshot(REPO, commit, say=said.append)
    assert waits.count(30.0) == 1 and max(waits) == 30.0
    assert [line.strip() for line in said][1:] == ["waiting 30 s: the Hub asks for it"]
    said.clear(), waits.clear()
    faulty.inject(status(503, **{"Retry-After": "86400"}), "POST .*/preupload/")
    local = {"README.md": door.LocalFile(door.files(REPO, commit, ("README.md",)) / "README.md")}
    door.publish("alice/other", local, private=True, message="m", tag="v1", say=said.append)
    assert max(waits) == answers.LONGEST_PAUSE and any("waiting 330 s" in line for line in said)


def renamed(name: str, *more: str) -> Action:
    """A tree that lists README.md by another name."""

    def edit(answer: Answer) -> None:
        entries = json.loads(answer.body)
        file = next(entry for entry in entries if entry["path"] == "README.md")
        entries += [{**file, "path": path} for path in (name, *more)]
        answer.body = json.dumps(entries).encode()

    return edited(edit)


HOSTILE = {
    "above": "../x.json",
    "far above": "a/../../../../x.json",
    "absolute": "/etc/x.json",
    "Windows": "C:\\x.json",
    "drive": "C:x.json",
    "backslash": "a\\..\\..\\x.json",
    "NUL": "a\0b.json",
    "newline": "a\nb.json",
    "escape": "\x1b[2J.json",
    "surrogate": "\ud800.json",
    "empty part": "a//x.json",
    "dot": "./x.json",
    "long": "a" * 4096 + ".json",
    "long part": "a/" + "b" * 300 + ".json",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_name_that_is_none_is_refused_before_anything_is_written(faulty, commit, tmp_path, name) -> None:
    faulty.inject(renamed(name), "GET .*/tree/", times=100)
    before = {path for path in tmp_path.rglob("*") if "hub" not in path.relative_to(tmp_path).parts}
    with pytest.raises(UserError, match="lists a file named"):
        door.snapshot(REPO, commit, say=str)
    after = {path for path in tmp_path.rglob("*") if "hub" not in path.relative_to(tmp_path).parts}
    assert {p for p in after - before if p.is_file() and not p.is_relative_to(tmp_path / "cache")} == set()
    assert not [p for p in after if p.name.endswith("x.json")] and not Path("/etc/x.json").exists()


def test_names_that_are_one_on_other_machines_and_names_without_end_are_refused(faulty, commit, monkeypatch) -> None:
    faulty.inject(renamed("Config.json"), "GET .*/tree/")
    monkeypatch.setattr(checking, "FOLDS_CASE", True)
    with pytest.raises(UserError, match="which are one file on this machine"):
        door.snapshot(REPO, commit, say=str)
    faulty.inject(renamed("0.json", *(f"{n}.json" for n in range(1, 1_000))), "GET .*/tree/")
    monkeypatch.setattr(checking, "MOST_FILES", 500)
    with pytest.raises(UserError, match="more than 500 files"):
        door.snapshot(REPO, commit, say=str)


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag", "X-Repo-Commit"])
@pytest.mark.parametrize("value", ["../../../../evil", "/{folder}/evil", "..", "a\\b"])
def test_no_header_makes_the_client_write_elsewhere(faulty, commit, tmp_path, header, value) -> None:
    value = value.format(folder=str(tmp_path).lstrip("/"))
    faulty.inject(edited(lambda answer: answer.headers.update({header: f'"{value}"'})), "HEAD .*", times=100)
    with pytest.raises(UserError, match="does not name its files as the Hub does"):
        door.snapshot(REPO, commit, say=str)
    assert not [path for path in tmp_path.rglob("evil*")]


@pytest.mark.parametrize("question", [
    lambda: door.pin(REPO, "model", None), lambda: door.files(REPO, None, ("*.json",)), lambda: door.recipe_file(REPO, None),
    lambda: facts.config_folder(REPO, None),
], ids=["pin", "files", "recipe_file", "config_folder"])  # fmt: skip
@pytest.mark.parametrize("sha", ["../../../../evil", None, 5, "main"])
def test_a_commit_that_is_no_commit_is_refused(faulty, commit, tmp_path, question, sha) -> None:
    def edit(answer: Answer) -> None:
        answer.body = json.dumps({**json.loads(answer.body), "sha": sha}).encode()

    faulty.inject(edited(edit), "GET /api/models/", times=100)
    with pytest.raises(UserError, match="names no commit"):
        question()
    assert not [path for path in tmp_path.rglob("evil*")]


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"{}", b"[]", b"null", b'{"id": "a/b"', b"\xff", b""])
def test_an_answer_of_another_form_is_one_message(faulty, commit, body) -> None:
    faulty.inject(edited(lambda answer: setattr(answer, "body", body)), "GET /api/", times=100)
    for question in (lambda: door.pin(REPO, "model", None), lambda: door.snapshot(REPO, commit, say=str), door.whoami):
        with pytest.raises(UserError):
            question()


@pytest.fixture
def rows(direct, faulty, tmp_path, monkeypatch) -> Source:
    """A dataset on the Hub, to a library that has not seen it."""
    import datasets

    direct.create_repo("alice/rows", repo_type="dataset")
    content = "".join(json.dumps({"prompt": f"{n}", "completion": "x" * 50}) + "\n" for n in range(20)).encode()
    files = [CommitOperationAdd("train.jsonl", content)]
    direct.create_commit("alice/rows", files, commit_message="rows", repo_type="dataset")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", faulty.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return Source(source="alice/rows", columns={"prompt": "prompt", "response": "completion"})


def other_digits(answer: Answer) -> None:
    answer.body = answer.body.replace(b'"1', b'"7')


def test_rows_that_were_changed_on_the_way_are_fetched_anew_or_refused(faulty, rows, tmp_path) -> None:
    faulty.inject(edited(other_digits), "GET .*/resolve/.*train.jsonl", times=100)
    with pytest.raises(UserError, match="train.jsonl damaged"):
        list(sources.read(rows, "train"))
    faulty.calm()
    faulty.inject(edited(other_digits), "GET .*/resolve/.*train.jsonl", times=1)
    assert [row["prompt"] for row in sources.read(rows, "train")] == [str(n) for n in range(20)]
