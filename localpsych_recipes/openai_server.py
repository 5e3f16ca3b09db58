"""The one door to OpenAI-compatible servers (llama-server, vLLM, Ollama): whom texts may be sent to, asking, keeping.

A text goes to this machine alone unless the recipe allows another one, and nothing but the request goes with it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from localpsych_recipes.errors import UserError

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

RETRIES = 4  # after 0.5, 1, 2 and 4 seconds, or as long as the server asks to wait
READY_SECONDS = 10.0
ANSWER_SECONDS = 600.0  # a large teacher on a CPU, with other requests before this one
START_ONE = "start one (`llama-server -m FILE --port 8080`) and name it in {section}.server"
GOES_ON = "look after the server, then run the same command again: it goes on from here"
# these take arguments of the chat template in a request; others refuse keys that they do not know
TEMPLATE_ARGUMENTS = ("llamacpp", "vllm", "sglang")
# of what a client would send, the rest (platform, versions, organisation, headers of the environment) is dropped
HEADERS = {"host", "connection", "content-type", "content-length", "accept", "accept-encoding", "authorization"}


class Refused(Exception):
    """The server takes requests, but not this one (too long, or its output did not parse). Holds no text."""


@dataclass(frozen=True)
class Answer:
    """What the model wrote; cut: it came to the end of max_tokens or of its context."""

    text: str
    cut: bool


@dataclass(frozen=True)
class Server:
    """A server that has answered. model: its own name for it; section: of the recipe, for messages."""

    client: OpenAI
    section: str
    where: Literal["local", "remote"]
    model: str
    extra: Mapping[str, Any]

    def request(self, text: str, **settings: Any) -> dict[str, Any]:
        """One user turn as the body of /v1/chat/completions; settings: temperature, seed, max_tokens (tokens)."""
        return {"model": self.model, "messages": [{"role": "user", "content": text}], **settings, **self.extra}

    def ask(self, request: dict[str, Any]) -> Answer:
        """Refused for this request alone; UserError, after some retries, for a server that is of no more use."""
        import openai

        known = {key: value for key, value in request.items() if key not in self.extra}
        try:
            reply = self.client.chat.completions.create(**known, extra_body=dict(self.extra))
            choice = reply.choices[0]
            text = choice.message.content or ""
        except openai.APIStatusError as error:
            if error.status_code in (400, 413, 422, 500):
                raise Refused(f"status {error.status_code}") from None
            raise _status_error(error.status_code, self.section) from None
        except openai.APIConnectionError:
            raise UserError(f"{self.section}: the server does not answer any more", "an answer", GOES_ON) from None
        except (openai.OpenAIError, AttributeError, TypeError, IndexError, ValueError):
            raise Refused("no chat completion") from None
        return Answer(text.encode("utf-8", "replace").decode("utf-8"), choice.finish_reason == "length")


@contextmanager
def connect(server: str, model: str, *, section: str, allow_remote: bool, api_key_env: str) -> Iterator[Server]:
    """Finds the server and its model within seconds; the connection closes with the block.

    server: its address with /v1; model: one of its names, or "default" for the only one; section: of the recipe.
    UserError for an address that may not be asked (before anything is sent), no server there, or no such model.
    """
    import openai

    key = os.environ.get(api_key_env, "")
    addresses = _addresses(server, section)
    where = "local" if all(ipaddress.ip_address(a).is_loopback for a in addresses) else "remote"
    if where == "remote" and not allow_remote:
        raise UserError(
            f"{section}.server is on another machine ({urlsplit(server).hostname})",
            "a server on this one, such as http://127.0.0.1:8080/v1: the texts of the dataset go there",
            f"{START_ONE.format(section=section)}, or set {section}.allow_remote: true if they may leave",
        )
    with _http(addresses if where == "local" else [], key) as http:
        client = openai.OpenAI(base_url=server, api_key=key or "none", http_client=http, max_retries=RETRIES)
        found, maker = _model(client, model, section)
        thinking = {"chat_template_kwargs": {"enable_thinking": False}}  # a reasoning part would use up max_tokens
        yield Server(client, section, where, found, thinking if maker in TEMPLATE_ARGUMENTS else {})


def _addresses(server: str, section: str) -> list[str]:
    """All addresses of the host that `server` names."""
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password or parts.query:
        raise UserError(
            f"{section}.server is no plain address",
            "http://HOST:PORT/v1, without user, password or query",
            f"put a key into the environment variable that {section}.api_key_env names",
        )
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        do = f"check {section}.server"
        raise UserError(f"{section}.server: {parts.hostname} has no address", "a host and port", do) from None
    return [str(entry[4][0]).partition("%")[0] for entry in found]


def _http(loopback: list[str], key: str) -> httpx2.Client:
    """No redirects, no proxies; from a loopback address, where `loopback` is not empty.

    A socket bound to a loopback address reaches this machine alone, also if the name meanwhile means another one.
    """
    import httpx2

    def keep_to_the_request(request: httpx2.Request) -> None:
        for name in set(request.headers) - HEADERS:
            del request.headers[name]
        request.headers["Authorization"] = f"Bearer {key or 'none'}"  # OPENAI_CUSTOM_HEADERS may have set another

    ours = ("::1" if all(":" in a for a in loopback) else "127.0.0.1") if loopback else None
    return httpx2.Client(
        transport=httpx2.HTTPTransport(local_address=ours, trust_env=False),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(ANSWER_SECONDS, connect=READY_SECONDS, pool=None),
        event_hooks={"request": [keep_to_the_request]},
    )


def _model(client: OpenAI, wanted: str, section: str) -> tuple[str, str]:
    """The server's own name of the model, and who the server says owns it (llama-server: "llamacpp")."""
    import openai

    try:
        page = client.with_options(timeout=READY_SECONDS, max_retries=1).models.list()
        served = {model.id: str(model.owned_by) for model in page.data}
    except openai.APIStatusError as error:
        raise _status_error(error.status_code, section) from None
    except (openai.OpenAIError, AttributeError, TypeError, ValueError):
        do = START_ONE.format(section=section)
        raise UserError(f"{section}.server: no OpenAI-compatible server answers there", "one", do) from None
    found = [name for name in served if wanted == "default" or name in (wanted, f"{wanted}:latest")]
    if len(found) == 1:
        return found[0], served[found[0]]
    names = ", ".join(sorted(served)[:10]) or "none"
    given = f"{section}.model: {wanted!r} is {'one of several' if found else 'not a model'} of this server"
    raise UserError(given, f"one of: {names}", f"set {section}.model to the server's name of the teacher")


def _status_error(status: int, section: str) -> UserError:
    if 300 <= status < 400:
        return UserError(
            f"{section}.server sends requests on to another address",
            "the address itself: redirects are not followed",
            f"set {section}.server to where it leads, if the texts may go there",
        )
    if status in (401, 403):
        do = f"put the key into the environment variable that {section}.api_key_env names"
        return UserError(f"{section}.server wants another key (status {status})", "the server's key", do)
    if status == 404:
        do = f"check that {section}.server ends in /v1, and {section}.model"
        return UserError(f"{section}.server has no such page or model (status 404)", "an OpenAI-compatible server", do)
    return UserError(f"{section}.server answers with status {status}", "success", GOES_ON)


class Ledger:
    """A JSONL file of what was answered, by the request's SHA-256: no request is asked twice, whatever kills the run.

    It only grows. The half line that a killed run may have left is taken away.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        self.answers: dict[str, Answer] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        os.truncate(self.path, len(whole))
        for line in whole.decode("utf-8").split("\n")[:-1]:
            entry = json.loads(line)
            self.answers[entry["request"]] = Answer(entry["text"], entry["cut"])
        self._file = self.path.open("a", encoding="utf-8", newline="\n")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def get(self, request: dict[str, Any]) -> Answer | None:
        return self.answers.get(digest(request))

    def add(self, request: dict[str, Any], answer: Answer) -> None:
        entry = {"request": digest(request), "text": answer.text, "cut": answer.cut}
        with self.lock:
            self.answers[entry["request"]] = answer
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()


def digest(request: dict[str, Any]) -> str:
    """Hex SHA-256 of a request, the same in any order of its keys."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def ask_all(
    server: Server,
    requests: list[dict[str, Any]],
    ledger: Ledger,
    concurrency: int,
    progress: Callable[[int, int], None],
) -> int:
    """Asks once for each request that the ledger lacks, and keeps the answers there; gives how many it asked for.

    What the server refuses is left out of the ledger. UserError as of Server.ask; answers until then are kept.
    """
    missing = {digest(request): request for request in requests if not ledger.get(request)}

    def ask(request: dict[str, Any]) -> None:
        try:
            ledger.add(request, server.ask(request))
        except Refused:
            pass

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, request) for request in missing.values()]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                progress(done, len(futures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(missing)
