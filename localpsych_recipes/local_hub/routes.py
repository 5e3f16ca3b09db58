"""Every address that the hub answers, and what it takes to be answered there. The first row that fits is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import unquote

from localpsych_recipes.local_hub import commits, files, lfs, repos
from localpsych_recipes.local_hub.wire import Refusal, Request, Response

if TYPE_CHECKING:
    from localpsych_recipes.local_hub.server import LocalHub

# open: anybody.  read: who may see the repository.  content: and has passed its gate.
# write: who owns it, with a token that may write.  signed: whoever holds an address that the batch gave out.
Access = Literal["open", "read", "content", "write", "signed"]


class Route(NamedTuple):
    """A row; GET answers HEAD as well."""

    method: str
    template: str
    access: Access
    handler: Callable[[LocalHub, Request], Response]


def no_xet(hub: LocalHub, request: Request) -> Response:
    raise Refusal(404, "This hub moves files by plain LFS: set HF_HUB_DISABLE_XET=1")


def nothing(hub: LocalHub, request: Request) -> Response:
    return Response({})


ROUTES = (
    Route("GET", "/api/whoami-v2", "open", repos.whoami),
    Route("GET", "/api/agent-harnesses", "open", nothing),
    Route("GET", "/api/telemetry/{path}", "open", nothing),
    Route("POST", "/api/validate-yaml", "open", repos.validate_card),
    Route("POST", "/api/repos/create", "open", repos.create),
    Route("DELETE", "/api/repos/delete", "open", repos.delete),
    Route("PUT", "/api/{type}/{id}/settings", "write", repos.settings),
    Route("GET", "/api/{type}/{id}/auth-check", "content", repos.auth_check),
    Route("GET", "/api/{type}/{id}/auth-check/write", "write", repos.auth_check),
    Route("POST", "/api/{type}/{id}/preupload/{rev}", "write", commits.preupload),
    Route("POST", "/api/{type}/{id}/commit/{rev}", "write", commits.commit),
    Route("GET", "/api/{type}/{id}/commits/{rev}", "read", commits.history),
    Route("GET", "/api/{type}/{id}/refs", "read", commits.refs),
    Route("POST", "/api/{type}/{id}/tag/{rev}", "write", commits.create_tag),
    Route("DELETE", "/api/{type}/{id}/tag/{ref}", "write", commits.delete_tag),
    Route("POST", "/api/{type}/{id}/branch/{ref}", "write", commits.create_branch),
    Route("DELETE", "/api/{type}/{id}/branch/{ref}", "write", commits.delete_branch),
    Route("GET", "/api/{type}/{id}/tree/{rev}", "read", files.listing),
    Route("GET", "/api/{type}/{id}/tree/{rev}/{path}", "read", files.listing),
    Route("POST", "/api/{type}/{id}/paths-info/{rev}", "read", files.paths_info),
    Route("GET", "/api/{type}/{id}/xet-read-token/{rev}", "read", no_xet),
    Route("GET", "/api/{type}/{id}/xet-write-token/{rev}", "write", no_xet),
    Route("GET", "/api/{type}/{id}/revision/{rev}", "read", repos.information),
    Route("GET", "/api/{type}/{id}", "read", repos.information),
    Route("POST", "/{prefix}{id}.git/info/lfs/objects/batch", "write", lfs.batch),
    Route("PUT", "/{prefix}{id}/lfs-object/{oid}", "signed", lfs.put_object),
    Route("PUT", "/{prefix}{id}/lfs-part/{oid}", "signed", lfs.put_part),
    Route("POST", "/{prefix}{id}/lfs-complete/{oid}", "signed", lfs.complete),
    Route("POST", "/{prefix}{id}/lfs-verify/{oid}", "write", lfs.verify),
    Route("GET", "/{prefix}{id}/resolve/{rev}/{path}", "content", files.resolve),
)

# Matched against the raw path: `dev%2Fx` is one revision, and a server that decodes first would cut it in two.
_PARTS = {
    "type": "models|datasets|spaces",
    "prefix": "(?:datasets/|spaces/)?",
    "id": "[^/]+(?:/[^/]+)?",
    "rev": "(?:refs/(?:heads|tags|pr)/)?[^/]+",
    "ref": "[^/]+",
    "oid": "[^/]+",
    "path": ".+",
}


@lru_cache
def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(f"(?P<{t}>{_PARTS[t]})" if at % 2 else re.escape(t) for at, t in enumerate(escaped)))


def find(method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
    """The row for a request and the decoded parts of its path; 404 if there is none, 400 if the path is not UTF-8."""
    for route in ROUTES:
        found = _pattern(route.template).fullmatch(raw_path) if route.method == method.replace("HEAD", "GET") else None
        if found:
            return route, _decoded(found.groupdict(default=""))
    raise Refusal(404, "This hub has nothing at this address")


def _decoded(parts: dict[str, str]) -> dict[str, str]:
    try:
        return {name: unquote(text, errors="strict") for name, text in parts.items()}
    except UnicodeDecodeError:
        raise Refusal(400, "The address is not UTF-8") from None
