"""A proxy before the embedded Hub that does to chosen requests what networks, busy servers and other people do.

with FaultyHub(hub) as faulty:
    point_client_at(faulty.url, ...)
    faulty.inject(status(503), "POST .*/commit/", times=2)
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from localpsych_recipes.local_hub import LocalHub

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Exchange:
    """One request on its way to the Hub."""

    handler: Handler
    body: bytes | None = None

    def read(self, count: int | None = None) -> bytes:
        length = int(self.handler.headers.get("Content-Length", 0))
        self.body = self.handler.rfile.read(length if count is None else min(count, length))
        return self.body

    def forward(self) -> Answer:
        """The Hub's own answer."""
        body = self.read() if self.body is None else self.body
        connection = http.client.HTTPConnection(*self.handler.server.behind, timeout=30)
        connection.request(self.handler.command, self.handler.path, body, dict(self.handler.headers))
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return answer

    def reply(self, answer: Answer, upto: int | None = None) -> None:
        """upto: bytes of the body after which the connection breaks, though more were announced."""
        if self.body is None:
            self.read()
        self.handler.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.handler.send_header(name, value)
        self.handler.end_headers()
        if self.handler.command != "HEAD":
            self.handler.wfile.write(answer.body[:upto])
        if upto is not None:
            self.handler.wfile.flush()
            self.hang_up()

    def hang_up(self) -> None:
        """A reset, as of a router that has forgotten the connection."""
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.close_connection = True
        self.handler.connection.close()


Action = Callable[[Exchange], None]


def status(code: int, **headers: str) -> Action:
    """The Hub is not asked; the answer is `code`."""

    def act(exchange: Exchange) -> None:
        body = json.dumps({"error": f"status {code}"}).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        exchange.reply(
            Answer(code, {"Content-Length": str(len(body)), "Content-Type": "application/json", **named}, body)
        )

    return act


def lost_before(exchange: Exchange) -> None:
    """The request never arrives."""
    exchange.hang_up()


def lost_after(exchange: Exchange) -> None:
    """The Hub does what it is asked; its answer is lost."""
    exchange.forward()
    exchange.hang_up()


def cut_request(exchange: Exchange) -> None:
    exchange.read(20)
    exchange.hang_up()


def cut_answer(exchange: Exchange) -> None:
    """Half of the body comes, then the connection breaks."""
    answer = exchange.forward()
    exchange.reply(answer, upto=len(answer.body) // 2)


def corrupted(exchange: Exchange) -> None:
    """As many bytes, others."""
    answer = exchange.forward()
    answer.body = bytes(byte ^ 1 for byte in answer.body)
    exchange.reply(answer)


def stalled(exchange: Exchange) -> None:
    """Silence, until the client gives up; one that does not stands in `outwaited`."""
    exchange.read()
    exchange.handler.connection.settimeout(20)
    try:
        exchange.handler.connection.recv(1)
    except TimeoutError:
        exchange.handler.server.outwaited.append(exchange.handler.path)
    exchange.hang_up()


def edited(edit: Callable[[Answer], None]) -> Action:
    """The Hub's answer, changed."""

    def act(exchange: Exchange) -> None:
        answer = exchange.forward()
        edit(answer)
        answer.headers["Content-Length"] = str(len(answer.body))
        exchange.reply(answer)

    return act


def meanwhile(event: Callable[[], object]) -> Action:
    """Something else happens just before the request arrives."""

    def act(exchange: Exchange) -> None:
        event()
        exchange.reply(exchange.forward())

    return act


@dataclass
class Fault:
    action: Action
    on: str
    left: int


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        exchange = Exchange(self)
        try:
            if action := self.server.next_action(f"{self.command} {self.path}"):
                action(exchange)
            else:
                exchange.reply(exchange.forward())
        except OSError:  # the client has given up
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):  # hung up on purpose
            pass

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, behind: tuple[str, int]) -> None:
        self.behind, self.faults, self._lock = behind, list[Fault](), threading.Lock()
        self.asked, self.outwaited = list[str](), list[str]()
        super().__init__(("127.0.0.1", 0), Handler)

    def next_action(self, request: str) -> Action | None:
        with self._lock:
            self.asked.append(request)
            for fault in self.faults:
                if fault.left and re.match(fault.on, request):
                    fault.left -= 1
                    return fault.action
        return None


@dataclass
class FaultyHub:
    hub: LocalHub
    _server: Server = field(init=False)

    def __enter__(self) -> Self:
        host, port = self.hub.url.removeprefix("http://").split(":")
        self._server = Server((host, int(port)))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def asked(self) -> list[str]:
        """METHOD and target of each request so far."""
        return self._server.asked

    @property
    def outwaited(self) -> list[str]:
        """Stalled requests whose client was still waiting after 20 seconds."""
        return self._server.outwaited

    def inject(self, action: Action, on: str, times: int = 1) -> Fault:
        """Does `action` to the next `times` requests whose METHOD and target begin as the pattern `on`."""
        fault = Fault(action, on, times)
        self._server.faults.append(fault)
        return fault

    def calm(self) -> None:
        """From now on every request passes."""
        self._server.faults.clear()
