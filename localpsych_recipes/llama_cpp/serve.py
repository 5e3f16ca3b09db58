"""llama-server on a free loopback port, for as long as a `with` block lasts."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp.build import last_lines

READY_SECONDS = 600.0  # an 8B model read from a slow disk takes minutes
PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Server:
    """A running llama-server: `url` such as "http://127.0.0.1:40123" (OpenAI's API under /v1), `pid`, its `log`."""

    url: str
    pid: int
    log: Path


@contextmanager
def serving(binary: Path, arguments: Sequence[str], *, api_key: str | None, log: Path | None) -> Iterator[Server]:
    """See LlamaCpp.serve. The key travels in the environment, where no process list shows it."""
    with tempfile.TemporaryDirectory(prefix="localpsych-") as folder:
        log = log or Path(folder) / "llama-server.log"
        with log.open("wb") as output:
            process = _start(binary, arguments, api_key, output)
        try:
            yield _ready(process, log)
        finally:
            process.kill()
            process.wait()


def _start(binary: Path, arguments: Sequence[str], api_key: str | None, output: IO[bytes]) -> subprocess.Popen:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_ARG_", "LLAMA_API_KEY"))}
    if api_key:
        env["LLAMA_API_KEY"] = api_key
    # port 0: the system chooses, so that two servers never want the same one
    command = [str(binary), "--host", "127.0.0.1", "--port", "0", "--offline", *arguments]
    return subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent
    )


def _die_with_parent() -> None:
    """In the child: the kernel kills it when the thread that started it is gone, by SIGKILL too (Linux only)."""
    if _libc:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _ready(process: subprocess.Popen, log: Path) -> Server:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _failed(f"llama-server ended with status {process.returncode}", log)
        if (url := _url(log)) and _healthy(url):
            return Server(url, process.pid, log)
        time.sleep(0.05)
    raise _failed(f"llama-server was not ready after {READY_SECONDS:.0f} s", log)


def _url(log: Path) -> str | None:
    match = re.search(r"listening on (http://127\.0\.0\.1:\d+)\s", log.read_text(errors="replace"))
    return match[1] if match else None


def _healthy(url: str) -> bool:
    """Whether /health answers 200: it says 503 until the model is loaded."""
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
        "read its lines above; a smaller context or a smaller quant needs less memory",
    )
