"""Strangers at the hub: what is private is not there for them, what is endless has an end, what is half is absent."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import huggingface_hub.utils._http
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from localpsych_recipes.local_hub import LocalHub
from localpsych_recipes.local_hub.routes import ROUTES

from .conftest import TOKENS
from .test_transfers import ask, bearer

REPO = "alice/model"
WITH_A_REPO = [route for route in ROUTES if "{id}" in route.template]
PARTS = {"type": "models", "prefix": "", "rev": "main", "ref": "v1", "path": "README.md", "oid": "0" * 64}


@pytest.mark.parametrize("caller", ["bob", "nobody"])
@pytest.mark.parametrize("route", WITH_A_REPO, ids=lambda route: f"{route.method} {route.template}")
def test_on_every_route_a_private_repository_answers_others_as_one_that_is_not_there(hub, alice, route, caller) -> None:
    alice.create_repo(REPO, private=True)
    alice.create_commit(REPO, [CommitOperationAdd("README.md", b"mine")], commit_message="mine")
    who = bearer("bob") if caller == "bob" else {}
    for body in (b"", b"{}", b"{"):
        answers = []
        for name in ("model", "other"):
            target = route.template.format(**PARTS, id=f"alice/{name}")
            status, headers, content = ask(hub, route.method, target, body, **who)
            headers.pop("Date")
            answers.append((status, headers, content.replace(name.encode(), b"NAME")))
        assert answers[0] == answers[1]
        assert answers[0][0] in (401, 403, 404) and b"mine" not in answers[0][2]


def test_a_repository_that_exists_is_refused_to_strangers_as_any_name_when_made_or_deleted(hub, alice) -> None:
    alice.create_repo(REPO, private=True)
    for who in (bearer("bob"), {}):
        for method, target in (("POST", "/api/repos/create"), ("DELETE", "/api/repos/delete")):
            bodies = [json.dumps({"organization": "alice", "name": name}).encode() for name in ("model", "other")]
            one, other = ([*ask(hub, method, target, body, **who)][::2] for body in bodies)
            assert one == other and one[0] in (401, 403)


def answer_to(hub: LocalHub, request: bytes) -> bytes:
    with socket.create_connection(hub.url.removeprefix("http://").split(":"), timeout=20) as line:
        try:
            line.sendall(request)
            return line.recv(2**16)
        except TimeoutError:  # a request that it never ends with
            raise
        except OSError:
            return b""


ENDLESS = {
    "a chunked body": b"POST /api/repos/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": b"POST /api/repos/create HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "a negative length": b"POST /api/repos/create HTTP/1.1\r\nContent-Length: -2\r\n\r\n{}",
    "a length in other digits": "POST /api/repos/create HTTP/1.1\r\nContent-Length: ²\r\n\r\n".encode("latin-1"),
    "an endless address": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "an endless header": b"GET / HTTP/1.1\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "headers without end": b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * 10_000 + b"\r\n",
    "another method": b"PATCH / HTTP/1.1\r\n\r\n",
    "another version": b"GET / HTTP/3.0\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("request_", ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end_or_no_form_is_refused(hub, request_) -> None:
    assert re.match(rb"HTTP/1.1 4\d\d |$", answer_to(hub, request_))
    assert ask(hub, "GET", "/api/agent-harnesses")[0] == 200


def test_a_body_of_two_lengths_is_read_by_neither(hub) -> None:
    assert answer_to(hub, ENDLESS["two lengths"]).startswith(b"HTTP/1.1 411")


def test_clients_that_send_a_byte_now_and_then_hold_nobody_up(hub, alice) -> None:
    host = hub.url.removeprefix("http://").split(":")
    slow = [socket.create_connection(host) for _ in range(60)]
    for number, line in enumerate(slow):
        line.sendall(
            [b"G", b"GET / HTTP/1.1\r\nX", b"POST /api/repos/create HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"][number % 3]
        )
    assert alice.create_repo(REPO) and alice.model_info(REPO)
    for line in slow:
        line.close()


BOMB = "a: &a [x]\n" + "".join(
    f"{name}: &{name} [{', '.join('*' + before for _ in range(9))}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)
CARDS = {
    "aliases": f"{BOMB}base_model: *i",
    "endless": "tags: [" + "a, " * 200_000 + "a]",
    "a list for a key": "? [a, b]\n: c",
    "a date for a key": "2026-01-01: c",
    "a mapping for a licence": "license: {a: b}",
    "a list of lists for a licence": "license: [[mit]]",
    "no number": "score: .nan",
}


@pytest.mark.parametrize("metadata", CARDS.values(), ids=CARDS)
def test_a_card_that_is_a_bomb_or_no_json_is_refused_by_whoever_it_is_asked(hub, metadata) -> None:
    body = json.dumps({"content": f"---\n{metadata}\n---\n"}).encode()
    status, _, answer = ask(hub, "POST", "/api/validate-yaml", body)
    assert status == 400 and len(answer) < 1000


def commit_lines(hub: LocalHub, *lines: object) -> int:
    body = "\n".join(json.dumps(line) for line in ({"key": "header", "value": {"summary": "s"}}, *lines)).encode()
    return ask(hub, "POST", f"/api/models/{REPO}/commit/main", body, **bearer("alice"))[0]


def test_odd_values_in_the_right_places_are_refused(hub, alice) -> None:
    alice.create_repo(REPO)
    assert commit_lines(hub, {"key": [], "value": {}}) == commit_lines(hub, {"key": {}, "value": {}}) == 400
    assert ask(hub, "GET", f"/api/models/{REPO}/tree/main?cursor={'9' * 5000}", **bearer("alice"))[0] == 200
    endless = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 10**30}]}
    batch = ask(hub, "POST", f"/{REPO}.git/info/lfs/objects/batch", json.dumps(endless).encode(), **bearer("alice"))
    assert batch[0] == 400
    form = b"paths=a&" * 20_000
    assert ask(hub, "POST", f"/api/models/{REPO}/paths-info/main", form, **bearer("alice"))[0] == 413


def test_patterns_that_fit_nothing_or_take_hours_hold_nobody_up(hub, alice) -> None:
    alice.create_repo(REPO)
    rules = f"[z-a]\n{'*a' * 40}b\n".encode()
    alice.create_commit(REPO, [CommitOperationAdd(".gitignore", rules)], commit_message="rules")
    alice.create_commit(REPO, [CommitOperationAdd("a" * 200, b"x")], commit_message="a name that nearly fits")
    assert "a" * 200 in alice.list_repo_files(REPO)


def test_whoever_deletes_a_repository_under_a_commit_leaves_it_with_a_404(hub, alice) -> None:
    alice.create_repo(REPO)
    file = {"path": "a.txt", "encoding": "base64", "content": "eA=="}
    lines = ({"key": "header", "value": {"summary": "s"}}, {"key": "file", "value": file})
    body = "\n".join(json.dumps(line) for line in lines).encode()
    head = f"POST /api/models/{REPO}/commit/main HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(hub.url.removeprefix("http://").split(":"), timeout=20) as line:
        line.sendall(f"{head}Authorization: {bearer('alice')['Authorization']}\r\n\r\n".encode())
        time.sleep(0.3)  # for the hub to find the repository, whose commit then waits for its body
        alice.delete_repo(REPO)
        line.sendall(body)
        assert line.recv(2**16).startswith(b"HTTP/1.1 404")


SERVED = """
import sys
from pathlib import Path
from localpsych_recipes.local_hub import LocalHub
hub = LocalHub(Path(sys.argv[1]), tokens={sys.argv[2]: "alice"})
print(hub.url, flush=True)
hub.serve_forever()
"""


def served(root: Path) -> tuple[subprocess.Popen, HfApi]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVED, str(root), TOKENS["alice"]], stdout=subprocess.PIPE, text=True
    )
    return process, HfApi(endpoint=process.stdout.readline().strip(), token=TOKENS["alice"])


def test_a_hub_that_is_killed_while_eight_write_has_every_branch_whole_and_every_commit_it_confirmed(
    tmp_path, monkeypatch
) -> None:
    pauseless = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr(huggingface_hub.utils._http, "time", pauseless)  # before a client sees that the hub is gone
    contents = {"weights.bin": os.urandom(20_000), "a.txt": b"a" * 5000}
    process, api = served(tmp_path / "hub")
    api.create_repo(REPO)
    for number in range(8):
        api.create_branch(REPO, branch=f"b{number % 4}", exist_ok=True)
    confirmed: list[tuple[str, str]] = []

    def write(number: int) -> None:
        for turn in range(1000):
            files = {
                f"{number}/{turn}/{name}": content + bytes([number, turn % 256]) for name, content in contents.items()
            }
            operations = [CommitOperationAdd(path, content) for path, content in files.items()]
            try:
                branch = f"b{number % 4}"
                confirmed.append((branch, api.create_commit(REPO, operations, commit_message="c", revision=branch).oid))
            except Exception:  # the hub is gone
                return

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    while len(confirmed) < 12 and any(writer.is_alive() for writer in writers):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for writer in writers:
        writer.join()
    process, api = served(tmp_path / "hub")
    try:
        assert_whole(api, confirmed, tmp_path / "hub" / "models" / REPO)
        api.create_commit(REPO, [CommitOperationAdd("after.txt", b"x")], commit_message="after", revision="b0")
    finally:
        process.kill()
        process.wait()


def assert_whole(api: HfApi, confirmed: list[tuple[str, str]], folder: Path) -> None:
    assert len(confirmed) >= 12
    for branch in ("b0", "b1", "b2", "b3"):
        history = [commit.commit_id for commit in api.list_repo_commits(REPO, revision=branch)]
        assert {commit for where, commit in confirmed if where == branch} <= set(history)
        files = [
            entry for entry in api.list_repo_tree(REPO, recursive=True, revision=branch) if hasattr(entry, "blob_id")
        ]
        turns = {entry.path.rpartition("/")[0] for entry in files if "/" in entry.path}
        assert len(files) == 1 + 2 * len(turns) and len(history) == 1 + len(turns)
        for entry in files:
            stored = folder / ("lfs" if entry.lfs else "blobs") / (entry.lfs.sha256 if entry.lfs else entry.blob_id)
            content = stored.read_bytes()
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            assert (hashlib.sha256(content).hexdigest() if entry.lfs else git) == stored.name
