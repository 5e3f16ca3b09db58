"""The way to a server: whom texts may be sent to, and nothing with them but the request."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from localpsych_recipes.errors import UserError
from localpsych_recipes.openai_server.asking import NATIVE, Server, status_error

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

RETRIES = 4  # after 0.5, 1, 2 and 4 seconds, or as long as the server asks to wait
READY_SECONDS = 10.0
ANSWER_SECONDS = 600.0  # a large model on a CPU, with other requests before this one
START_ONE = "start one (`llama-server -m FILE --port 8080`) and name it in {section}.server"
# of what a client would send, the rest (platform, versions, organisation, headers of the environment) is dropped
HEADERS = {"host", "connection", "content-type", "content-length", "accept", "accept-encoding", "authorization"}


@contextmanager
def connect(
    server: str, model: str, *, section: str, allow_remote: bool, api_key_env: str, api_key: str | None = None
) -> Iterator[Server]:
    """Finds the server and its model within seconds; the connection closes with the block.

    server: its address with /v1; model: one of its names, or "default" for the only one; section: of the recipe;
    api_key: else the one in the environment variable.
    UserError for an address that may not be asked (before anything is sent), no server there, or no such model.
    """
    import openai

    key = api_key or os.environ.get(api_key_env, "")
    addresses = _addresses(server, section)
    where = _where(addresses)
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
        yield Server(client, section, where, found, maker, thinking if maker in NATIVE else {})


def where(server: str, section: str) -> Literal["local", "remote"]:
    """Whether the address is this machine's. Nothing is sent. UserError for one that is none."""
    return _where(_addresses(server, section))


def _where(addresses: list[str]) -> Literal["local", "remote"]:
    return "local" if all(ipaddress.ip_address(a).is_loopback for a in addresses) else "remote"


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
        raise status_error(error.status_code, section) from None
    except (openai.OpenAIError, AttributeError, TypeError, ValueError):
        do = START_ONE.format(section=section)
        raise UserError(f"{section}.server: no OpenAI-compatible server answers there", "one", do) from None
    found = [name for name in served if wanted == "default" or name in (wanted, f"{wanted}:latest")]
    if len(found) == 1:
        return found[0], served[found[0]]
    if not served:
        raise UserError(f"{section}.server has no model", "a server with one", START_ONE.format(section=section))
    given = (
        f"{section}.server has several models"
        if found
        else f"{section}.model: {wanted!r} is not a model of this server"
    )
    expected = f"one of: {', '.join(sorted(served)[:10])}"
    raise UserError(given, expected, f"set {section}.model to the server's name of the model")
