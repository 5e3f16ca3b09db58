"""A tool of llama.cpp run to its end: its output, its failure as one message, its file whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from localpsych_recipes.errors import UserError
from localpsych_recipes.serving import last_lines


class ToolError(UserError):
    """A tool of llama.cpp did not do what it was asked; `given` holds its last lines."""


def run(command: Sequence[str | Path], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs a tool to its end; its whole output comes back. Raises ToolError with the last lines if it fails."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    done = subprocess.run([str(part) for part in command], env=env, cwd=cwd, stdin=subprocess.DEVNULL, **output)
    if done.returncode:
        tool = next(Path(part).name for part in command if str(part) != sys.executable)
        raise ToolError(
            f"{tool} ended with status {done.returncode}: {last_lines(done.stdout)}",
            "status 0",
            "read its lines above; a model too new for it needs a newer llama.cpp, named in LLAMA_CPP_HOME",
        )
    return done.stdout


def environment() -> dict[str, str]:
    """This process's variables without those that stand for llama.cpp's own arguments."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    # OpenMP's threads spin while they wait for each other. For long, they take the cores from whoever they wait for; not
    # at all, each wait ends in a sleep: two threads on two quiet cores wrote 71 tokens a second so, 324 with this count
    # (benchmarks/generation.py, with OMP_WAIT_POLICY=passive and without)
    if "OMP_WAIT_POLICY" not in env:
        env.setdefault("GOMP_SPINCOUNT", "1000")
    return env


SPARE = 1 << 20  # bytes, that a disk which is not full has
OURS = ("LLAMA_ARG_", "LLAMA_API_KEY", "LLAMA_LOG_")


@contextmanager
def finished(out: Path) -> Iterator[Path]:
    """A name beside `out` to write to; renamed to `out` at the end, removed after an error. OSError where the disk was
    full: of that each tool says something else, or nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    try:
        yield partial
        os.replace(partial, out)
    except ToolError:
        _refuse_full(partial)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _refuse_full(partial: Path) -> None:
    """OSError if no more can be written behind what a tool has left there."""
    try:
        with partial.open("ab") as file:
            file.write(bytes(SPARE))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(error.errno, error.strerror, str(partial.parent)) from None
