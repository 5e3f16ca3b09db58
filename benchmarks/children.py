"""Commands as processes of their own: how long each took, the processor's time, its peak memory.

What imports this must import nothing big: a child's peak memory starts at the size of the process that makes it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Spent:
    """Seconds of the wall, seconds of all its threads and waited-for children on processors, peak memory in GB."""

    seconds: float
    cpu: float
    peak: float
    output: str = ""


def spent(command: Sequence[str | Path], **environment: str) -> Spent:
    """Runs a command to its end. SystemExit with its output if it fails."""
    env = {"PYTHONPATH": str(CHECKOUT), **os.environ, **environment}
    os.sync()  # so that nobody pays for what was written before
    start = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.stdout.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(output)
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = time.monotonic() - start
    return Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e9, output)


def interleaved(commands: Mapping[str, Sequence[str | Path]], times: int) -> dict[str, list[Spent]]:
    """Each command `times` times, in turns, so that what else the machine does falls on all of them."""
    found: dict[str, list[Spent]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            found[name].append(spent(command))
    return found


def table(found: Mapping[str, Sequence[Spent]], peer: str) -> str:
    """Medians, the range of the seconds, and the median of each round's ratio to `peer`."""
    lines = [f"{'':34}{'seconds':>9}{'from':>8}{'to':>8}{'CPU s':>8}{'peak GB':>9}{'ratio':>8}"]
    for name, rounds in found.items():
        seconds = [one.seconds for one in rounds]
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(rounds, found[peer], strict=True))
        cpu, peak = (statistics.median(getattr(one, what) for one in rounds) for what in ("cpu", "peak"))
        middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
        lines.append(f"{name:34}{middle:9.2f}{low:8.2f}{high:8.2f}{cpu:8.2f}{peak:9.2f}{ratio:8.2f}")
    return "\n".join(lines)
