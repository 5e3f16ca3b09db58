"""The Hub's client, with a time limit, and the patience that it lacks for commits, tags and new repositories."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from json import JSONDecodeError
from typing import TYPE_CHECKING, TypeVar

from localpsych_recipes.hub import answers
from localpsych_recipes.hub.answers import PASSING, Say

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further attempt at work that is worth waiting for
BRIEF = (1.0,)  # of a question asked at a prompt, whose answer is awaited
# what the client stumbles with over an answer of another form
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
SILENCE = 180.0  # seconds without a byte; the Hub gives up on a commit after 60, storage joins parts for longer


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

    limits = httpx2.Timeout(SILENCE, connect=10.0)

    def limited(request: httpx2.Request) -> None:
        given = request.extensions.get("timeout", {})
        asked = {name: seconds for name, seconds in given.items() if seconds is not None}
        request.extensions["timeout"] = {**limits.as_dict(), **asked}

    def client() -> httpx2.Client:
        made = default_client_factory()
        # not as the client's own limits: repo_info and list_repo_tree ask for none, in so many words
        before = [*made.event_hooks["request"], limited]
        made.event_hooks = {"request": before, "response": [answers.refuse_path_in_header, answers.wait_as_asked]}
        return made

    set_client_factory(client)


def patiently(
    question: Callable[[], T],
    say: Say | None = None,
    *,
    briefly: bool = False,
    passing: frozenset[int] = PASSING,
) -> T:
    """What `question` returns, asked again after failures that pass: lost connections and the statuses `passing`.

    A pause that the Hub asks for is made before. Whatever else `question` raises, and its last failure, comes through.
    """
    with answers.heard(say) if say else nullcontext():
        for pause in BRIEF if briefly else PAUSES:
            try:
                return question()
            except Exception as error:
                if not passes(error, passing):
                    raise
                if say:
                    say(f"      the Hub: {reason(error)}; trying again in {pause:.0f} s")
                time.sleep(pause)
        return question()


def passes(error: BaseException, statuses: frozenset[int] = PASSING) -> bool:
    """Whether the same request may succeed later."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    if (status := status_of(error)) is not None:
        return status in statuses
    if isinstance(error, JSONDecodeError) or came_short(error):
        return True
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


def came_short(error: BaseException) -> bool:
    """Whether the client says that a download has another size than was announced."""
    return isinstance(error, OSError) and str(error).startswith("Consistency check failed")


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, None if there was no answer."""
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def reason(error: BaseException) -> str:
    """A failure in a few words, without addresses and headers."""
    if cause := wrapped(error):
        return reason(cause)
    if status := status_of(error):
        return f"status {status}"
    if came_short(error) or isinstance(error, UNREADABLE):
        return f"an answer that cannot be read ({type(error).__name__})"
    return f"no answer ({type(error).__name__})"
