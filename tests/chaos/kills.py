"""Signals at seeded moments of every stage, one after the other in one run directory."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import ground
from tests.chaos.ground import Marked

START = "start"  # from the first moment at which a process listens to signals, to its first stage
SECONDS_OF_START = 2.0
STAGES = (START, "prepare", "sft", "dpo", "merge", "gguf", "verify", "evaluate", "card", "push")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 75, signal.SIGINT: 130}
BEGINS = re.compile(r"^\[\d+/\d+\] (\w+)$")  # with "done before" behind it, nothing begins


@dataclass(frozen=True)
class Fault:
    """A signal in a stage, at a share of the time that the stage took undisturbed. number: of its plan, from 1."""

    number: int
    stage: str
    signal: signal.Signals
    share: float


@dataclass(frozen=True)
class Injected:
    """What became of it. stage: in which it fell, None where the run had ended before; wrong: what was not as it must be."""

    fault: Fault
    stage: str | None
    wrong: tuple[str, ...] = ()


def plan(kills: int, seed: int) -> list[Fault]:
    """Each stage as often as the others, in their order, and in each stage every signal in turn."""
    rng = random.Random(seed)
    rounds = [(STAGES[i % len(STAGES)], i // len(STAGES)) for i in range(kills)]
    pairs = [(stage, SIGNALS[(STAGES.index(stage) + turn) % len(SIGNALS)]) for stage, turn in rounds]
    pairs.sort(key=lambda pair: STAGES.index(pair[0]))
    return [Fault(number, stage, one, rng.random() * 0.9) for number, (stage, one) in enumerate(pairs, 1)]


def chain(
    world: Marked, run_dir: Path, faults: list[Fault], seconds: dict[str, float], say: Callable[[str], None]
) -> Iterator[Injected]:
    """The same command again and again, each time with the next fault, and at last undisturbed to its end.

    seconds: that each stage took in an undisturbed run. AssertionError if the last run fails.
    """
    for fault in faults:
        found = inject(world, run_dir, fault, seconds)
        say(f"{fault.number}: {fault.signal.name} in {found.stage}: {', '.join(found.wrong) or 'as it must be'}")
        yield found
        if found.stage is None:
            break
    world.run(run_dir, settings=ground.SMALLEST)


def inject(world: Marked, run_dir: Path, fault: Fault, seconds: dict[str, float]) -> Injected:
    process = world.start(run_dir, settings=ground.SMALLEST)
    printed = Printed(process)
    printed.wait_for(fault.stage)
    time.sleep(fault.share * seconds.get(fault.stage, SECONDS_OF_START))
    running, stage = process.poll() is None, printed.stage
    process.send_signal(fault.signal)
    try:
        process.wait(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(printed.rest()) from None
    text = printed.rest()
    if not running:
        return Injected(fault, None, () if process.returncode == 0 else (f"ended by itself: {text[-2000:]}",))
    wrong = list(wrongs(fault, process.returncode, text))
    if left := ground.orphans(world.mark):
        wrong.append(f"processes {left} are left")
    return Injected(fault, stage, tuple(wrong))


def wrongs(fault: Fault, code: int, text: str) -> Iterator[str]:
    if code == 0:
        if fault.stage != STAGES[-1]:  # in the last one a signal may come too late
            yield f"{fault.signal.name} was ignored"
        return
    if code != CODES[fault.signal]:
        yield f"exit code {code}: {text[-1500:]}"
    if "Traceback" in text or "Exception ignored" in text:
        yield f"a traceback: {text[-3000:]}"
    if fault.signal != signal.SIGKILL and text.count("interrupted; the same command goes on from here") != 1:
        yield f"not one line that says so: {text[-500:]}"


class Printed:
    """What a process prints, while it does."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process, self.stage, self.lines = process, START, []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, stage: str) -> None:
        """Until this stage or a later one begins, or the process has ended."""
        self._wait(self._listens)
        self._wait(lambda: STAGES.index(self.stage) >= STAGES.index(stage))

    def rest(self) -> str:
        """All that was printed; once the process has ended."""
        self._thread.join(timeout=60)
        return "".join(self.lines)

    def _wait(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + 600
        while self.process.poll() is None and not holds():
            if time.monotonic() > until:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise AssertionError(self.rest())
            time.sleep(0.01)

    def _listens(self) -> bool:
        """Whether it answers SIGTERM, which Python by itself does not: before, it has done nothing."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        caught = int(re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)[1], 16)
        return bool(caught & 1 << signal.SIGTERM - 1)

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if found := BEGINS.match(line.rstrip()):
                self.stage = found[1]
