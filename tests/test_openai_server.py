"""Whom texts may go to, and a server that fails in the ways that a real one cannot be made to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from localpsych_recipes import environment, openai_server
from localpsych_recipes.errors import UserError
from localpsych_recipes.openai_server import Answer, Refused, Server, connecting

TEXT = "a secret of my own"
Reply = tuple[int, dict[str, str], bytes] | None  # None: the connection is cut


@pytest.fixture(autouse=True)
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "RETRIES", 1)


class Listener(ThreadingHTTPServer):
    """Serves one model and answers completions with `reply(count)`; keeps every request's path, headers and body."""

    def __init__(self, reply: Callable[[int], Reply], maker: str = "vllm", host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.reply, self.maker, self.seen = reply, maker, []
        self.url = f"http://{host}:{self.server_address[1]}/v1"

    @property
    def texts(self) -> list[bytes]:
        return [body for path, _, body in self.seen if path.endswith("/completions")]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        models = {"data": [{"id": "sage", "owned_by": self.server.maker}]}
        self.answer(lambda count: (200, {}, json.dumps(models).encode()))

    def do_POST(self) -> None:
        self.answer(self.server.reply)

    def answer(self, reply: Callable[[int], Reply]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, dict(self.headers), body))
        if found := reply(len(self.server.texts)):
            status, headers, content = found
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


def wrote(text: str, reason: str = "stop") -> Reply:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
    return 200, {}, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode()


def went_on(text: str, prompt_tokens: int | None, reason: str = "stop") -> Reply:
    """The answer of /v1/completions; prompt_tokens: None: it does not say."""
    body = {"id": "1", "object": "text_completion", "choices": [{"index": 0, "finish_reason": reason, "text": text}]}
    if prompt_tokens is not None:
        body["usage"] = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": prompt_tokens + 2}
    return 200, {}, json.dumps(body).encode()


@contextmanager
def listening(reply: Callable[[int], Reply] = lambda count: wrote("Yes."), maker: str = "vllm") -> Iterator[Listener]:
    with Listener(reply, maker) as listener:
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield listener
        listener.shutdown()


def connect(url: str, model: str = "default", allow_remote: bool = False):
    return openai_server.connect(
        url, model, section="augment", allow_remote=allow_remote, api_key_env="LOCALPSYCH_API_KEY"
    )


def ask(server: Server, text: str = TEXT) -> Answer:
    return server.ask(server.request(text, temperature=0.5, seed=1, max_tokens=9))


def test_the_clients_own_log_of_requests_stays_off(monkeypatch):
    monkeypatch.setenv("OPENAI_LOG", "debug")
    environment.settle()
    said = subprocess.run(
        [sys.executable, "-c", "import logging, openai; print(logging.getLogger('openai').isEnabledFor(logging.INFO))"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert said.stdout == "False\n"


# Whom texts may go to


@pytest.mark.parametrize(
    "url", ["http://192.0.2.7:8080/v1", "https://192.0.2.7/v1", "http://0.0.0.0:1/v1", "http://[2001:db8::1]/v1"]
)
def test_a_server_elsewhere_is_refused_before_anything_is_sent(url, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: pytest.fail("a connection was made"))
    with pytest.raises(UserError, match=r"augment.server is on another machine[^\0]*allow_remote"), connect(url):
        pass


def test_a_name_that_leads_elsewhere_after_it_was_looked_up_gets_nothing(monkeypatch):
    answers, real = iter(["127.0.0.1", "192.0.2.7", "192.0.2.7"]), socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real(next(answers), *a, **k))
    reached = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, to: reached.append((self.getsockname()[0], to[0])))
    with pytest.raises(UserError, match="no OpenAI-compatible server"), connect("http://turncoat.example:9/v1"):
        pass
    # from 127.0.0.1 no way leads to another machine: the kernel refuses to connect (Linux: EINVAL)
    assert set(reached) == {("127.0.0.1", "192.0.2.7")}


@pytest.mark.parametrize(
    "url", ["http://me:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret", "ftp://127.0.0.1/v1", "127.0.0.1:8080"]
)
def test_an_address_is_plain_and_a_bad_one_is_not_repeated(url):
    with pytest.raises(UserError, match="no plain address") as caught, connect(url):
        pass
    assert "secret" not in str(caught.value)


def test_redirects_are_not_followed():
    with listening() as elsewhere:
        away = (307, {"Location": elsewhere.url + "/chat/completions"}, b"")
        asked = pytest.raises(UserError, match="sends requests on to another address")
        with listening(lambda count: away) as listener, connect(listener.url) as server, asked:
            ask(server)
    assert len(listener.texts) == 1 and not elsewhere.seen


def test_the_environment_says_nothing_about_where_texts_go_or_what_goes_with_them(monkeypatch):
    with listening() as proxy, listening() as listener:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
            monkeypatch.setenv(name, "someone-else")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: someone-else\nAuthorization: someone-else")
        monkeypatch.setenv("NO_PROXY", "")
        with connect(listener.url) as server:
            ask(server)
    assert not proxy.seen
    for _, headers, body in listener.seen:
        assert {name.lower() for name in headers} <= openai_server.HEADERS and "User-Agent" not in headers
        assert headers["Authorization"] == "Bearer none"
        assert "someone-else" not in str(headers) + body.decode()


def test_the_key_comes_from_the_named_variable(monkeypatch):
    monkeypatch.setenv("LOCALPSYCH_API_KEY", "my-key")
    with listening() as listener, connect(listener.url) as server:
        ask(server)
    assert {headers["Authorization"] for _, headers, _ in listener.seen} == {"Bearer my-key"}


# Finding the model


def test_the_model_is_the_only_one_or_one_of_those_that_the_server_has():
    with listening() as listener:
        for name in ("default", "sage"):
            with connect(listener.url, name) as server:
                assert (server.model, server.where) == ("sage", "local")
        with (
            pytest.raises(UserError, match="'owl' is not a model of this server\n.*sage"),
            connect(listener.url, "owl"),
        ):
            pass


# Asking


def test_a_request_says_all_that_makes_its_answer_repeatable():
    with listening(lambda count: wrote("Yes, beca", "length")) as listener, connect(listener.url) as server:
        assert ask(server) == Answer("Yes, beca", cut=True)
    sent = json.loads(listener.texts[0])
    assert sent["messages"] == [{"role": "user", "content": TEXT}]
    assert (sent["model"], sent["temperature"], sent["seed"], sent["max_tokens"]) == ("sage", 0.5, 1, 9)
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("failure", [(503, {}, b"loading"), (429, {}, b"later"), None], ids=["503", "429", "cut"])
def test_a_failure_that_passes_is_waited_for_and_one_that_stays_ends_in_one_message(failure):
    with listening(lambda count: failure if count == 1 else wrote("Yes.")) as listener, connect(listener.url) as server:
        assert ask(server) == Answer("Yes.", cut=False)
    asked = pytest.raises(UserError, match="goes on from here")
    with listening(lambda count: failure) as listener, connect(listener.url) as server, asked as caught:
        ask(server)
    assert TEXT not in str(caught.value) and caught.value.__suppress_context__


@pytest.mark.parametrize(
    "failure",
    [(500, {}, TEXT.encode()), (400, {}, TEXT.encode()), (200, {}, b"{}"), (200, {}, b"{"), (200, {"Content-Type": "text/html"}, b"<p>")],
    ids=["500", "400", "no choices", "no JSON", "HTML"],
)  # fmt: skip
def test_a_request_that_the_server_cannot_answer_is_refused_alone(failure):
    refused = pytest.raises(Refused)
    with listening(lambda count: failure) as listener, connect(listener.url) as server, refused as caught:
        ask(server)
    assert TEXT not in str(caught.value)


# Prompts that are rendered already, and answers in a form


def test_a_rendered_prompt_is_sent_as_it_is_and_the_answer_is_what_follows():
    with listening(lambda count: went_on("Yes, b", 3, "length")) as listener, connect(listener.url) as server:
        body = {"model": server.model, "prompt": [5, 6, 7], "max_tokens": 2, "min_p": 0.1}
        assert server.complete(body, 3) == Answer("Yes, b", cut=True, tokens=2)
    path, _, sent = listener.seen[-1]
    assert (path, json.loads(sent)) == ("/v1/completions", body)


@pytest.mark.parametrize(
    ("read", "said"),
    [(9, "reads 9 tokens where training has 3[^\0]*TEMPLATE {{ .Prompt }}"), (None, "does not say how many")],
)
def test_a_server_that_reads_another_prompt_than_training_does_is_refused(read, said):
    asked = pytest.raises(UserError, match=rf"augment.server {said}")
    with listening(lambda count: went_on(TEXT, read)) as listener, connect(listener.url) as server, asked as caught:
        server.complete({"model": server.model, "prompt": TEXT}, 3)
    assert TEXT not in str(caught.value)


def test_a_schema_goes_in_the_form_that_llama_server_enforces():
    schema = {"type": "object", "properties": {"warmth": {"type": "integer"}}}
    with listening() as listener, connect(listener.url) as server:
        server.ask(server.chat([{"role": "user", "content": TEXT}], schema, temperature=0.0))
    form = json.loads(listener.texts[0])["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["schema"] == schema and form["json_schema"]["strict"]


def test_where_an_address_leads_is_known_without_asking_it(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: pytest.fail("a connection was made"))
    assert openai_server.where("http://127.0.0.1:9/v1", "pairs") == "local"
    assert openai_server.where("http://192.0.2.7/v1", "pairs") == "remote"
