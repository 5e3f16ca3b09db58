"""An OpenAI-compatible server that plays a judge with known scores, and a model that writes known answers.

    python -m tests.scripted_judge PORT

It reads question and answer out of the rubric that ships, gives what `score` says of them in the form that the schema
asks for, and may fail on the way in the manner of real servers. It counts what it was asked and what it answered.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from localpsych_recipes import openai_server

Scores = int | Mapping[str, int | bool] | str  # for all criteria; a number or a yes by name; or a text as it is said
Score = Callable[[str, str, str], Scores]  # of question, answer, and where it stands: "A", "B", or "" where it is alone
Written = str | tuple[str, bool]  # a text, and whether it was cut off
Mishap = Literal["late", "no json", "cut", "400", "429", "500", "503"]
KIND = ("sorry", "hear", "hard", "hurts", "sounds", "understand")
SAID = ("Go to bed then.", "Others have it worse.", "Pull yourself together now.", "Why do you tell me?")


def by_its_words(question: str, answer: str, place: str) -> int:
    """9 for an answer with a kind word in it, 4 for any other."""
    return 9 if any(word in answer.lower() for word in KIND) else 4


def by_the_seed(prompt: Any, seed: int) -> str:
    """One of the sentences of SAID."""
    at = hashlib.sha256(json.dumps([prompt, seed]).encode()).digest()[0]
    return SAID[at % len(SAID)]


class Listener(ThreadingHTTPServer):
    """asked, answered: how often, by the request's digest; mishap: of a request, by how often the same came before."""

    daemon_threads, request_queue_size = True, 64

    def __init__(
        self,
        score: Score = by_its_words,
        write: Callable[[Any, int], Written] = by_the_seed,
        mishap: Callable[[dict[str, Any], int], Mishap | None] = lambda request, before: None,
        model: str = "sage",
        port: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.score, self.write, self.mishap, self.model = score, write, mishap, model
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def came_before(self, request: dict[str, Any]) -> int:
        with self.lock:
            key = openai_server.digest(request)
            self.asked[key] += 1
            self.requests.append(request)
            return self.asked[key] - 1


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.reply(200, {"object": "list", "data": [{"id": self.server.model, "owned_by": "llamacpp"}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mishap = self.server.mishap(request, self.server.came_before(request))
        if mishap == "cut":
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        if mishap and mishap.isdigit():
            return self.reply(int(mishap), {"error": {"message": "not now"}}, {"Retry-After": "0"})
        if mishap == "no json":
            return self.send(200, b'{"choices": [')
        if mishap == "late":
            time.sleep(0.3)
        self.reply(200, completion(request, self.server))
        with self.server.lock:
            self.server.answered[openai_server.digest(request)] += 1

    def reply(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, json.dumps(content).encode(), headers or {})

    def send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def completion(request: dict[str, Any], server: Listener) -> dict[str, Any]:
    """The body of /v1/chat/completions for messages, of /v1/completions for a prompt of token ids or text."""
    messages, prompt = request.get("messages"), request.get("prompt")
    judges = "response_format" in request  # else it is a model that answers a prompt, or a conversation
    found = verdict(request, server.score) if judges else server.write(prompt or messages, request.get("seed", 0))
    text, cut = found if isinstance(found, tuple) else (found, False)
    said = {"message": {"role": "assistant", "content": text}} if messages else {"text": text}
    size = len(prompt) if isinstance(prompt, list) else len(json.dumps(messages or prompt).split())
    return {
        "id": "1",
        "object": "chat.completion" if messages else "text_completion",
        "created": 0,
        "model": server.model,
        "choices": [{"index": 0, "finish_reason": "length" if cut else "stop", "logprobs": None, **said}],
        "usage": {
            "prompt_tokens": size,
            "completion_tokens": len(text.split()),
            "total_tokens": size + len(text.split()),
        },
    }


def verdict(request: dict[str, Any], score: Score) -> str:
    """What `score` gives, as the request's schema wants it."""
    schema, rubric = request["response_format"]["json_schema"]["schema"], request["messages"][-1]["content"]
    question = quoted(rubric, "Conversation").rsplit("user:", 1)[-1].strip()
    if set(schema["properties"]) != {"a", "b"}:
        found = one(schema, score(question, quoted(rubric, "Reply"), ""))
        return found if isinstance(found, str) else json.dumps(found)
    said = {side: score(question, quoted(rubric, f"Reply {side}"), side) for side in "AB"}
    both = [one(schema["properties"][side.lower()], said[side]) for side in "AB"]
    text = next((part for part in both if isinstance(part, str)), None)
    return text if text is not None else json.dumps(dict(zip("ab", both, strict=True)))


def one(schema: Mapping[str, Any], score: Scores) -> dict[str, Any] | str:
    if isinstance(score, str):
        return score
    named = score if isinstance(score, Mapping) else {"*": score}
    usual = {"integer": named.get("*", 5), "boolean": False}
    return {name: named.get(name, usual[form["type"]]) for name, form in schema["properties"].items()}


def quoted(rubric: str, heading: str) -> str:
    """The text behind `> ` under a heading, which no text can end, and the names of those who speak."""
    part = f"\n{rubric}".split(f"\n# {heading}\n", 1)[1].split("\n# ", 1)[0]
    return "\n".join(line[2:] if line.startswith(">") else line for line in part.splitlines()).strip()


@contextmanager
def listening(**how: Any) -> Iterator[Listener]:
    """A listener on a free port of this machine, for as long as the block lasts."""
    with Listener(**how) as listener:
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield listener
        listener.shutdown()


if __name__ == "__main__":
    Listener(port=int(sys.argv[1])).serve_forever()
