"""llama-server on a free loopback port, for as long as a `with` block lasts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from localpsych_recipes.llama_cpp.process import environment
from localpsych_recipes.serving import Running as Server
from localpsych_recipes.serving import running

__all__ = ["Server", "serving"]


def serving(
    binary: Path, arguments: Sequence[str], *, api_key: str | None, log: Path | None
) -> AbstractContextManager[Server]:
    """See LlamaCpp.serve. The key travels in the environment, where no process list shows it."""
    env = environment()
    if api_key:
        env["LLAMA_API_KEY"] = api_key
    # port 0: the system chooses, so that two servers never want the same one
    command = [str(binary), "--host", "127.0.0.1", "--port", "0", "--offline", *arguments]
    return running(command, env, _url, log=log)


def _url(log: str) -> str | None:
    match = re.search(r"listening on (http://127\.0\.0\.1:\d+)\s", log)
    return match[1] if match else None
