"""A model server as a child of this process, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from localpsych_recipes import signals
from localpsych_recipes.errors import UserError

READY_SECONDS = 600.0  # an 8B model read from a slow disk takes minutes


@dataclass(frozen=True)
class Running:
    """A server that is ready: `url` such as "http://127.0.0.1:40123" (OpenAI's API under /v1), `pid`, its `log`."""

    url: str
    pid: int
    log: Path


@contextmanager
def running(
    command: Sequence[str],
    env: Mapping[str, str],
    url: Callable[[str], str | None],
    *,
    log: Path | None = None,
    grace: float = 0.0,
) -> Iterator[Running]:
    """Starts the server, waits until its /health says 200, and kills it with the block.

    url: where it listens, from what its log says until then; None as long as that is not known. log: where its output
    goes, else to a temporary file. grace: seconds that it may take to end by itself. UserError, with the last lines of
    its log, if it ends or is not ready in ten minutes.
    """
    name = Path(command[0]).name
    with tempfile.TemporaryDirectory(prefix="localpsych-") as folder:
        log = log or Path(folder) / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its own children go with it, and Ctrl-C is ours to answer
                preexec_fn=dying_with_this(),
            )
        try:
            yield _ready(process, name, log, url)
        finally:
            _end(process, grace)


def dying_with_this() -> Callable[[], None]:
    """For a child's preexec_fn: the kernel kills it when the thread that started it is gone, by SIGKILL too (Linux)."""
    return partial(signals.end_with_parent, signal.SIGKILL, os.getpid())


def _end(process: subprocess.Popen, grace: float) -> None:
    if grace:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _ready(process: subprocess.Popen, name: str, log: Path, url: Callable[[str], str | None]) -> Running:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _failed(f"{name} ended with status {process.returncode}", log)
        if (found := url(log.read_text(errors="replace"))) and _healthy(found):
            return Running(found, process.pid, log)
        time.sleep(0.05)
    raise _failed(f"{name} was not ready after {READY_SECONDS:.0f} s", log)


def _healthy(url: str) -> bool:
    """Whether /health answers 200: llama-server says 503 until the model is loaded."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _failed(what: str, log: Path) -> UserError:
    # at this point the server has answered nothing, so its log holds no prompt
    return UserError(
        f"{what}: {last_lines(log.read_text(errors='replace'))}",
        "a server that is ready",
        "read its lines above; a smaller context, fewer slots or a smaller quant need less memory",
    )


def last_lines(text: str, count: int = 8) -> str:
    """The last lines of a tool's output that say anything."""
    return "\n    ".join(["", *[line.rstrip() for line in text.splitlines() if line.strip()][-count:]])
