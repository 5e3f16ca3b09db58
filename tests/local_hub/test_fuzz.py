"""Whatever arrives at the socket: an answer of 4xx or a closed connection, no traceback, and the hub serves on.

HYPOTHESIS_PROFILE=long tries many more requests.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from huggingface_hub import HfApi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localpsych_recipes.local_hub import LocalHub
from localpsych_recipes.local_hub.routes import ROUTES

from .conftest import TOKENS

REPO = "alice/model"
SECRET = b"outside of the hub's folder"
BEARER = f"Bearer {TOKENS['alice']}"

DISTURBING = st.sampled_from([
    "", ".", "..", "../../secret", "%2e%2e/%2e%2e/secret", "..%2f..%2fsecret", "%252e%252e%252fsecret", "a%00b", "%ff", "\\",
    "/etc/passwd", "%2fetc%2fpasswd", "C:%5Cx", "a" * 5000, "main", "refs/heads/main", "0" * 40, "0" * 64, "README.md", "*",
    "[z-a]", "%0d%0aX-Evil:%201", "\u00e9", "{0}", "%s", "-1", "9" * 5000,
])  # fmt: skip
TEXT = st.one_of(DISTURBING, st.text(max_size=30))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
# what the requests' bodies hold, each value the right one or any other
FIELDS: dict[str, object] = {
    "name": "other", "organization": "alice", "type": "model", "visibility": "private", "private": True, "gated": "auto",
    "content": "---\nlicense: mit\n---\n", "tag": "v1", "startingPoint": "main", "operation": "upload", "oid": "0" * 64,
    "size": 3, "gitIgnore": "*.log", "parts": [{"partNumber": 1, "etag": "x"}], "path": "a.txt", "encoding": "base64",
    "objects": [{"oid": "0" * 64, "size": 3}], "files": [{"path": "a.txt", "sample": "eA==", "size": 1}],
    "summary": "s", "parentCommit": "0" * 40, "key": "file", "value": {"path": "a.txt", "content": "eA=="},
}  # fmt: skip


def _fields(names: list[str]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional={name: st.one_of(st.just(FIELDS[name]), JSON) for name in names})


CARDS = st.builds(
    lambda key, value: f"---\n{key}: {value}\n---\n".encode(),
    st.sampled_from(["license", "base_model", "tags", "datasets", "? [a]\n", "<<", "&a x", "!!binary"]),
    st.one_of(
        TEXT,
        JSON.map(json.dumps),
        st.sampled_from(["[[a]]", "{a: {b: c}}", "&a [*a]", ".nan", "2026-01-01", "!!set {a}"]),
    ),
)
OPERATIONS = st.one_of(
    JSON,
    st.builds(lambda key, value: {"key": key, "value": value}, st.one_of(st.sampled_from(
        ["header", "file", "lfsFile", "deletedFile", "deletedFolder"]), JSON), st.one_of(JSON, _fields(
            ["summary", "parentCommit", "path", "content", "encoding", "oid", "size"]))),
    st.builds(lambda path, content: {"key": "file", "value": {
        "path": path, "encoding": "base64", "content": base64.b64encode(content).decode()}},
        st.sampled_from(["README.md", ".gitattributes", ".gitignore", "a.txt", "a/b"]), st.one_of(CARDS, st.binary(max_size=50))),
)  # fmt: skip
HEADER = {"key": "header", "value": {"summary": "s"}}
BODIES = st.one_of(
    _fields(list(FIELDS)).map(lambda value: json.dumps(value).encode()),
    st.builds(lambda card: json.dumps({"content": card.decode("utf-8", "replace")}).encode(), CARDS),
    st.lists(OPERATIONS, max_size=4).map(
        lambda lines: "\n".join(json.dumps(line) for line in [HEADER, *lines]).encode()
    ),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.sampled_from([b"paths=a&paths=..&expand=1", b"[" * 100_000, b'{"a":' * 5000, b"\xef\xbb\xbf{}", b"9" * 5000]),
)
HEADERS = st.dictionaries(
    st.sampled_from(["Range", "Host", "Cookie", "Expect", "Transfer-Encoding", "Content-Length", "Connection", "X-A"]),
    st.one_of(
        st.sampled_from(["chunked", "100-continue", "-1", "+5", "0", "18446744073709551616", "bytes=0-", "bytes=-0", "close"]),
        st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=40),
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def requests(draw: Callable) -> bytes:
    """A request to a row of the table, with some of it replaced."""
    route = draw(st.sampled_from(ROUTES))
    right = {
        "type": "models",
        "id": REPO,
        "rev": "main",
        "ref": "v1",
        "path": "README.md",
        "oid": "0" * 64,
        "prefix": "",
    }
    values = {name: draw(st.one_of(st.just(value), DISTURBING)) for name, value in right.items()}
    target = quote(route.template.format(**values), safe="/%:?&=*\\[]{}")
    query = draw(
        st.sampled_from(
            ["", "?cursor=" + "9" * 5000, "?cursor=-1", "?recursive=1&expand=1", "?create_pr=1", "?%", "?a=%ff"]
        )
    )
    method = draw(
        st.sampled_from([route.method, route.method, route.method, "HEAD", "PATCH", "get", "\x00", "CONNECT"])
    )
    body = draw(BODIES) if route.method != "GET" else b""
    lines = {"Authorization": draw(st.sampled_from([BEARER, BEARER, BEARER, "Bearer x", "Basic", "\u00ff"]))}
    lines |= {"Content-Length": str(len(body)), "Connection": "close", **draw(HEADERS)}
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "HTTP/x", ""]))
    head = f"{method} {target}{query} {version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode("latin-1", "replace") + b"\r\n" + body


class Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


class Target:
    """A hub with one repository, a file beside its folder that nobody may see, and what it logs as an error."""

    def __init__(self, hub: LocalHub, outside: Path) -> None:
        self.hub, self.outside, self.log = hub, outside, Errors()
        self.api = HfApi(endpoint=hub.url, token=TOKENS["alice"])
        self.address = tuple(hub.url.removeprefix("http://").split(":"))
        logging.getLogger("localpsych_recipes.local_hub").addHandler(self.log)
        self.restore()

    def restore(self) -> None:
        """A request may have deleted or closed what the next one goes to."""
        self.api.create_repo(REPO, exist_ok=True)

    def send(self, request: bytes) -> bytes:
        """All that is answered until the hub closes the connection."""
        with socket.create_connection(self.address, timeout=20) as line:
            try:
                line.sendall(request)
                line.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: line.recv(2**16), b""))
            except TimeoutError:  # a request that it never ends with
                raise
            except OSError:  # refused before all of it was read
                return b""

    def status(self, method: str, path: str) -> int:
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        connection.request(method, path, headers={"Authorization": BEARER})
        return connection.getresponse().status

    def check(self, request: bytes) -> None:
        answer = self.send(request)
        logged, self.log.seen = self.log.seen, []
        assert not logged, logged
        assert SECRET not in answer and b"\nX-Evil:" not in answer.partition(b"\r\n\r\n")[0]
        for line in answer.split(b"\r\n"):
            assert not line.startswith(b"HTTP/1.1 5"), answer
        assert self.status("GET", "/api/whoami-v2") == 200
        assert self.status("GET", f"/api/models/{REPO}") in (200, 404)
        if self.status("GET", f"/api/models/{REPO}") == 404:
            self.restore()
        assert {path.name for path in self.outside.iterdir()} == {"hub", "secret"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    outside = tmp_path_factory.mktemp("fuzz")
    (outside / "secret").write_bytes(SECRET)
    with LocalHub(outside / "hub", tokens={TOKENS["alice"]: "alice"}, chunk_size=10**6) as hub:
        target = Target(hub, outside)
        yield target
        logging.getLogger("localpsych_recipes.local_hub").removeHandler(target.log)


@settings(suppress_health_check=list(HealthCheck))
@given(request=requests())
def test_a_request_with_anything_in_any_place_is_answered_or_refused(target: Target, request: bytes) -> None:
    target.check(request)


@settings(suppress_health_check=list(HealthCheck))
@given(request=st.one_of(st.binary(max_size=300), st.builds(bytes.__add__, st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"POST /api/validate-yaml HTTP/1.1\r\nContent-Length: 5\r\n", b"PUT /"]), st.binary(max_size=300))))  # fmt: skip
def test_bytes_that_are_no_request_are_refused(target: Target, request: bytes) -> None:
    target.check(request)
