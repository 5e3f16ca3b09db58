"""What changes and what was: preupload, commit, history, tags, branches."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from localpsych_recipes.local_hub import cards, gitfiles, tree
from localpsych_recipes.local_hub.names import file_path, ref_name, sha256_name
from localpsych_recipes.local_hub.store import Repo
from localpsych_recipes.local_hub.tree import Delete, File, Put
from localpsych_recipes.local_hub.wire import Refusal, Request, Response, json_object, page_of, revision_not_found

if TYPE_CHECKING:
    from localpsych_recipes.local_hub.server import LocalHub

COMMIT_LIMIT = 2**30  # bytes of one commit's body: the Hub takes no more than 1 GB of regular content
LINE_LIMIT = 64 * 2**20  # bytes of one line of it: one regular file in base64
_POINTER_START = b"version https://git-lfs.github.com/spec/"


def preupload(hub: LocalHub, request: Request) -> Response:
    payload, repo = request.json(), request.repo
    files = repo.commit(request.parts["rev"]).files
    rules = payload.get("gitIgnore") or repo.text(files, ".gitignore")
    attributes = repo.text(files, ".gitattributes")
    return Response({"files": [_advice(files, attributes, str(rules), asked) for asked in _asked_files(payload)]})


def _asked_files(payload: dict[str, Any]) -> list[dict[str, Any]]:
    asked = payload.get("files")
    if not isinstance(asked, list) or not all(isinstance(f, dict) and isinstance(f.get("size"), int) for f in asked):
        raise Refusal(400, "files must be a list of {path, sample, size}")
    return asked


def _advice(files: tree.Files, attributes: str, rules: str, asked: dict[str, Any]) -> dict[str, Any]:
    """How to upload one file, and what is at its path already: without that oid a client would commit it again."""
    path = file_path(asked.get("path"))
    lfs = gitfiles.is_lfs(attributes, path, asked["size"], _decoded(asked.get("sample", "")))
    advice = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": gitfiles.ignored(rules, path)}
    return {**advice, "oid": files[path].content_name} if path in files else advice


def commit(hub: LocalHub, request: Request) -> Response:
    repo, lines = request.repo, _lines(request)
    first = next(lines, {})
    header = first.get("value")
    if first.get("key") != "header" or not isinstance(header, dict):
        raise Refusal(400, "A commit begins with its header")
    operations = [_operation(repo, line) for line in lines]
    with repo.lock:
        reference, oid = _commit(repo, request, header, operations)
    url = f"{request.base}/{repo.address}"
    pull_request = {"pullRequestUrl": f"{url}/discussions/{reference.rpartition('/')[2]}"} if _wants_pr(request) else {}
    return Response({"success": True, "commitOid": oid, "commitUrl": f"{url}/commit/{oid}", **pull_request})


def _commit(repo: Repo, request: Request, header: dict[str, Any], operations: list[Put | Delete]) -> tuple[str, str]:
    """Returns the ref that was moved and the new commit's oid; 412 if the ref is not at the parent that was named."""
    source = repo.branch(request.parts["rev"])
    head, parent = repo.resolve(source), str(header.get("parentCommit") or "").lower()
    if parent and not head.startswith(parent):  # the client documents shortened oids
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = _with_attributes(repo, tree.apply(repo.commit(head).files, operations))
    reference = _next_pull_request(repo) if _wants_pr(request) else source
    title, message = str(header.get("summary") or ""), str(header.get("description") or "")
    return reference, repo.write_commit(reference, head, files, request.account.name, title, message)


def _with_attributes(repo: Repo, files: dict[str, File]) -> dict[str, File]:
    """The files with a .gitattributes that covers every LFS file among them, as the Hub sees to by itself."""
    attributes = repo.text(files, ".gitattributes")
    complete = gitfiles.track(attributes, sorted(path for path, file in files.items() if file.sha256))
    return files if complete == attributes else {**files, ".gitattributes": repo.put(complete.encode())}


def _wants_pr(request: Request) -> bool:
    return request.query.get("create_pr") == "1"


def _next_pull_request(repo: Repo) -> str:
    return f"refs/pr/{1 + sum(name.startswith('refs/pr/') for name in repo.state.refs)}"


def _lines(request: Request) -> Iterator[dict[str, Any]]:
    """The objects of an application/x-ndjson body, one line in memory at a time."""
    if request.length > COMMIT_LIMIT:
        raise Refusal(413, f"A commit may hold {COMMIT_LIMIT} bytes; this one holds {request.length}")
    while line := request.body.readline(LINE_LIMIT):
        if len(line) == LINE_LIMIT:
            raise Refusal(413, f"A regular file may hold {LINE_LIMIT} bytes in base64; upload it by LFS")
        if line.strip():
            yield json_object(line)


def _operation(repo: Repo, line: dict[str, Any]) -> Put | Delete:
    key, value = line.get("key"), line.get("value")
    if not isinstance(key, str) or key not in _OPERATIONS or not isinstance(value, dict):
        raise Refusal(400, f"A commit's line is one of {', '.join(_OPERATIONS)}, not {key!r}")
    return _OPERATIONS[key](repo, file_path(str(value.get("path", "")).removesuffix("/")), value)


def _put_regular(repo: Repo, path: str, value: dict[str, Any]) -> Put:
    if value.get("encoding") != "base64":
        raise Refusal(400, "A regular file is encoded as base64")
    content = _decoded(value.get("content"))
    if content.startswith(_POINTER_START):
        raise Refusal(400, f"{path!r} is an LFS pointer sent as a regular file; upload the object itself")
    errors = cards.problems(content.decode("utf-8", "replace"))[0] if path == "README.md" else []
    if errors:
        raise Refusal(400, f"Invalid metadata in README.md: {errors[0]}")
    return Put(path, repo.put(content))


def _put_lfs(repo: Repo, path: str, value: dict[str, Any]) -> Put:
    sha256 = sha256_name(value.get("oid"))
    if not repo.lfs(sha256).exists():
        raise Refusal(400, f"The LFS pointer {path!r} points to a file that does not exist: {sha256}")
    return Put(path, tree.lfs_file(sha256, repo.lfs(sha256).stat().st_size))


def _delete(repo: Repo, path: str, value: dict[str, Any]) -> Delete:
    return Delete(path)


def _delete_folder(repo: Repo, path: str, value: dict[str, Any]) -> Delete:
    return Delete(path, folder=True)


_OPERATIONS = {"file": _put_regular, "lfsFile": _put_lfs, "deletedFile": _delete, "deletedFolder": _delete_folder}


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "This is not base64") from None


def history(hub: LocalHub, request: Request) -> Response:
    commits = [
        {"id": commit.oid, "title": commit.title, "message": commit.message, "date": commit.date,
         "authors": [{"user": commit.author}]}
        for commit in request.repo.history(request.parts["rev"])
    ]  # fmt: skip
    page, headers = page_of(request, commits, hub.page_size)
    return Response(page, headers=headers)


def refs(hub: LocalHub, request: Request) -> Response:
    known = request.repo.state.refs

    def below(prefix: str) -> list[dict[str, str]]:
        names = [name for name in sorted(known) if name.startswith(prefix)]
        return [{"name": name.removeprefix(prefix), "ref": name, "targetCommit": known[name]} for name in names]

    pull_requests = {"pullRequests": below("refs/pr/")} if "include_prs" in request.query else {}
    return Response({"branches": below("refs/heads/"), "converts": [], "tags": below("refs/tags/"), **pull_requests})


def create_tag(hub: LocalHub, request: Request) -> Response:
    return _add_ref(request.repo, "tag", ref_name(request.json().get("tag")), request.parts["rev"])


def create_branch(hub: LocalHub, request: Request) -> Response:
    start = request.json().get("startingPoint") or "main"
    return _add_ref(request.repo, "branch", ref_name(request.parts["ref"]), start)


def _add_ref(repo: Repo, what: str, name: str, revision: str) -> Response:
    full_name = f"refs/{'tags' if what == 'tag' else 'heads'}/{name}"
    with repo.lock:
        commit, known = repo.resolve(str(revision)), repo.state.refs
        if full_name in known:
            raise Refusal(409, f"{what.capitalize()} {name!r} already exists")
        repo.change(refs={**known, full_name: commit})
    return Response({"name": name, "ref": full_name, "targetCommit": commit})


def delete_tag(hub: LocalHub, request: Request) -> Response:
    return _remove_ref(request.repo, f"refs/tags/{request.parts['ref']}")


def delete_branch(hub: LocalHub, request: Request) -> Response:
    if request.parts["ref"] == "main":
        raise Refusal(403, "The branch main cannot be deleted")
    return _remove_ref(request.repo, f"refs/heads/{request.parts['ref']}")


def _remove_ref(repo: Repo, full_name: str) -> Response:
    with repo.lock:
        known = repo.state.refs
        if full_name not in known:
            raise revision_not_found(full_name)
        repo.change(refs={name: commit for name, commit in known.items() if name != full_name})
    return Response("OK")
