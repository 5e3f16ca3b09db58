"""Reading: listings of a commit's files, and downloads with ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from localpsych_recipes.local_hub import tree
from localpsych_recipes.local_hub.names import file_path
from localpsych_recipes.local_hub.store import Commit, Repo
from localpsych_recipes.local_hub.wire import Refusal, Request, Response, entry_not_found, page_of

if TYPE_CHECKING:
    from localpsych_recipes.local_hub.server import LocalHub


def listing(hub: LocalHub, request: Request) -> Response:
    commit = request.repo.commit(request.parts["rev"])
    folder = file_path(request.parts["path"]) if request.parts.get("path") else ""
    entries = tree.listing(commit.files, folder, _is_true(request.query.get("recursive")))
    page, headers = page_of(request, entries, hub.page_size)
    return Response(_expanded(request.repo, commit, page, request.query.get("expand")), headers=headers)


def paths_info(hub: LocalHub, request: Request) -> Response:
    form = request.form()
    commit = request.repo.commit(request.parts["rev"])
    entries = tree.entries(commit.files, form.get("paths", []))
    return Response(_expanded(request.repo, commit, entries, form.get("expand", [None])[0]))


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true")


def _expanded(repo: Repo, commit: Commit, entries: list[dict[str, Any]], wanted: str | None) -> list[dict[str, Any]]:
    """The entries with the commit that changed each last, if that is wanted."""
    if not _is_true(wanted):
        return entries
    changed = _last_changes(list(repo.history(commit.oid)))
    return [{**entry, "lastCommit": _summary(changed[entry["path"]])} for entry in entries]


def _summary(commit: Commit) -> dict[str, str]:
    return {"id": commit.oid, "title": commit.title, "date": commit.date}


def _last_changes(newest_first: list[Commit]) -> dict[str, Commit]:
    result: dict[str, Commit] = {}
    before: tree.Files = {}
    for commit in reversed(newest_first):
        changed = {path for path, _ in before.items() ^ commit.files.items()}
        result.update({path: commit for path in _with_folders(changed)})
        before = commit.files
    return result


def _with_folders(paths: Iterable[str]) -> set[str]:
    return {str(entry) for path in paths for entry in (PurePosixPath(path), *PurePosixPath(path).parents)}


def resolve(hub: LocalHub, request: Request) -> Response:
    """The bytes of a file. Never a redirect: on the same origin the client wants X-Repo-Commit from its last hop."""
    repo, path = request.repo, file_path(request.parts["path"])
    commit = repo.commit(request.parts["rev"])
    revision = {"X-Repo-Commit": commit.oid}
    if path not in commit.files:
        missing = entry_not_found(path)
        missing.headers = revision  # lets the client remember that the file is absent at this commit
        raise missing
    file = commit.files[path]
    return _ranged(request, repo, file, {**revision, **_file_headers(file)})


def _file_headers(file: tree.File) -> dict[str, str]:
    plain = {"ETag": f'"{file.content_name}"', "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
    linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)} if file.sha256 else {}
    return {**plain, **linked, "Content-Type": "application/octet-stream"}


def _ranged(request: Request, repo: Repo, file: tree.File, headers: dict[str, str]) -> Response:
    content = repo.content(file)
    span = _range(request.headers.get("Range"), file.size)
    if span is None:
        return Response(headers=headers, file=content, length=file.size)
    start, end = span
    headers = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{file.size}"}
    return Response(status=206, headers=headers, file=content, start=start, length=end - start)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span of a Range header, None for the whole file (RFC 9110, 14.2: ignored if not understood)."""
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", header or "", re.ASCII)
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        refusal = Refusal(416, "The range lies outside the file")
        refusal.headers = {"Content-Range": f"bytes */{size}"}
        raise refusal
    return start, end
