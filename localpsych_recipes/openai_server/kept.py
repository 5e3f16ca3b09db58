"""What was answered, kept on disk as it comes, and asking for the rest."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, Any, Self

from localpsych_recipes.openai_server.asking import Answer, Refused, Server


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
