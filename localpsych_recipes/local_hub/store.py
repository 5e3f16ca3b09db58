"""What lies on disk. All is written beside its place and renamed, the branch's head last: a commit is whole or absent.

ROOT/models/alice/name/     (datasets/ and spaces/ likewise)
    repo.json               private, gated, created, and every branch, tag and pull request with its commit
    commits/<oid>.json      one commit: parent, author, title, every path with its blob; named by its own sha1
    blobs/<git oid>         regular files
    lfs/<sha256>            LFS objects, per repository, so that a missing upload shows
    uploads/                objects still on their way; emptied when the hub starts
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from localpsych_recipes.local_hub.gitfiles import DEFAULT_ATTRIBUTES
from localpsych_recipes.local_hub.names import URL_PREFIXES, is_oid, is_repo_id
from localpsych_recipes.local_hub.tree import File, Files, git_oid
from localpsych_recipes.local_hub.wire import Refusal, repo_not_found, revision_not_found


@dataclass(frozen=True)
class State:
    """A repository's settings and refs: full names (refs/heads/main) to commits."""

    private: bool
    created: str
    gated: str | bool = False
    refs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    author: str
    date: str
    title: str
    message: str
    files: dict[str, File]


def now() -> str:
    """The time in the only form that the Hub's client can read, e.g. 2026-01-31T12:00:00.000Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Repo:
    """One repository's folder. `lock` is held by whoever reads its state in order to write it."""

    def __init__(self, folder: Path, kind: str, id: str, lock: threading.RLock) -> None:
        self.folder, self.kind, self.id, self.lock = folder, kind, id, lock

    @property
    def address(self) -> str:
        """Its path on the server, e.g. datasets/alice/name."""
        return URL_PREFIXES[self.kind] + self.id

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def state(self) -> State:
        try:
            return State(**json.loads((self.folder / "repo.json").read_bytes()))
        except FileNotFoundError:  # deleted by another request since this one found it
            raise repo_not_found() from None

    def change(self, **fields: object) -> None:
        """Write settings or refs; the caller holds the lock."""
        state = asdict(replace(self.state, **fields))
        _write(self.folder / "repo.json", json.dumps(state, indent=1).encode())

    def resolve(self, revision: str) -> str:
        """The commit that a branch, a tag, a full ref or a commit's own name stands for; 404 if none."""
        refs = self.state.refs
        for name in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if name in refs:
                return refs[name]
        if is_oid(revision) and (self.folder / "commits" / f"{revision}.json").exists():
            return revision
        raise revision_not_found(revision)

    def branch(self, revision: str) -> str:
        """The full ref that a commit to `revision` moves; 404 if it is no branch or pull request."""
        for name in (f"refs/heads/{revision}", revision):
            if name in self.state.refs and not name.startswith("refs/tags/"):
                return name
        raise revision_not_found(revision)

    def commit(self, revision: str) -> Commit:
        """The commit with all of its files; 404 if the revision is not there."""
        oid = self.resolve(revision)
        saved = json.loads((self.folder / "commits" / f"{oid}.json").read_bytes())
        return Commit(**{**saved, "oid": oid, "files": {path: File(*file) for path, file in saved["files"].items()}})

    def history(self, revision: str) -> Iterator[Commit]:
        """This commit and its ancestors, the newest first."""
        next_one: str | None = revision
        while next_one is not None:
            commit = self.commit(next_one)
            yield commit
            next_one = commit.parent

    def write_commit(
        self, ref: str, parent: str | None, files: Files, author: str, title: str, message: str = ""
    ) -> str:
        """Make a commit and point `ref` at it; the caller holds the lock. Returns its oid."""
        saved = {"parent": parent, "author": author, "date": now(), "title": title, "message": message, "files": files}
        text = json.dumps(saved, sort_keys=True).encode()
        oid = hashlib.sha1(text).hexdigest()
        _write(self.folder / "commits" / f"{oid}.json", text)
        self.change(refs={**self.state.refs, ref: oid})
        return oid

    def put(self, content: bytes) -> File:
        """Keep the content of a regular file."""
        file = File(git_oid(content), len(content))
        if not self.content(file).exists():
            _write(self.content(file), content)
        return file

    def content(self, file: File) -> Path:
        return self.lfs(file.sha256) if file.sha256 else self.folder / "blobs" / file.oid

    def lfs(self, sha256: str) -> Path:
        return self.folder / "lfs" / sha256

    def upload(self, name: str) -> Path:
        return self.folder / "uploads" / name

    def text(self, files: Files, path: str) -> str:
        """A small text file of a commit, empty if it is absent or an LFS file."""
        file = files.get(path)
        return "" if file is None or file.sha256 else self.content(file).read_text("utf-8", "replace")


class Store:
    """All repositories under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: defaultdict[tuple[str, str], threading.RLock] = defaultdict(threading.RLock)
        _sweep(root)

    def repo(self, kind: str, id: str) -> Repo:
        """An existing repository; 404 otherwise, also for an id that could not exist."""
        if not is_repo_id(id) or not (self._folder(kind, id) / "repo.json").exists():
            raise repo_not_found()
        return self._repo(kind, id)

    def create(self, kind: str, id: str, private: bool, author: str) -> Repo | None:
        """A new repository with its first commit, or None if there is one of that name already."""
        if not is_repo_id(id):
            raise Refusal(400, f"{id!r} is not a valid repository id")
        with self._locks[kind, id], _staging(self.root) as staging:
            self._first_commit(Repo(staging, kind, id, threading.RLock()), private, author)
            return self._repo(kind, id) if _rename_new(staging, self._folder(kind, id)) else None

    def delete(self, repo: Repo) -> None:
        with repo.lock, _staging(self.root) as staging:
            os.rename(repo.folder, staging / "deleted")

    def _first_commit(self, repo: Repo, private: bool, author: str) -> None:
        for folder in ("commits", "blobs", "lfs", "uploads"):
            (repo.folder / folder).mkdir()
        _write(repo.folder / "repo.json", json.dumps(asdict(State(private, now()))).encode())
        files = {".gitattributes": repo.put(DEFAULT_ATTRIBUTES.encode())}
        repo.write_commit("refs/heads/main", None, files, author, "initial commit")

    def _repo(self, kind: str, id: str) -> Repo:
        return Repo(self._folder(kind, id), kind, id, self._locks[kind, id])

    def _folder(self, kind: str, id: str) -> Path:
        return self.root / kind / id


def _sweep(root: Path) -> None:
    """Remove what a killed hub left unfinished; nothing refers to it."""
    for unfinished in [*root.glob("*/*/*/uploads/*"), *root.glob("*/*/*/**/.new-*")]:
        unfinished.unlink(missing_ok=True)
    for folder in root.glob(".staging-*"):
        shutil.rmtree(folder)


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rename_new(source: Path, target: Path) -> bool:
    """Rename a folder unless the target is there; False if it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(source, target)  # refuses a target that is not empty, and a repository never is
    except OSError:
        if target.exists():
            return False
        raise
    return True


def _write(path: Path, content: bytes) -> None:
    with written_beside(path) as file:
        file.write(content)


@contextmanager
def written_beside(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once the block has ended, on disk before it does; nothing if it raises."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
