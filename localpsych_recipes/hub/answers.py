"""What is done with every answer of the Hub before its client sees it: hooks of the client's own sessions."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

Say = Callable[[str], None]

LONGEST_PAUSE = 330.0  # seconds; the Hub counts requests in windows of five minutes
PASSING = frozenset({408, 429, 500, 502, 503, 504})
_NAME = re.compile(r'(?:W/)?"?(?!\.+"?$)[^/\\"\x00-\x20\x7f]{1,200}"?', re.ASCII)
_listeners: list[Say] = []
_hurried = threading.local()
_waiting = threading.Lock()
_waited_for = 0.0  # the end of the pause that was said last, by the monotonic clock


@contextmanager
def heard(say: Say) -> Iterator[None]:
    """Inside, `say` is told of pauses that the Hub asks for, those that the client makes by itself too."""
    _listeners.append(say)
    try:
        yield
    finally:
        _listeners.remove(say)


@contextmanager
def hurried() -> Iterator[None]:
    """Inside, in this thread, a pause that the Hub asks for is not made."""
    _hurried.now = True
    try:
        yield
    finally:
        _hurried.now = False


def refuse_path_in_header(response: httpx2.Response) -> None:
    """The client makes names of files from these headers, and looks at none of them: `../x` would leave the cache."""
    from huggingface_hub.errors import FileMetadataError

    if response.request.method != "HEAD" or response.status_code >= 400:
        return
    for header in ("ETag", "X-Linked-Etag", "X-Repo-Commit"):
        value = response.headers.get(header)
        if value is not None and not _NAME.fullmatch(value):
            raise FileMetadataError(f"{header} is no name of a file")


def wait_as_asked(response: httpx2.Response) -> None:
    """Makes the pause that a busy Hub asks for, at most LONGEST_PAUSE, and says so; the client would make it in
    silence, however long it is. Afterwards the answer asks for none."""
    seconds = asked_pause(response) if response.status_code in PASSING else 0.0
    if not seconds:
        return
    if not getattr(_hurried, "now", False):
        _say_once(seconds)
        time.sleep(seconds)
    response.headers["Retry-After"] = "0"
    response.headers.pop("RateLimit", None)


def asked_pause(response: httpx2.Response) -> float:
    """Seconds that an answer asks to wait for, at most LONGEST_PAUSE; 0 where it asks for nothing."""
    from huggingface_hub.utils import parse_ratelimit_headers

    asked = response.headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,9}", asked, re.ASCII):
        return min(float(asked), LONGEST_PAUSE)
    limit = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    return min(limit.reset_in_seconds + 1.0, LONGEST_PAUSE) if limit else 0.0


def _say_once(seconds: float) -> None:
    """Of eight downloads that are told to wait together, one says so."""
    global _waited_for
    with _waiting:
        now, said = time.monotonic(), _waited_for
        _waited_for = max(said, now + seconds)
    if now + seconds > said + 1.0:
        say = _listeners[-1] if _listeners else lambda text: print(text, file=sys.stderr)
        say(f"      waiting {seconds:.0f} s: the Hub asks for it")
