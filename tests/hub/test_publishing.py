"""A release goes up once, whole, as private as asked and tagged, whatever happens to the answers on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from embedded_hub import LOST, TOKENS, alice, bob, failing, hub, status  # noqa: F401  hub, alice and bob are fixtures
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from localpsych_recipes import hub as door
from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import client
from localpsych_recipes.hub.publishing import LocalFile
from localpsych_recipes.local_hub import LocalHub

REPO = "alice/release"
CARD = "---\nlicense: mit\n---\n# A card\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "sub" / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def publish(hub: LocalHub, folder: Path, said: list[str]) -> Callable[..., door.Published]:
    def call(repo: str = REPO, *, private: bool = True, tag: str = "v0.1.0", **how: str) -> door.Published:
        files = door.local_files(folder)
        return door.publish(repo, files, private=private, message="Release", tag=tag, say=said.append, **how)

    return call


def commits(api: HfApi) -> list[str]:
    return [commit.commit_id for commit in api.list_repo_commits(REPO)]


def test_a_release_is_one_commit_with_its_card_in_a_private_tagged_repository(publish, alice, folder) -> None:
    alice.create_repo(REPO, private=True)
    before = commits(alice)
    published = publish()
    assert published.changed and published.files == 3
    assert published.bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert commits(alice) == [published.commit, *before]
    assert published.url.endswith("/" + REPO) and alice.model_info(REPO).private
    assert {t.name: t.target_commit for t in alice.list_repo_refs(REPO).tags} == {"v0.1.0": published.commit}
    for path in ("README.md", "sub/config.json", "model.safetensors"):
        assert Path(alice.hf_hub_download(REPO, path)).read_bytes() == (folder / path).read_bytes()


def test_a_dataset_is_published_as_one_with_the_same_care(publish, alice, folder, monkeypatch) -> None:
    failing(monkeypatch, "create_repo", LOST, after=True)
    failing(monkeypatch, "create_commit", LOST, after=True)
    failing(monkeypatch, "create_tag", LOST, after=True)
    published = publish(repo_type="dataset")
    assert published.url.endswith(f"/datasets/{REPO}") and not alice.repo_exists(REPO)
    info = alice.dataset_info(REPO)
    assert info.private and info.sha == published.commit
    tags = alice.list_repo_refs(REPO, repo_type="dataset").tags
    assert [(tag.name, tag.target_commit) for tag in tags] == [("v0.1.0", published.commit)]
    assert not publish(repo_type="dataset").changed
    (folder / "README.md").write_text(CARD + "changed")
    with pytest.raises(UserError, match="raise `version`"):
        publish(repo_type="dataset")


def test_a_dataset_that_is_public_is_refused_and_left_alone(publish, alice) -> None:
    alice.create_repo(REPO, repo_type="dataset", private=False)
    with pytest.raises(UserError, match="push.pairs: the dataset alice/release is public"):
        publish(repo_type="dataset")
    assert alice.list_repo_files(REPO, repo_type="dataset") == [".gitattributes"]


def test_publishing_again_makes_no_commit(publish, alice) -> None:
    first = publish()
    again = publish()
    assert not again.changed and again.commit == first.commit
    assert commits(alice)[0] == first.commit


def test_files_that_are_gone_here_go_there_and_gitattributes_stays(publish, alice, folder) -> None:
    publish()
    (folder / "sub" / "config.json").unlink()
    publish(tag="v0.2.0")
    assert sorted(alice.list_repo_files(REPO)) == [".gitattributes", "README.md", "model.safetensors"]


def test_a_private_repository_is_not_there_for_others(publish, bob) -> None:
    publish()
    with pytest.raises(RepositoryNotFoundError):
        bob.model_info(REPO)


def test_a_repository_with_another_visibility_is_refused_and_left_alone(publish, alice) -> None:
    alice.create_repo(REPO, private=False)
    before = commits(alice)
    with pytest.raises(UserError, match="push.private: true, but alice/release is public"):
        publish()
    assert commits(alice) == before and not alice.model_info(REPO).private


def test_nothing_goes_up_to_a_repository_that_became_public_at_its_creation(publish, alice, monkeypatch) -> None:
    create = HfApi.create_repo
    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo, **options: create(self, repo, private=False))
    with pytest.raises(UserError, match="created public although private was asked"):
        publish()
    assert alice.list_repo_files(REPO) in ([], [".gitattributes"])


def test_a_public_release_is_public(publish, bob) -> None:
    publish(private=False)
    assert "README.md" in bob.list_repo_files(REPO)


def test_a_tag_at_another_commit_is_refused_before_anything_is_sent(publish, alice, folder) -> None:
    publish()
    (folder / "README.md").write_text(CARD + "changed")
    before = commits(alice)
    with pytest.raises(UserError, match="raise `version`"):
        publish()
    assert commits(alice) == before


def test_a_tag_is_not_moved_over_a_commit_that_came_later(publish, alice, folder) -> None:
    publish()
    alice.create_commit(REPO, [CommitOperationAdd("note.txt", b"by hand")], commit_message="by hand")
    with pytest.raises(UserError, match="raise `version`"):
        publish()
    assert "note.txt" in alice.list_repo_files(REPO)


@pytest.mark.parametrize("outcome", [LOST, status(504), httpx2.ReadTimeout("slow")])
def test_an_answer_lost_after_the_commit_leads_to_one_commit(publish, alice, monkeypatch, outcome) -> None:
    alice.create_repo(REPO, private=True)
    before = commits(alice)
    failing(monkeypatch, "create_commit", outcome, after=True)
    published = publish()
    assert commits(alice) == [published.commit, *before] and published.changed


def test_an_answer_lost_after_the_tag_or_the_creation_does_no_harm(publish, alice, monkeypatch) -> None:
    failing(monkeypatch, "create_repo", LOST, after=True)
    failing(monkeypatch, "create_tag", LOST, after=True)
    published = publish()
    assert [t.target_commit for t in alice.list_repo_refs(REPO).tags] == [published.commit]


def test_a_busy_hub_is_asked_again_and_the_wait_is_said(publish, said, monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(client.time, "sleep", waits.append)
    monkeypatch.setattr(client, "PAUSES", (3.0,) * 5)
    uploading = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    uploading.__cause__ = status(503)
    outcomes = status(429), uploading, httpx2.ConnectError("refused")
    failing(monkeypatch, "create_commit", *outcomes)
    assert publish().changed
    assert waits == [3.0, 3.0, 3.0]
    assert any("status 429; trying again in 3 s" in line for line in said)


def test_patience_ends(publish, monkeypatch) -> None:
    failing(monkeypatch, "create_commit", *[status(503)] * 6)
    with pytest.raises(UserError, match="status 503"):
        publish()


def test_an_answer_that_repeats_the_token_does_not_show_it(publish, monkeypatch) -> None:
    refusal = status(418)
    refusal.server_message = f"no {{commits}} with {TOKENS['alice']}"
    failing(monkeypatch, "create_commit", refusal)
    with pytest.raises(UserError, match=r"status 418 no \{commits\} with hf_\*\*\*") as error:
        publish()
    assert TOKENS["alice"] not in str(error.value)


def test_somebody_elses_commit_in_between_is_not_overwritten(publish, alice, monkeypatch) -> None:
    alice.create_repo(REPO, private=True)
    create = HfApi.create_commit

    def late(self, *arguments, **options):
        if options["commit_message"] == "Release":
            create(alice, REPO, [CommitOperationAdd("theirs.txt", b"theirs")], commit_message="theirs")
        return create(self, *arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", late)
    with pytest.raises(UserError, match="another commit, [0-9a-f]{12}, arrived"):
        publish()
    assert "theirs.txt" in alice.list_repo_files(REPO)


def test_what_the_hub_holds_is_compared_with_what_was_sent(publish, monkeypatch) -> None:
    create = HfApi.create_commit

    def damaged(self, repo, operations, **options):
        kept = [o for o in operations if o.path_in_repo != "sub/config.json"]
        return create(self, repo, [*kept, CommitOperationAdd("sub/config.json", b"{broken}")], **options)

    monkeypatch.setattr(HfApi, "create_commit", damaged)
    with pytest.raises(UserError, match="does not hold what was sent: sub/config.json"):
        publish()


def test_a_folder_without_a_card_is_not_published(publish, folder, alice) -> None:
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match="no README.md"):
        publish()
    assert not alice.repo_exists(REPO)


def test_a_card_that_the_hub_refuses_says_why(publish, folder, alice) -> None:
    (folder / "README.md").write_text("---\nlicense: no-such-licence\n---\n")
    with pytest.raises(UserError, match="no-such-licence"):
        publish()
    assert "model.safetensors" not in alice.list_repo_files(REPO)


def test_a_blob_has_gits_own_name(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"what is up, doc?")
    # the example of the book Pro Git, "Git Objects"
    assert LocalFile(tmp_path / "file").blob_id == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    assert LocalFile(tmp_path / "file").sha256 == hashlib.sha256(b"what is up, doc?").hexdigest()
