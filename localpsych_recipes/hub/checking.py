"""What comes from the Hub is looked at before anything is made from it: the names that a commit lists, and the content.

The client compares a download's size alone, and trusts its cache. The cache names every blob by what it holds: an LFS
file by its SHA-256, any other by git's SHA-1 of a blob. A file that was looked at is not read again while size and time
of change stay; that record lies in the cache beside the snapshot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from localpsych_recipes.errors import UserError

MOST_FILES = 200_000  # of one commit that are fetched; the largest bases have some hundred, datasets tens of thousands
LONGEST_NAME = 1024  # characters
LONGEST_PART = 255  # bytes between two slashes: what Linux's and macOS' file systems take
FOLDS_CASE = sys.platform in ("darwin", "win32")  # where two names that differ in case are one file
_BLOCK = 2**20
Seen = dict[str, list[int]]
_looked_at: dict[Path, Seen] = {}  # by this process, in a cache that takes no record too


def refuse_names(repo_id: str, names: Iterable[str]) -> None:
    """UserError for what cannot be, or must not be, the names of files here."""
    folded: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if number > MOST_FILES:
            raise _refused(
                f"more than {MOST_FILES:,} files to fetch", "a repository that holds one model, or one dataset"
            )
        if not _is_name(name):
            raise _refused(f"{repo_id} lists a file named {_shown(name)}", "names that lie below its own folder")
        if FOLDS_CASE and (other := folded.setdefault(name.casefold(), name)) != name:
            given = f"{repo_id} lists {_shown(other)} and {_shown(name)}, which are one file on this machine"
            raise _refused(given, "names that differ in more than case")


def _is_name(name: str) -> bool:
    parts = name.split("/")
    drive = re.match("[A-Za-z]:", name)
    if len(name) > LONGEST_NAME or drive or "\\" in name or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return False
    return not any(p in ("", ".", "..") or len(p.encode()) > LONGEST_PART for p in parts)


def _shown(name: str) -> str:
    return ascii(name if len(name) < 80 else name[:60] + "...")


def _refused(given: str, expected: str) -> UserError:
    return UserError(given, expected, "choose another repository or revision; nothing of this one was fetched")


def remove_damaged(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of a snapshot's files that do not hold what their names in the cache say; they are removed from it.

    names: of the files to look at, below `folder`. UserError for a link that leads out of the cache.
    """
    record = folder.parent.parent / "checked" / f"{folder.name}.json"
    seen, now, damaged = {**_read(record), **_looked_at.get(record, {})}, {}, []
    for name in names:
        path = folder / name
        _refuse_outside(path, folder)
        state = _state(path)
        if state is not None and (seen.get(name) == state or _is_whole(path)):
            now[name] = state
        else:
            damaged.append(name)
            _remove(path)
    if any(seen.get(name) != state for name, state in now.items()):
        _looked_at[record] = {**seen, **now}
        _write(record, _looked_at[record])
    return damaged


def present(folder: Path) -> Iterator[str]:
    """The names of all files and links below a snapshot; no link to a folder is followed."""
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        yield from (Path(root, name).relative_to(folder).as_posix() for name in sorted(files + links))


def blob_id(path: Path) -> str:
    """Git's SHA-1 of a blob: of "blob LENGTH", a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether a file holds what the name of its blob says. A cache without links has no such names."""
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    try:
        if re.fullmatch("[0-9a-f]{64}", name):
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == name
        if not re.fullmatch("[0-9a-f]{40}", name) or blob_id(path) == name:
            return True
        with path.open("rb") as file:  # mirrors name a file by its content alone
            return hashlib.file_digest(file, "sha1").hexdigest() == name
    except OSError:  # a disk that cannot read its own sectors
        return False


def _refuse_outside(path: Path, folder: Path) -> None:
    # a whole cache, a repository in it or its blobs may lie on another disk, by a link that its owner has made
    repository = folder.parents[1]
    homes = (repository.parent.resolve(), repository.resolve(), (repository / "blobs").resolve())
    if not any(path.resolve().is_relative_to(home) for home in homes):
        raise UserError(
            f"{path.relative_to(folder)} in the Hub's cache is a link that leads out of it",
            "files of the repository alone",
            f"look at who made it, then delete {folder}",
        )


def _state(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:  # a link to nothing
        return None
    return [found.st_size, found.st_mtime_ns]


def _remove(path: Path) -> None:
    blob = path.resolve()
    path.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


def _read(record: Path) -> Seen:
    try:
        found = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(record: Path, seen: Seen) -> None:
    """Kept if it can be: in a cache that is read-only, the files are read again by the next run."""
    try:
        record.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=record.parent, delete=False) as file:
            json.dump(seen, file)
        os.chmod(file.name, 0o644)  # others of a shared cache read it too
        os.replace(file.name, record)
    except OSError:
        pass
