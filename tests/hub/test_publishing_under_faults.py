"""Whatever happens to one request of a publish: it is done after patience, or ends in one message; never by halves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from embedded_hub import TOKENS
from faulty_hub import (
    Answer,
    Action,
    corrupted,
    cut_answer,
    cut_request,
    edited,
    lost_after,
    lost_before,
    meanwhile,
    stalled,
    status,
)
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from localpsych_recipes import hub as door
from localpsych_recipes.errors import UserError

FILES = {
    "README.md": b"---\nlicense: mit\n---\n# A card\n",
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 40,
}
# every call of a publish, in order
CALLS = {
    "information": "GET /api/models/alice/[^/]+$",
    "create": "POST /api/repos/create",
    "refs": "GET .*/refs",
    "tree": "GET .*/tree/",
    "card": "POST /api/validate-yaml",
    "preupload": "POST .*/preupload/",
    "batch": "POST .*/objects/batch",
    "object": "PUT .*/lfs-object/",
    "verify": "POST .*/lfs-verify/",
    "commit": "POST .*/commit/",
    "tag": "POST .*/tag/",
}
# what passes: the publish is done all the same
PASSING: dict[str, Action] = {
    "429": status(429, Retry_After="30"),
    "500": status(500),
    "503": status(503),
    "lost before": lost_before,
    "lost after": lost_after,
    "cut request": cut_request,
    "cut answer": cut_answer,
    "corrupted": corrupted,
}
# what does not, and may end in a message; some of it the client or we know to be no refusal
LASTING: dict[str, Action] = {str(code): status(code) for code in (401, 403, 404, 409, 412)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "release").mkdir(exist_ok=True)
        (tmp_path / "release" / name).write_bytes(content)
    return tmp_path / "release"


def publish(folder: Path, repo: str) -> door.Published:
    return door.publish(repo, door.local_files(folder), private=True, message="Release", tag="v1", say=str)


def refuse_halves(direct: HfApi, repo: str) -> bool:
    """Whether the release is there; not if only a part of it is, or anybody else can see it."""
    try:
        info = direct.model_info(repo)
    except RepositoryNotFoundError:
        return False
    assert info.private
    names = {sibling.rfilename for sibling in info.siblings}
    assert names in ({".gitattributes"}, {".gitattributes", *FILES}), names
    there = names != {".gitattributes"}
    assert all(tag.target_commit == info.sha and there for tag in direct.list_repo_refs(repo).tags)
    return there


def assert_whole(direct: HfApi, repo: str) -> None:
    """As an undisturbed publish leaves it: its one commit, its files, its tag."""
    assert refuse_halves(direct, repo)
    assert len(direct.list_repo_commits(repo)) == 2 and len(direct.list_repo_refs(repo).tags) == 1
    for entry in direct.get_paths_info(repo, list(FILES)):
        content = FILES[entry.path]
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        assert hashlib.sha256(content).hexdigest() == entry.lfs.sha256 if entry.lfs else git == entry.blob_id


@pytest.mark.parametrize("fault", PASSING | LASTING)
def test_a_fault_of_one_request_leaves_no_half_and_the_same_command_completes(faulty, direct, folder, fault) -> None:
    for call, pattern in CALLS.items():
        repo = f"alice/under-{call}"
        injected = faulty.inject((PASSING | LASTING)[fault], pattern)
        try:
            publish(folder, repo)
            done = ""
        except UserError as error:
            done = str(error)
        assert injected.left == 0, f"{call} was never asked"
        assert refuse_halves(direct, repo) or done, (call, done)
        assert not done or fault in LASTING, (call, done)
        assert publish(folder, repo).files == len(FILES)
        assert_whole(direct, repo)


@pytest.mark.parametrize("call", ["information", "batch", "commit", "tag"])
def test_a_hub_that_falls_silent_is_asked_again(faulty, impatient, direct, folder, call) -> None:
    faulty.inject(stalled, CALLS[call])
    assert publish(folder, "alice/release").changed and faulty.outwaited == []
    assert_whole(direct, "alice/release")


@pytest.mark.parametrize("fault", ["429", "503", "lost after", "cut request"])
@pytest.mark.parametrize("call", ["create", "object", "commit", "tag"])
def test_a_fault_that_stays_ends_in_one_message_and_no_half(faulty, direct, folder, call, fault) -> None:
    injected = faulty.inject(PASSING[fault], CALLS[call], times=10**6)
    try:
        publish(folder, "alice/release")
        assert fault == "lost after"  # what was done is seen, though nobody says so
    except UserError:
        assert injected.left < 10**6 and refuse_halves(direct, "alice/release") in (False, call == "tag")
    faulty.calm()
    publish(folder, "alice/release")
    assert_whole(direct, "alice/release")


@pytest.mark.parametrize("token", [TOKENS["alice"], "a-mirrors-own-token"], ids=["of the Hub", "of a mirror"])
def test_a_hub_that_says_the_token_back_is_not_quoted(faulty, folder, monkeypatch, token) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    said = f"Bearer {token} may not do that"

    def edit(answer: Answer) -> None:
        answer.status, answer.body = 418, json.dumps({"error": said}).encode()
        answer.headers |= {"X-Error-Message": said, "Content-Type": "application/json"}

    faulty.inject(edited(edit), ".*", times=1000)
    with pytest.raises(UserError, match="status 418 .*may not do that") as refused:
        publish(folder, "alice/release")
    assert token not in str(refused.value)


@pytest.mark.parametrize("call", ["object", "commit"])
def test_somebody_elses_commit_in_between_is_kept_and_said(faulty, direct, folder, call) -> None:
    def theirs() -> None:
        direct.create_commit("alice/release", [CommitOperationAdd("theirs.txt", b"theirs")], commit_message="theirs")

    faulty.inject(meanwhile(theirs), CALLS[call])
    with pytest.raises(UserError, match="another commit, [0-9a-f]{12}, arrived"):
        publish(folder, "alice/release")
    assert set(direct.list_repo_files("alice/release")) == {".gitattributes", "theirs.txt"}
    assert direct.list_repo_refs("alice/release").tags == []
    assert publish(folder, "alice/release").changed
    assert set(direct.list_repo_files("alice/release")) == {".gitattributes", *FILES}


def test_a_repository_that_is_made_public_meanwhile_is_named_and_gets_no_tag(faulty, direct, folder) -> None:
    faulty.inject(meanwhile(lambda: direct.update_repo_settings("alice/release", private=False)), CALLS["commit"])
    with pytest.raises(UserError, match="push.private: true, but alice/release is public"):
        publish(folder, "alice/release")
    assert direct.list_repo_refs("alice/release").tags == []
