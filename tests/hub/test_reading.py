"""What a revision is and under which licence, and which files of it are fetched, once."""

from __future__ import annotations

import errno

import pytest
from embedded_hub import LOST, TOKENS, alice, failing, hub, status  # noqa: F401  hub and alice are fixtures
from huggingface_hub import CommitOperationAdd, HfApi, constants

from localpsych_recipes import hub as door
from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import reading

MODEL = {
    "config.json": "{}",
    "README.md": "---\nlicense: mit\n---\n",
    "model.safetensors": b"weights",
    "chat_template.jinja": "{{ messages }}",
    "tokenizer.json": "{}",
    "pytorch_model.bin": b"pickled",
    "model.gguf": b"GGUF",
    "original/model.safetensors": b"weights",
    "training.pt": b"pickled",
}


def upload(api: HfApi, repo: str, files: dict[str, str | bytes], **options) -> str:
    api.create_repo(repo, exist_ok=True, **options)
    contents = {path: c.encode() if isinstance(c, str) else c for path, c in files.items()}
    operations = [CommitOperationAdd(path, content) for path, content in contents.items()]
    return api.create_commit(repo, operations, commit_message="files", repo_type=options.get("repo_type")).oid


def test_a_pin_is_the_commit_and_the_licence_there(alice) -> None:
    first = upload(alice, "alice/base", {"README.md": "---\nlicense: gemma\n---\n"})
    upload(alice, "alice/base", {"README.md": "---\nlicense: mit\n---\n"})
    alice.create_tag("alice/base", tag="old", revision=first)
    assert (pin := door.pin("alice/base", "model", "old")).commit == first and pin.license == "gemma"
    assert door.pin("alice/base", "model", None).license == "mit"


def test_another_licence_keeps_its_name_and_link(alice) -> None:
    card = "---\nlicense: other\nlicense_name: qwen-research\nlicense_link: LICENSE\n---\n"
    commit = upload(alice, "alice/rows", {"README.md": card}, repo_type="dataset", private=True)
    assert door.pin("alice/rows", "dataset", None) == door.Pin(
        "alice/rows", "dataset", commit, "other", "qwen-research", "LICENSE", private=True, gated=False
    )


def test_no_licence_is_none(alice) -> None:
    upload(alice, "alice/base", {"config.json": "{}"})
    assert door.pin("alice/base", "model", None).license is None


def test_only_safetensors_and_what_belongs_to_them_are_fetched_and_once(alice, hub) -> None:
    commit, said = upload(alice, "alice/base", MODEL), []
    folder = door.snapshot("alice/base", commit, say=said.append)
    fetched = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert fetched == {"config.json", "README.md", "model.safetensors", "chat_template.jinja", "tokenizer.json"}
    hub.close()
    assert door.snapshot("alice/base", commit, say=said.append) == folder
    assert len(said) == 1


def test_a_cached_model_needs_no_connection_and_keeps_its_pin(alice, monkeypatch) -> None:
    commit = upload(alice, "alice/base", MODEL)
    folder = door.snapshot("alice/base", commit, say=str)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert door.snapshot("alice/base", commit, say=str) == folder
    assert (pin := door.pin("alice/base", "model", commit)).commit == commit and pin.license == "mit"
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        door.pin("alice/other", "model", None)


def test_a_shard_that_is_missing_in_the_cache_is_fetched(alice) -> None:
    shards = {f"model-0000{n}-of-00002.safetensors": f"shard {n}" for n in (1, 2)}
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    commit = upload(alice, "alice/base", {"model.safetensors.index.json": index, **shards})
    folder = door.snapshot("alice/base", commit, say=str)
    (folder / "model-00002-of-00002.safetensors").unlink()
    again = door.snapshot("alice/base", commit, say=str)
    assert (again / "model-00002-of-00002.safetensors").read_text() == "shard 2"


def test_a_model_without_safetensors_is_refused(alice) -> None:
    commit = upload(alice, "alice/base", {"config.json": "{}", "pytorch_model.bin": b"pickled"})
    with pytest.raises(UserError, match="safetensors"):
        door.snapshot("alice/base", commit, say=str)


def test_failures_say_what_to_do(alice, hub) -> None:
    upload(alice, "alice/base", {"config.json": "{}"})
    with pytest.raises(UserError, match="base.model: the Hub has no alice/nothing"):
        door.pin("alice/nothing", "model", None)
    with pytest.raises(UserError, match="data.source: alice/base has no such revision|data.source: the Hub has no"):
        door.pin("alice/base", "dataset", "v9")
    with pytest.raises(UserError, match="no such revision"):
        door.pin("alice/base", "model", "v9")
    with pytest.raises(UserError, match="not an id of the Hub"):
        door.pin("not an id", "model", None)
    hub.close()
    with pytest.raises(UserError, match="check the connection"):
        door.pin("alice/base", "model", None)


def test_a_download_outlives_a_busy_hub_and_says_when_there_is_none(alice, hub, monkeypatch) -> None:
    commit, said = upload(alice, "alice/base", MODEL), []
    failing(monkeypatch, "list_repo_tree", status(503), LOST)
    assert (door.snapshot("alice/base", commit, say=said.append) / "model.safetensors").exists()
    assert [line for line in said if "trying again" in line] and len(said) == 3
    hub.close()
    with pytest.raises(UserError, match="check the connection"):
        door.snapshot("alice/base", "0" * 40, say=str)


def test_a_gated_model_says_where_its_terms_are_accepted(alice, hub, monkeypatch) -> None:
    commit = upload(alice, "alice/base", MODEL)
    alice.update_repo_settings("alice/base", gated="auto")
    monkeypatch.setenv("HF_TOKEN", TOKENS["bob"])
    with pytest.raises(UserError, match="gated.*\n.*\n.*accept its terms"):
        door.snapshot("alice/base", commit, say=str)


def test_a_full_disk_is_said(alice, monkeypatch) -> None:
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    commit = upload(alice, "alice/base", MODEL)
    monkeypatch.setattr(reading, "_cached", lambda *arguments: None)
    monkeypatch.setattr(reading, "_fetch", full)
    with pytest.raises(UserError, match="disk is full"):
        door.snapshot("alice/base", commit, say=str)
