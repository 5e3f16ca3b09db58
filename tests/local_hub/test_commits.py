"""Commits are whole, guarded by their parent, and not made when nothing changes."""

from __future__ import annotations

import hashlib
import threading

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RemoteEntryNotFoundError, RevisionNotFoundError

REPO = "alice/model"


@pytest.fixture
def repo(alice: HfApi) -> str:
    """The repository's first head."""
    alice.create_repo(REPO)
    return alice.model_info(REPO).sha


def commit(api: HfApi, files: dict[str, bytes], **options) -> str:
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(REPO, operations, commit_message="files", **options).oid


def content(api: HfApi, path: str, tmp_path, **options) -> bytes:
    with open(api.hf_hub_download(REPO, path, cache_dir=tmp_path / "cache", **options), "rb") as file:
        return file.read()


def test_a_new_repository_has_one_commit_with_the_attributes_of_lfs_files(alice, repo) -> None:
    assert alice.list_repo_files(REPO) == [".gitattributes"]
    assert [entry.commit_id for entry in alice.list_repo_commits(REPO)] == [repo]


def test_the_same_files_again_make_no_new_commit(alice, repo) -> None:
    files = {"config.json": b"{}", "model.safetensors": bytes(2000), "large.gguf": bytes(250_000)}
    first = commit(alice, files)
    assert commit(alice, files) == first
    assert commit(alice, {**files, "config.json": b"[]"}) != first


def test_a_commit_on_a_stale_parent_is_refused_with_412(alice, repo) -> None:
    commit(alice, {"a.txt": b"a"}, parent_commit=repo)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        commit(alice, {"b.txt": b"b"}, parent_commit=repo)
    assert error.value.response.status_code == 412
    assert "b.txt" not in alice.list_repo_files(REPO)


def test_of_eight_writers_with_one_parent_exactly_one_lands(alice, repo) -> None:
    outcomes: list[int] = []

    def write(number: int) -> None:
        try:
            commit(alice, {f"{number}.txt": b"x"}, parent_commit=repo)
            outcomes.append(200)
        except HfHubHTTPError as error:
            outcomes.append(error.response.status_code)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(outcomes) == [200] + [412] * 7
    assert len(alice.list_repo_commits(REPO)) == 2


def test_one_commit_adds_copies_and_deletes(alice, repo, tmp_path) -> None:
    commit(alice, {"old/a.txt": b"a", "old/b.txt": b"b", "stale.bin": bytes(10), "weights.bin": b"w" * 5000})
    operations = [
        CommitOperationDelete("old/", is_folder=True),
        CommitOperationDelete("stale.bin"),
        CommitOperationCopy("weights.bin", "copy.bin"),
        CommitOperationAdd("new.txt", b"new"),
    ]
    alice.create_commit(REPO, operations, commit_message="mirror")
    assert alice.list_repo_files(REPO) == [".gitattributes", "copy.bin", "new.txt", "weights.bin"]
    assert content(alice, "copy.bin", tmp_path) == b"w" * 5000


def test_a_commit_with_one_bad_operation_changes_nothing(alice, repo) -> None:
    operations = [CommitOperationAdd("good.txt", b"good"), CommitOperationDelete("absent.txt")]
    with pytest.raises(RemoteEntryNotFoundError):
        alice.create_commit(REPO, operations, commit_message="half")
    assert alice.model_info(REPO).sha == repo
    with pytest.raises(BadRequestError, match="file and a folder"):
        commit(alice, {"a": b"", "a/b": b""})
    assert alice.model_info(REPO).sha == repo


def test_old_commits_stay_readable_by_name_by_tag_and_on_their_branch(alice, repo, tmp_path) -> None:
    first = commit(alice, {"a.txt": b"first"})
    alice.create_tag(REPO, tag="v1")
    alice.create_branch(REPO, branch="dev/x", revision="v1")
    commit(alice, {"a.txt": b"second"})
    commit(alice, {"a.txt": b"on the branch"}, revision="dev/x")
    assert content(alice, "a.txt", tmp_path) == b"second"
    for old in (first, "v1"):
        assert content(alice, "a.txt", tmp_path, revision=old) == b"first"
    assert content(alice, "a.txt", tmp_path, revision="dev/x") == b"on the branch"


def test_tags_branches_and_repositories_that_exist_are_refused_with_409(alice, repo) -> None:
    alice.create_tag(REPO, tag="v1")
    alice.create_branch(REPO, branch="dev")
    for again in (
        lambda exist_ok: alice.create_tag(REPO, tag="v1", exist_ok=exist_ok),
        lambda exist_ok: alice.create_branch(REPO, branch="dev", exist_ok=exist_ok),
        lambda exist_ok: alice.create_repo(REPO, exist_ok=exist_ok),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            again(False)
        assert error.value.response.status_code == 409
        again(True)


def test_deleted_tags_and_branches_are_gone(alice, repo) -> None:
    alice.create_tag(REPO, tag="v1")
    alice.create_branch(REPO, branch="dev")
    alice.delete_tag(REPO, tag="v1")
    alice.delete_branch(REPO, branch="dev")
    refs = alice.list_repo_refs(REPO)
    assert [branch.name for branch in refs.branches] == ["main"] and refs.tags == []
    with pytest.raises(RevisionNotFoundError):
        alice.model_info(REPO, revision="v1")
    with pytest.raises(HfHubHTTPError):
        alice.delete_branch(REPO, branch="main")


def test_listings_tell_size_checksum_and_last_commit(alice, repo) -> None:
    first = commit(alice, {"sub/a.txt": b"four", "w.bin": b"w" * 300})
    second = commit(alice, {"b.txt": b""})
    listed = alice.get_paths_info(REPO, ["sub", "w.bin", "b.txt", "absent"], expand=True)
    entries = {entry.path: entry for entry in listed}
    changed = {path: entry.last_commit.oid for path, entry in entries.items()}
    assert changed == {"sub": first, "w.bin": first, "b.txt": second}
    siblings = {file.rfilename: file for file in alice.model_info(REPO, files_metadata=True).siblings}
    assert siblings["sub/a.txt"].size == 4
    assert siblings["sub/a.txt"].blob_id == hashlib.sha1(b"blob 4\0four").hexdigest()
    assert siblings["w.bin"].lfs.sha256 == entries["w.bin"].lfs.sha256 == hashlib.sha256(b"w" * 300).hexdigest()


def test_models_datasets_and_spaces_of_one_name_are_three_repositories(alice, repo) -> None:
    dataset = alice.create_repo(REPO, repo_type="dataset")
    space = alice.create_repo(REPO, repo_type="space", space_sdk="static")
    for url in (dataset, space):
        options = {"repo_type": url.repo_type, "commit_message": "one"}
        info = alice.create_commit(REPO, [CommitOperationAdd(f"{url.repo_type}.bin", bytes(50))], **options)
        assert (info.repo_url.repo_type, info.repo_url.repo_id) == (url.repo_type, REPO)
        assert f"{url.repo_type}.bin" in alice.list_repo_files(REPO, repo_type=url.repo_type)
    assert alice.list_repo_files(REPO) == [".gitattributes"]


def test_a_pull_request_leaves_main_alone(alice, repo) -> None:
    info = alice.create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="ask", create_pr=True)
    assert (info.pr_num, info.pr_revision) == (1, "refs/pr/1")
    assert alice.model_info(REPO).sha == repo
    assert alice.file_exists(REPO, "a.txt", revision="refs/pr/1")
    assert alice.list_repo_refs(REPO, include_pull_requests=True).pull_requests[0].target_commit == info.oid


def test_gitignore_is_obeyed_and_other_binary_files_get_an_lfs_line_of_their_own(alice, repo) -> None:
    rules = b"*.log\n!keep.log\nout/\n"
    commit(alice, {".gitignore": rules})
    commit(alice, {"a.log": b"a", "keep.log": b"k", "out/b.txt": b"b", "photo of us.jpg": b"\xff\xd8\xff\0" * 50})
    assert alice.list_repo_files(REPO) == [".gitattributes", ".gitignore", "keep.log", "photo of us.jpg"]
    assert next(iter(alice.get_paths_info(REPO, "photo of us.jpg"))).lfs is not None
    with open(alice.hf_hub_download(REPO, ".gitattributes")) as file:
        assert "photo[[:space:]]of[[:space:]]us.jpg filter=lfs" in file.read()


BAD_CARDS = {
    "broken YAML": "license: [mit",
    "no mapping": "- mit",
    "unknown license": "license: licence",
    "other without a name": "license: other",
    "local base model": "base_model: /home/me/outputs/sft",
    "relative base model": "base_model: ./outputs",
    "local dataset": "datasets: [data/train/rows.jsonl]",
}


@pytest.mark.parametrize("metadata", BAD_CARDS.values(), ids=BAD_CARDS.keys())
def test_a_card_with_bad_metadata_is_refused_before_anything_is_sent(alice, repo, metadata: str) -> None:
    with pytest.raises(ValueError, match="Invalid metadata in README.md"):
        commit(alice, {"README.md": f"---\n{metadata}\n---\n# Card\n".encode()})
    assert alice.model_info(REPO).sha == repo


def test_a_good_card_is_taken_and_shown(alice, repo) -> None:
    lines = ["license: other", "license_name: house", "base_model: google/gemma-4-E4B-it", "datasets: [a/b, gpt2]"]
    card = "\n".join(["---", *lines, "tags: [one]", "pipeline_tag: text-generation", "---", "# Card"])
    commit(alice, {"README.md": card.encode()})
    info = alice.model_info(REPO)
    assert info.card_data.base_model == "google/gemma-4-E4B-it"
    assert (info.pipeline_tag, info.tags) == ("text-generation", ["one", "text-generation", "license:other"])
