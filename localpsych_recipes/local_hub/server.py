"""LocalHub: the sockets and threads, and the one way that every request goes."""

from __future__ import annotations

import fcntl
import logging
import re
import shutil
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localpsych_recipes.errors import UserError
from localpsych_recipes.local_hub.accounts import Account, Accounts, require_writer
from localpsych_recipes.local_hub.lfs import Signer
from localpsych_recipes.local_hub.routes import Access, Route, find
from localpsych_recipes.local_hub.store import Repo, Store
from localpsych_recipes.local_hub.wire import Body, Refusal, Request, Response, repo_not_found

LOG = logging.getLogger(__name__)
CHUNK_SIZE = 5 * 10**9  # bytes; the Hub's storage takes no more in one PUT, so larger objects go up in parts
_IDLE = 120  # seconds after which a connection without a request is closed
_DRAINED = 16 * 2**20  # bytes of an unwanted body that are read away, so that the client comes to read the refusal
_BLOCK = 2**20


class LocalHub:
    """A Hub in the folder `root`, which holds all of its state: a later LocalHub goes on from there.

    tokens: token -> user's name, which may write; `"name:read"` may only read; an `Account` also has organisations.
    port: 0 takes any free one. chunk_size: bytes above which an LFS object is uploaded in parts.
    page_size: entries in one page of a listing.
    Raises UserError if the address is taken or another hub serves the folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Mapping[str, str | Account] | None = None,
        chunk_size: int = CHUNK_SIZE,
        page_size: int = 1000,
    ) -> None:
        self.chunk_size, self.page_size = chunk_size, page_size
        self.accounts, self.signer = Accounts(tokens or {}), Signer()
        self._held = _hold(root)
        self._thread: threading.Thread | None = None
        self.store = Store(root)
        try:
            self._server = _Server(self, host, port)
        except OSError as error:
            self._held.close()
            given = f"cannot listen on {host}:{port}: {error.strerror}"
            raise UserError(given, "an address of this machine and a free port", "give another port") from None

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"

    def environment(self, token: str) -> dict[str, str]:
        """The variables by which every Hugging Face library and tool comes to this hub; set before the first import."""
        flags = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": token, **flags}

    def serve_forever(self) -> None:
        """Serve in this thread until it is interrupted; `with` serves in a thread of its own instead."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Cut the connections that clients keep open, wait for what is being written, let go of the folder."""
        if self._held.closed:
            return
        if self._thread:
            self._server.shutdown()
            self._thread.join()
        self._server.cut_connections()
        self._server.server_close()
        fcntl.flock(self._held, fcntl.LOCK_UN)  # closing alone would leave it held by any process forked meanwhile
        self._held.close()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, name="local hub", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, request: Request) -> Response:
        """The one way that every request goes, refused or not."""
        row = "no row"
        try:
            route, parts = find(request.method, request.path)
            row = route.template
            response = self._respond(route, parts, request)
        except Refusal as refusal:
            response = refusal.response()
        LOG.info("%s %s %d (%s)", request.method, request.path, response.status, row)
        return response

    def _respond(self, route: Route, parts: Mapping[str, str], request: Request) -> Response:
        """Find the caller and the repository, then call the row's handler."""
        if route.access == "signed":
            self.signer.check(request.target)
        account = None if route.access == "signed" else self.accounts.caller(request.headers.get("Authorization"))
        repo = self._admit(route.access, parts, account) if "id" in parts else None
        try:
            return route.handler(self, replace(request, parts=parts, account=account, _repo=repo))
        except FileNotFoundError:
            if repo is None or repo.folder.exists():
                raise
            raise repo_not_found() from None  # deleted by another request since this one found it

    def _admit(self, access: Access, parts: Mapping[str, str], account: Account | None) -> Repo:
        """The repository that an address names, if this caller may come to it in this way."""
        kind = parts.get("type") or (parts["prefix"].rstrip("/") or "models")
        repo = self.store.repo(kind, parts["id"])
        owns = account is not None and account.belongs_to(repo.owner)
        state = repo.state
        if state.private and not owns and access != "signed":
            raise repo_not_found()
        if access == "content" and state.gated and not owns:
            raise Refusal(403, f"Access to {kind[:-1]} {repo.id} is restricted", "GatedRepo")
        if access == "write":
            require_writer(account, repo.owner)
        return repo


def _hold(root: Path) -> Any:
    """Keep every other hub out of the folder for as long as the returned file is open."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = (root / "lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        given, do = f"{root} is served by another hub", "stop the other one, or give another folder"
        raise UserError(given, "one hub per folder", do) from None
    return held


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for a commit that is under way
    request_queue_size = 64

    def __init__(self, hub: LocalHub, host: str, port: int) -> None:
        self.hub, self._open = hub, set[socket.socket]()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """Without this a client's idle connection would still be served by a hub that is closed."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        LOG.debug("connection from %s ended", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "LocalHub"
    sys_version = ""
    wbufsize = 2**16  # with small unbuffered writes, and Nagle's algorithm on, a response takes 40 ms
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: _Server

    def do_GET(self) -> None:
        body = Body(self.rfile, 0)
        try:
            body = Body(self.rfile, self._announced_length())
            request = Request(self.command, self.path, self._base(), self.headers, body)
            response = self.server.hub.answer(request)
        except Refusal as refusal:
            response = refusal.response()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        except Exception:
            LOG.exception("%s %s failed", self.command, self.path.partition("?")[0])
            response = Response({"error": "Internal error of the local hub"}, status=500)
        self._send(response, body)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request of HTTP/1.x is the client's mistake, and is refused as any other."""
        self.close_connection = True
        self.command, self.request_version = self.command or "GET", self.protocol_version
        refusal = Refusal({501: 405, 505: 400}.get(code, code), "This is no request that the hub understands")
        self._send(refusal.response(), Body(self.rfile, 0))

    def _announced_length(self) -> int:
        lengths = set(self.headers.get_all("Content-Length", ["0"]))
        length = lengths.pop()
        if lengths or "Transfer-Encoding" in self.headers or not re.fullmatch(r"\d{1,18}", length, re.ASCII):
            self.close_connection = True
            raise Refusal(411, "A body needs a Content-Length")
        return int(length)

    def _base(self) -> str:
        """This server's URL as the client wrote it, for the addresses in answers: bound to 0.0.0.0 it has several."""
        host = self.headers.get("Host", "")
        return f"http://{host}" if re.fullmatch(r"[\w.:\[\]-]+", host, re.ASCII) else self.server.hub.url

    def _send(self, response: Response, body: Body) -> None:
        self._drain(body)
        content = b"" if response.file else response.body()
        length = response.length if response.file else len(content)
        self.send_response(response.status)
        for name, value in {"Content-Type": "application/json", **response.headers}.items():
            self.send_header(name, re.sub(r"[^ -~]", "?", value))
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self._send_file(response) if response.file else self.wfile.write(content)

    def _drain(self, body: Body) -> None:
        if body.unread > _DRAINED:
            self.close_connection = True
        elif not self.close_connection:
            shutil.copyfileobj(body, _Nowhere(), _BLOCK)

    def _send_file(self, response: Response) -> None:
        assert response.file is not None
        with response.file.open("rb") as file:
            file.seek(response.start)
            left = response.length
            while left and (block := file.read(min(left, _BLOCK))):
                self.wfile.write(block)
                left -= len(block)

    def log_message(self, format: str, *args: Any) -> None:
        """The hub logs each request by its own logger, without queries, which hold signatures."""


class _Nowhere:
    def write(self, block: bytes) -> None:
        pass
