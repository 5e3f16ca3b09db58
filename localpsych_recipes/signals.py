"""What SIGTERM and SIGINT do: a training finishes its step and saves a checkpoint, everything else stops at once.

Exit codes: after SIGTERM 75, EX_TEMPFAIL of sysexits.h, on which a scheduler may start the same command again; after
SIGINT 130. A second signal ends the process where it is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from localpsych_recipes import machine

CODES = {signal.SIGTERM: os.EX_TEMPFAIL, signal.SIGINT: 128 + signal.SIGINT}
SAID = "interrupted; the same command goes on from here"
# seconds in which all signals are one: a scheduler tells every process, and then a launcher tells its own once more
TOGETHER = 3.0
PATIENCE = 10.0  # seconds for servers to end and half-written files to go
PR_SET_PDEATHSIG = 1  # prctl(2)
LAUNCHERS = (b"accelerate", b"torchrun", b"torch.distributed")


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread where a signal finds it."""


@dataclass
class _State:
    number: int = 0  # of the signal that came first
    since: float = 0.0
    parent: int = field(default_factory=os.getppid)
    raising: bool = False  # inside `raised`
    waiting: bool = False  # inside `deferred`


_state = _State()


def listen() -> None:
    """From here on signals end this process as this module says; those that come before `raised` end it at once."""
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` and shells without job control leave SIGINT
            signal.signal(number, _handle)
    sys.unraisablehook = _quiet
    _end_with_launcher()


@contextmanager
def raised() -> Iterator[None]:
    """Inside, a signal is an Interrupted; whoever catches it ends with `exit_code`."""
    _state.raising = True
    try:
        yield
    finally:
        _state.raising = False


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, a signal is only noted, for `pending`. Interrupted at the end of the block if one has come."""
    _state.waiting = True
    try:
        yield
    finally:
        _state.waiting = False
    if pending():
        raise Interrupted


def pending() -> int:
    """The number of the signal that has come; 0 for none."""
    return _state.number


def share(number: int) -> None:
    """This process ends as another of the same launch does, which has had this signal."""
    _state.number = _state.number or number


def exit_code() -> int:
    """Of a process that a signal ended; without one, after a KeyboardInterrupt of another origin, that of SIGINT."""
    return CODES[_state.number or signal.SIGINT]


def _handle(number: int, frame: FrameType | None) -> None:
    if pending():
        if _is_another():
            _leave()
        return
    _state.number, _state.since = number, time.monotonic()
    if _state.waiting:
        return
    if not _state.raising:
        _leave()
    # one that is caught on its way, or a thread that does not end, must not keep the process
    timer = threading.Timer(PATIENCE, _leave)
    timer.daemon = True
    timer.start()
    raise Interrupted


def _is_another() -> bool:
    if (parent := os.getppid()) != _state.parent:  # the same one, by way of a launcher that it has ended
        _state.parent = parent
        return False
    return time.monotonic() - _state.since > TOGETHER


def _leave() -> None:
    # children ask the kernel to end with this process
    if machine.ranks().main:
        os.write(2, f"localpsych: {SAID}\n".encode())
    os._exit(exit_code())


def _quiet(unraisable: Any) -> None:
    if not isinstance(unraisable.exc_value, Interrupted):  # in a __del__: the timer ends the process all the same
        sys.__unraisablehook__(unraisable)


def _end_with_launcher() -> None:
    """SIGTERM when the launcher is gone, by SIGKILL too (Linux): it takes its children along only if it is given time."""
    if sys.platform != "linux":
        return
    command = Path(f"/proc/{os.getppid()}/cmdline")
    if command.exists() and any(name in command.read_bytes() for name in LAUNCHERS):
        end_with_parent(signal.SIGTERM, os.getppid())


def end_with_parent(number: int, parent: int) -> None:
    """This process gets the signal when its parent is gone, by SIGKILL too (Linux only); ends here if it is already."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # gone before the kernel was asked
        os._exit(1)
