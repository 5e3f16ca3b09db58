"""A llama-server with one file of a release, asked as its users ask it."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localpsych_recipes import machine
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation.starting import EXACT, QUIET
from localpsych_recipes.llama_cpp import LlamaCpp

SECONDS = 3600.0  # for one answer, on a slow CPU


@dataclass(frozen=True)
class Serving:
    """url: of the server; key: that it asks for, so that no other user of this machine reads what it is asked."""

    url: str
    key: str

    def get(self, path: str) -> dict[str, Any]:
        return self._asked(path, None)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The server's answer to a request. UserError, without its text, where it refuses."""
        return self._asked(path, json.dumps(body).encode())

    def _asked(self, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(urllib.request.Request(self.url + path, body, headers), timeout=SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise UserError(
                f"llama-server refuses {path} with status {error.code}", "an answer", "see its log"
            ) from None


@contextmanager
def serving(tools: LlamaCpp, gguf: Path, context: int) -> Iterator[Serving]:
    """The file served for the block. UserError, with llama.cpp's last lines, if it cannot be loaded."""
    key, threads = secrets.token_urlsafe(), ["--threads", str(machine.cores())]
    extra = [*QUIET, *threads, *(() if tools.has_gpu() else EXACT)]
    with tools.serve(gguf, ctx=context, api_key=key, extra=extra) as server:
        yield Serving(server.url, key)
