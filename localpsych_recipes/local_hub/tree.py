"""The files of one commit as a mapping from path to File, and what can be done with it; nothing here touches a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from localpsych_recipes.local_hub.wire import Refusal, entry_not_found

_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"


class File(NamedTuple):
    """`oid` is git's name of the blob (for an LFS file: of its pointer), `size` the bytes of the file itself."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def content_name(self) -> str:
        """What a client compares with its own copy: the sha256 of an LFS file, git's name of any other."""
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Put:
    path: str
    file: File


@dataclass(frozen=True)
class Delete:
    path: str
    folder: bool = False


Files = Mapping[str, File]


def git_oid(content: bytes) -> str:
    """git's name of a blob: sha1 over `blob <bytes>\\0` and the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_file(sha256: str, size: int) -> File:
    """An LFS file as git sees it: the pointer, by the git-lfs specification."""
    return File(git_oid(_pointer(sha256, size)), size, sha256)


def _pointer(sha256: str, size: int) -> bytes:
    return _POINTER.format(sha256=sha256, size=size).encode()


def apply(files: Files, operations: Iterable[Put | Delete]) -> dict[str, File]:
    """The files after a commit's operations, taken in order; a path cannot be a file and a folder at once (400)."""
    result = dict(files)
    for operation in operations:
        if isinstance(operation, Put):
            result[operation.path] = operation.file
        else:
            _remove(result, operation)
    clash = _folders(result).keys() & result.keys()
    if clash:
        raise Refusal(400, f"{min(clash)!r} would be a file and a folder at once")
    return result


def _remove(files: dict[str, File], operation: Delete) -> None:
    prefix = operation.path + "/"
    doomed = [path for path in files if path.startswith(prefix)] if operation.folder else [operation.path]
    if not doomed or any(path not in files for path in doomed):
        raise entry_not_found(operation.path)
    for path in doomed:
        del files[path]


def _folders(files: Files) -> dict[str, str]:
    """Every folder's path and a name for its content that changes whenever a file below it does."""
    below: dict[str, Any] = {}
    for path in sorted(files):
        for end in (at for at, letter in enumerate(path) if letter == "/"):
            below.setdefault(path[:end], hashlib.sha1()).update(f"{path[end:]}\0{files[path].oid}\0".encode())
    return {folder: digest.hexdigest() for folder, digest in below.items()}


def listing(files: Files, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """The entries in `folder` ("" is the root), by path, as the Hub's tree route shows them; 404 if it is not there."""
    folders = _folders(files)
    if folder and folder not in folders:
        raise entry_not_found(folder)
    prefix = folder + "/" if folder else ""
    inside = [path for path in {**folders, **files} if path.startswith(prefix)]
    shown = [path for path in inside if recursive or "/" not in path[len(prefix) :]]
    return [entry for path in sorted(shown) if (entry := _entry(files, folders, path))]


def entries(files: Files, paths: Iterable[str]) -> list[dict[str, Any]]:
    """The named files and folders, as the Hub's paths-info route shows them; absent ones are left out."""
    folders = _folders(files)
    return [entry for path in paths if (entry := _entry(files, folders, path.strip("/")))]


def _entry(files: Files, folders: Mapping[str, str], path: str) -> dict[str, Any] | None:
    if path in folders:
        return {"type": "directory", "path": path, "oid": folders[path], "size": 0}
    if path not in files:
        return None
    file = files[path]
    lfs = {"lfs": lfs_details(file, "oid")} if file.sha256 else {}
    return {"type": "file", "path": path, "size": file.size, "oid": file.oid, **lfs}


def lfs_details(file: File, name: str) -> dict[str, Any]:
    """The `lfs` member of an entry; the tree route calls the sha256 `oid`, the information route `sha256`."""
    assert file.sha256 is not None
    return {name: file.sha256, "size": file.size, "pointerSize": len(_pointer(file.sha256, file.size))}
