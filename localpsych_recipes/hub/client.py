"""The Hub's client, with a time limit, and the patience that it lacks for commits, tags and new repositories."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
Say = Callable[[str], None]

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further attempt at work that is worth waiting for
BRIEF = (1.0,)  # of a question asked at a prompt, whose answer is awaited
LONGEST_PAUSE = 330.0  # seconds; the Hub counts requests in windows of five minutes
SILENCE = 180.0  # seconds without a byte; the Hub gives up on a commit after 60, storage joins parts for longer
PASSING = frozenset({408, 429, 500, 502, 503, 504})


def api() -> HfApi:
    """The client for the endpoint and the token of this moment's environment."""
    from huggingface_hub import HfApi

    _limit_silence()
    return HfApi()


@cache
def _limit_silence() -> None:
    """By default the client waits for ever for a server that has stopped answering."""
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def client() -> httpx2.Client:
        made = default_client_factory()
        made.timeout = httpx2.Timeout(SILENCE, connect=10.0)
        return made

    set_client_factory(client)


def patiently(
    question: Callable[[], T],
    say: Say = lambda text: None,
    *,
    briefly: bool = False,
    passing: frozenset[int] = PASSING,
) -> T:
    """What `question` returns, asked again after failures that pass: lost connections and the statuses `passing`.

    The Hub's Retry-After replaces the pause. Whatever else `question` raises, and its last failure, comes through.
    """
    for pause in BRIEF if briefly else PAUSES:
        try:
            return question()
        except Exception as error:
            if not passes(error, passing):
                raise
            wait = _asked_pause(error) or pause
            say(f"      the Hub: {reason(error)}; trying again in {wait:.0f} s")
            time.sleep(wait)
    return question()


def passes(error: BaseException, statuses: frozenset[int] = PASSING) -> bool:
    """Whether the same request may succeed later."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    if (status := status_of(error)) is not None:
        return status in statuses
    if type(error) is RuntimeError and error.__cause__ is None:  # from Xet, whose errors say no more than a text
        return True
    if cause := wrapped(error):
        return passes(cause, statuses)
    if isinstance(error, ConnectionError) and not isinstance(error, OfflineModeIsEnabled):
        return not re.search(r"\b40\d\b", str(error))  # Xet names a refused token's status in the text alone
    return isinstance(error, httpx2.TransportError)


def wrapped(error: BaseException) -> BaseException | None:
    """The failure behind the client's wrappers: an upload's RuntimeError, a download's "not in the cache either"."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    return error.__cause__ if type(error) is RuntimeError or isinstance(error, LocalEntryNotFoundError) else None


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, None if there was no answer."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def reason(error: BaseException) -> str:
    """A failure in a few words, without addresses and headers."""
    if cause := wrapped(error):
        return reason(cause)
    status = status_of(error)
    return f"status {status}" if status else f"no answer ({type(error).__name__})"


def _asked_pause(error: BaseException) -> float | None:
    """Seconds that the answer asks to wait for."""
    from huggingface_hub.utils import parse_ratelimit_headers

    if status_of(error) is None:
        return _asked_pause(cause) if (cause := wrapped(error)) else None
    headers = error.response.headers  # type: ignore[attr-defined]
    asked = headers.get("Retry-After", "")
    if asked.isdecimal():
        return min(float(asked), LONGEST_PAUSE)
    limit = parse_ratelimit_headers(headers) if status_of(error) == 429 else None
    return min(limit.reset_in_seconds + 1.0, LONGEST_PAUSE) if limit else None
