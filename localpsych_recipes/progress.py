"""One line now and then of how far long work is and what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_BETWEEN = 10.0


class Progress:
    """Called with what is done and, where it is known, the total; says a line at most every ten seconds, never for work
    shorter than that."""

    def __init__(self, say: Callable[[str], None], what: str, unit: str, before: int = 0) -> None:
        """before: what was done by an earlier run, which says nothing of how fast this one is."""
        self.say, self.what, self.unit, self.before = say, what, unit, before
        self.started = self.last = time.monotonic()

    def __call__(self, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN or done <= self.before:
            return
        self.last = now
        of = ""
        if total:
            left = (now - self.started) / (done - self.before) * (total - done)
            of = f" of {amount(total, self.unit)}, about {duration(left)} left"
        counted = total and self.unit != "bytes"  # the unit once; bytes have each a prefix of their own
        self.say(f"      {self.what} {f'{done:,}' if counted else amount(done, self.unit)}{of}")


def amount(count: float, unit: str) -> str:
    """Bytes in powers of 1000, everything else with thousands separated."""
    if unit != "bytes":
        return f"{count:,.0f} {unit}"
    for prefix in ("", "k", "M", "G"):
        if count < 1000:
            break
        count /= 1000
    else:
        prefix = "T"
    return f"{count:.0f} B" if not prefix else f"{count:.1f} {prefix}B"


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
