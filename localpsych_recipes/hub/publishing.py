"""A folder -> one atomic commit with its card, checked afterwards by what the Hub says it holds, and its tag.

Never `upload_folder`: it makes several commits of a large folder, and repeats one whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub.account import PUSH_KEYS, refuse_other_visibility, refuse_taken_tag
from localpsych_recipes.hub.checking import blob_id
from localpsych_recipes.hub.client import PASSING, Say, api, patiently, status_of
from localpsych_recipes.hub.failures import explained
from localpsych_recipes.hub.reading import Kind
from localpsych_recipes.progress import amount
from localpsych_recipes.rundir import file_sha256

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import RepoFile

HUBS_OWN = ".gitattributes"  # the Hub makes it and keeps it up to date
CARD = "README.md"


@dataclass(frozen=True)
class Published:
    """changed: whether a commit was made. files and bytes count what the repository holds."""

    repo_id: str
    url: str
    commit: str
    changed: bool
    files: int
    bytes: int


@dataclass(frozen=True)
class LocalFile:
    """A file to publish, and its names in the Hub's two ways of storing one."""

    path: Path

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.path)

    @cached_property
    def blob_id(self) -> str:
        return blob_id(self.path)

    def equals(self, remote: RepoFile) -> bool:
        return self.sha256 == remote.lfs.sha256 if remote.lfs else self.blob_id == remote.blob_id


@dataclass(frozen=True)
class Remote:
    """What the Hub says of a repository: its newest commit, the files there, and the commits of its tags."""

    repo_id: str
    repo_type: Kind
    private: bool
    head: str
    files: Mapping[str, RepoFile]
    tags: Mapping[str, str]


def publish(
    repo_id: str,
    local: Mapping[str, LocalFile],
    *,
    repo_type: Kind = "model",
    private: bool,
    message: str,
    tag: str,
    say: Say,
) -> Published:
    """Makes the repository hold exactly these files, as of `local_files`, in one commit, tagged; no commit if it does
    already.

    A repository that is not there is created, and is not written to unless it is as private as asked. UserError if
    that fails, if somebody else commits meanwhile, or if `tag` stands at other files.
    """
    with explained(repo_id, PUSH_KEYS[repo_type]):
        before = patiently(lambda: opened(repo_id, repo_type, private), say)
        after = patiently(lambda: _brought(local, before, message, tag, say), say, passing=PASSING | {409, 412})
        _verify(local, after, private)
        patiently(lambda: _tagged(after, tag, message), say)
    size = sum(file.path.stat().st_size for file in local.values())
    url = f"{api().endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
    return Published(repo_id, url, after.head, after.head != before.head, len(local), size)


def local_files(folder: Path, without: Collection[str] = ()) -> dict[str, LocalFile]:
    """The files below a folder by their paths in the repository, but for those `without`. UserError without a card."""
    found = {p.relative_to(folder).as_posix(): LocalFile(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    found.pop(HUBS_OWN, None)
    if CARD not in found:
        raise UserError(
            f"{folder.name} has no {CARD}", "a card beside the files", "run the recipe with --from card --force"
        )
    return {path: file for path, file in found.items() if path not in without}


def opened(repo_id: str, repo_type: Kind, private: bool) -> Remote:
    """The repository as it is, created if need be. UserError if it is not as private as asked."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        remote = read(repo_id, repo_type)
    except RepositoryNotFoundError:
        api().create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        remote = read(repo_id, repo_type)
        if private and not remote.private:
            raise UserError(
                f"{repo_id} was created public although private was asked; no file was uploaded",
                "a private repository",
                "make it private in its settings on the Hub, or delete it and set push.namespace to another owner",
            ) from None
    refuse_other_visibility(repo_id, repo_type, remote.private, private)
    return remote


def read(repo_id: str, repo_type: Kind) -> Remote:
    """A fresh reading of the main branch; nothing of it comes from a cache."""
    info = api().repo_info(repo_id, repo_type=repo_type)
    refs = api().list_repo_refs(repo_id, repo_type=repo_type)
    tree = api().list_repo_tree(repo_id, repo_type=repo_type, recursive=True, revision=info.sha)
    files = {entry.path: entry for entry in tree if hasattr(entry, "blob_id") and entry.path != HUBS_OWN}
    tags = {ref.name: ref.target_commit for ref in refs.tags}
    return Remote(repo_id, repo_type, bool(info.private), info.sha, files, tags)


def _brought(local: Mapping[str, LocalFile], before: Remote, message: str, tag: str, say: Say) -> Remote:
    """One attempt at the commit. It begins with a fresh reading, which shows whether an earlier attempt, whose answer
    was lost, has done it, or whether somebody else has committed."""
    now = read(before.repo_id, before.repo_type)
    changed, stale = differences(local, now)
    _refuse_moved_tag(now, tag, bool(changed or stale))
    if not changed and not stale:
        return now
    if now.head != before.head:
        raise UserError(
            f"{now.repo_id}: another commit, {now.head[:12]}, arrived while this one was made",
            f"nobody else at work there (its head was {before.head[:12]})",
            "look at that commit; the same command again replaces what it did",
        )
    size = sum(local[path].path.stat().st_size for path in changed)
    say(f"      {now.repo_id}: {len(changed)} files to upload, {amount(size, 'bytes')}, {len(stale)} to remove")
    operations = _operations(local, changed, stale)
    api().create_commit(
        now.repo_id, operations, repo_type=now.repo_type, commit_message=message, parent_commit=now.head
    )
    return read(now.repo_id, now.repo_type)


def differences(local: Mapping[str, LocalFile], remote: Remote) -> tuple[list[str], list[str]]:
    """Paths that the repository lacks or holds otherwise, and paths that only it has."""
    changed = [p for p, file in local.items() if p not in remote.files or not file.equals(remote.files[p])]
    return changed, [p for p in remote.files if p not in local]


def _operations(
    local: Mapping[str, LocalFile], changed: list[str], stale: list[str]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """New objects for every attempt: the client marks those of a commit as used up."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    additions = [CommitOperationAdd(path, local[path].path) for path in changed]
    return additions + [CommitOperationDelete(path, is_folder=False) for path in stale]


def _refuse_moved_tag(remote: Remote, tag: str, differs: bool) -> None:
    at = remote.tags.get(tag)
    if at is not None and (differs or at != remote.head):
        refuse_taken_tag(remote.repo_id, tag, at)


def _verify(local: Mapping[str, LocalFile], remote: Remote, private: bool) -> None:
    changed, stale = differences(local, remote)
    if changed or stale:
        raise UserError(
            f"{remote.repo_id}: the Hub does not hold what was sent: {', '.join((changed + stale)[:5])}",
            "the checksums of this machine's files",
            "run the same command again; the files here are whole",
        )
    refuse_other_visibility(remote.repo_id, remote.repo_type, remote.private, private)


def _tagged(remote: Remote, tag: str, message: str) -> None:
    """Tags the release; a tag that is there already, made by an attempt whose answer was lost, must be at it."""
    from huggingface_hub.errors import HfHubHTTPError

    if remote.tags.get(tag) == remote.head:
        return
    try:
        api().create_tag(remote.repo_id, repo_type=remote.repo_type, tag=tag, tag_message=message, revision=remote.head)
    except HfHubHTTPError as error:
        if status_of(error) != 409:
            raise
        _refuse_moved_tag(replace(read(remote.repo_id, remote.repo_type), head=remote.head), tag, differs=False)
