"""A request as the routes read it, a response as they give it, and the Hub's way of refusing."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import parse_qs, urlencode

if TYPE_CHECKING:
    from localpsych_recipes.local_hub.accounts import Account
    from localpsych_recipes.local_hub.store import Repo

JSON_LIMIT = 16 * 2**20  # bytes; the client's largest, 256 files asked about in one preupload, stays under 1 MiB

FIELDS_LIMIT = 10_000  # of a form; each is a path that is asked about


class Refusal(Exception):
    """An answer of 4xx. `code` is the Hub's X-Error-Code, from which the client picks its exception class."""

    def __init__(self, status: int, message: str, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.details = status, message, code, details
        self.headers: dict[str, str] = {}

    def response(self) -> Response:
        headers = {**self.headers, "X-Error-Message": self.message.replace("\n", " ")}
        if self.code:
            headers["X-Error-Code"] = self.code
        return Response({"error": self.message, **self.details}, status=self.status, headers=headers)


def repo_not_found() -> Refusal:
    """The same for a repository that is not there and one that the caller may not see."""
    return Refusal(404, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> Refusal:
    return Refusal(404, f"Invalid rev id: {revision!r}", "RevisionNotFound")


def entry_not_found(path: str) -> Refusal:
    return Refusal(404, f"{path!r} does not exist on this revision", "EntryNotFound")


@dataclass
class Response:
    """`payload` goes out as JSON, or the bytes of `file` from `start` on, `length` of them."""

    payload: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    file: Path | None = None
    start: int = 0
    length: int = 0

    def body(self) -> bytes:
        return json.dumps(self.payload, default=str).encode()


@dataclass
class Request:
    """One request. `target` is the raw path with its query; `base` the server's URL as this client wrote it."""

    method: str
    target: str
    base: str
    headers: Message
    body: Body
    parts: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    _repo: Repo | None = None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(self.target.partition("?")[2]).items()}

    @property
    def repo(self) -> Repo:
        assert self._repo is not None, "this route stands in ROUTES without an access that finds its repository"
        return self._repo

    @property
    def length(self) -> int:
        return self.body.length

    def content(self, limit: int = JSON_LIMIT) -> bytes:
        """The whole body, refused with 413 above `limit` bytes."""
        if self.length > limit:
            raise Refusal(413, f"This request may hold {limit} bytes; it holds {self.length}")
        return self.body.read()

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        return json_object(self.content() or b"{}")

    def form(self) -> dict[str, list[str]]:
        try:
            return parse_qs(self.content().decode("utf-8", "replace"), max_num_fields=FIELDS_LIMIT)
        except ValueError:
            raise Refusal(413, f"A form may hold {FIELDS_LIMIT} fields") from None


def json_object(text: bytes) -> dict[str, Any]:
    """One JSON object, or a refusal with 400."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(400, "The body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The body must be a JSON object")
    return value


class Body(io.BufferedReader):
    """The `length` bytes of one request's body; reading stops there, and raises ConnectionError if fewer come."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self.length, self._source = length, _Counted(stream, length)
        super().__init__(self._source, 2**16)

    @property
    def unread(self) -> int:
        return self._source.left


class _Counted(io.RawIOBase):
    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream, self.left = stream, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.left)
        count = self._stream.readinto(memoryview(buffer)[:wanted]) if wanted else 0
        if count < wanted:
            raise ConnectionError("the client stopped in the middle of a body")
        self.left -= count
        return count


def page_of(request: Request, items: list[Any], size: int) -> tuple[list[Any], dict[str, str]]:
    """The page that `?cursor=` names and the Link header that leads to the next one."""
    cursor = request.query.get("cursor", "0")
    start = int(cursor) if re.fullmatch(r"\d{1,18}", cursor, re.ASCII) else 0
    if start + size >= len(items):
        return items[start:], {}
    query = urlencode({**request.query, "cursor": start + size})
    return items[start : start + size], {"Link": f'<{request.base}{request.path}?{query}>; rel="next"'}
