"""Every failure of the Hub or its client -> one UserError that says what to do, and never holds the token."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub.client import UNREADABLE, came_short, reason, status_of, wrapped

Told = tuple[str, str, str]  # given, expected, do; {repo} stands for the repository, {key} for the recipe's key
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

NO_TOKEN: Told = ("no token for the Hub", "a token of the role write (huggingface.co/settings/tokens)", LOG_IN)
OFFLINE: Told = (
    "HF_HUB_OFFLINE is set, and {repo} is asked of the Hub",
    "a connection, or everything in the cache",
    "unset HF_HUB_OFFLINE, or run once while connected",
)
GATED: Told = (
    "{repo} is gated, and this token has no access to it",
    "an account that was let in",
    "accept its terms on its page on the Hub, then " + LOG_IN,
)
NOT_THERE: Told = (
    "{key}: the Hub has no {repo}, or this token may not see it",
    "an id that exists",
    "check the spelling; for a private repository " + LOG_IN,
)
NO_REVISION: Told = (
    "{key}: {repo} has no such revision",
    "a commit, branch or tag of it",
    "check the revision beside {key}, or leave it out",
)
NO_FILE: Told = (
    "{repo}: a file that is needed is neither in the cache nor on the Hub",
    "the whole repository",
    "check the connection, HF_HUB_OFFLINE and the revision",
)
NO_HUB: Told = (
    "{repo}: what answers there does not name its files as the Hub does",
    "the Hub, or a server that speaks as it does",
    "check HF_ENDPOINT, proxy and firewall",
)
NO_ROOM: Told = ("the disk is full while {repo} is fetched", "room for all of it", "make room, or move HF_HOME")

# by class in huggingface_hub.errors, the first that fits; subclasses stand before their parents
BY_CLASS = (
    ("OfflineModeIsEnabled", OFFLINE),
    ("LocalTokenNotFoundError", NO_TOKEN),
    ("GatedRepoError", GATED),
    ("RepositoryNotFoundError", NOT_THERE),
    ("RevisionNotFoundError", NO_REVISION),
    ("EntryNotFoundError", NO_FILE),
    ("FileMetadataError", NO_HUB),
    ("HFValidationError", ("{key}: {repo!r} is not an id of the Hub", "USER/NAME", "check the spelling")),
)
# by status, where the client's exception says no more
BY_STATUS: dict[int, Told] = {
    401: ("the Hub refuses this token", "a token that is valid", LOG_IN),
    402: ("the Hub asks for payment for {repo}", "an account within its storage", "see the account's billing page"),
    403: ("this token may not do that in {repo}", "a token of the role write, in a namespace of its user", LOG_IN),
    404: NOT_THERE,
    413: ("a commit to {repo} is larger than the Hub takes", "less than 1 GB of small files", "take files out"),
    429: ("the Hub still counts too many requests", "fewer in five minutes", "wait, then run the same command again"),
}


@contextmanager
def explained(repo: str, key: str) -> Iterator[None]:
    """Inside, a failure of the Hub or its client becomes a UserError; anything else comes through.

    repo: the repository asked about; key: where the recipe names it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        raise UserError(*(_without_token(text.format(repo=repo, key=key)) for text in told)) from None


def _told(error: Exception) -> Told | None:
    from huggingface_hub import errors

    if isinstance(cause := wrapped(error), Exception) and (told := _told(cause)):
        return told
    for name, told in BY_CLASS:
        if isinstance(error, getattr(errors, name)):
            return told
    status = status_of(error)
    if status is not None:
        return BY_STATUS.get(status) or _refused(error, status)
    if "Invalid metadata in README.md" in str(error):
        return _literal(str(error)), "metadata that the Hub accepts", "mend the keys of the recipe that it names"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return NO_ROOM
    return _unreachable(error)


def _refused(error: Exception, status: int) -> Told:
    said = _literal(str(getattr(error, "server_message", None) or ""))
    given = f"{{repo}}: the Hub answers with status {status} {said}".rstrip()
    return given, "success", "run the same command again later"


def _unreachable(error: Exception) -> Told | None:
    import httpx2

    known = isinstance(error, (httpx2.HTTPError, ConnectionError, *UNREADABLE)) or came_short(error)
    if not known and type(error) is not RuntimeError:
        return None
    do = "check the connection and HF_ENDPOINT, then run the same command again"
    return f"{{repo}}: the Hub gives {reason(error)}", "a Hub that can be reached", do


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _without_token(text: str) -> str:
    """What an answer says may hold what it was asked with; a mirror's tokens need not look like the Hub's."""
    from huggingface_hub import get_token

    text = re.sub(r"\bhf_\w{6,}", "hf_***", text)
    return text.replace(token, "***") if (token := get_token()) else text
