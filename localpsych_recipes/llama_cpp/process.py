"""A tool of llama.cpp run to its end: its output, its failure as one message, its file whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from localpsych_recipes.errors import UserError
from localpsych_recipes.serving import dying_with_this, last_lines


class ToolError(UserError):
    """A tool of llama.cpp did not do what it was asked; `given` holds its last lines."""


LOOK_SECONDS = 15.0  # between two looks at a tool that works
STILL_SECONDS = 600.0  # a tool that has not used a processor for so long waits for something that does not come


def run(command: Sequence[str | Path], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs a tool to its end; its whole output comes back. ToolError with its last lines if it fails, or if it hangs."""
    parts = [str(part) for part in command]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    # one that outlived a killed run would write into the file of the next
    how = {"stdin": subprocess.DEVNULL, "preexec_fn": dying_with_this(), **output}
    tool = subprocess.Popen(parts, env=env, cwd=cwd, **how)
    try:
        said = _watched(tool, _name(parts))
    except BaseException:
        tool.kill()
        with suppress(subprocess.TimeoutExpired):  # one that a dead disk holds does not end
            tool.wait(10)
        raise
    finally:
        tool.stdout.close()
    if tool.returncode:
        raise ToolError(
            f"{_name(parts)} {_ended(tool.returncode)}: {last_lines(said)}",
            "status 0",
            "read its lines above; a model too new for it needs a newer llama.cpp, named in LLAMA_CPP_HOME",
        )
    return said


def _name(parts: Sequence[str]) -> str:
    return next(Path(part).name for part in parts if part != sys.executable)


def _ended(status: int) -> str:
    return f"ended with status {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"


def _watched(tool: subprocess.Popen, name: str) -> str:
    """The output of a tool, once it has ended."""
    used, since = -1.0, time.monotonic()
    while True:
        try:
            return tool.communicate(timeout=LOOK_SECONDS)[0]
        except subprocess.TimeoutExpired:
            now = _processor_seconds(tool.pid)
        if now != used:
            used, since = now, time.monotonic()
        elif time.monotonic() - since >= STILL_SECONDS:
            raise ToolError(
                f"{name} hangs: it has computed nothing for {STILL_SECONDS:.0f} s, and was ended",
                "a tool that reads, computes or ends",
                "look whether its files lie on a disk that answers, then run the same command again",
            )


def _processor_seconds(pid: int) -> float:
    import psutil  # of accelerate; the tools are built before any package is there

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


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
