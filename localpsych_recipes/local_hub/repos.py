"""The caller, and repositories as wholes: create, delete, settings, information, card check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localpsych_recipes.local_hub import cards
from localpsych_recipes.local_hub.accounts import Account, require_writer
from localpsych_recipes.local_hub.names import URL_PREFIXES
from localpsych_recipes.local_hub.store import Commit, Repo
from localpsych_recipes.local_hub.tree import File, lfs_details
from localpsych_recipes.local_hub.wire import Refusal, Request, Response

if TYPE_CHECKING:
    from localpsych_recipes.local_hub.server import LocalHub


def whoami(hub: LocalHub, request: Request) -> Response:
    account = request.account
    if account is None:
        raise Refusal(401, "Invalid username or password.")
    token = {"displayName": "local", "role": account.role}
    organisations = [{"name": name, "fullname": name, "type": "org"} for name in account.organisations]
    user = {"type": "user", "name": account.name, "fullname": account.name, "isPro": False}
    return Response({**user, "orgs": organisations, "auth": {"type": "access_token", "accessToken": token}})


def create(hub: LocalHub, request: Request) -> Response:
    payload = request.json()
    kind, id = _named(request.account, payload)
    url = {"url": f"{request.base}/{URL_PREFIXES[kind]}{id}", "name": id}
    repo = hub.store.create(kind, id, bool(_private(payload)), request.account.name)
    if repo is None:
        raise Refusal(409, f"You already created this {kind[:-1]} repo", **url)  # exist_ok reads the url
    return Response({**url, "id": id})


def delete(hub: LocalHub, request: Request) -> Response:
    kind, id = _named(request.account, request.json())
    hub.store.delete(hub.store.repo(kind, id))
    return Response("OK")


def _named(account: Account | None, payload: dict[str, Any]) -> tuple[str, str]:
    """The kind and the id in the body of create and delete, in a namespace where the caller may write."""
    namespace, name = payload.get("organization") or (account.name if account else ""), payload.get("name")
    kind = f"{payload.get('type') or 'model'}s"
    if kind not in URL_PREFIXES or not isinstance(name, str):
        raise Refusal(400, "A repository has a name and the type model, dataset or space")
    require_writer(account, str(namespace))
    return kind, f"{namespace}/{name}"


def _private(payload: dict[str, Any]) -> bool | None:
    """What a body says about visibility, None if nothing; older clients send `private`."""
    visibility = payload.get("visibility")
    if visibility not in (None, "public", "private"):
        raise Refusal(400, "visibility is public or private")
    return payload.get("private") if visibility is None else visibility == "private"


def settings(hub: LocalHub, request: Request) -> Response:
    payload = request.json()
    changed = {"private": _private(payload), "gated": payload.get("gated")}
    if changed["gated"] not in (None, False, "auto", "manual") or changed["private"] not in (None, False, True):
        raise Refusal(400, "gated is auto, manual or false; private is true or false")
    with request.repo.lock:
        request.repo.change(**{name: value for name, value in changed.items() if value is not None})
    return Response({name: value for name, value in changed.items() if value is not None})


def auth_check(hub: LocalHub, request: Request) -> Response:
    return Response({"allowed": True})  # the table of routes has refused everybody else


def validate_card(hub: LocalHub, request: Request) -> Response:
    errors, warnings = cards.problems(str(request.json().get("content", "")))
    payload = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return Response(payload, status=400 if errors else 200)


def information(hub: LocalHub, request: Request) -> Response:
    repo = request.repo
    state, commit = repo.state, repo.commit(request.parts.get("rev", "main"))
    with_blobs = request.query.get("blobs", "").lower() in ("1", "true")
    return Response({
        "_id": repo.id, "id": repo.id, "author": repo.owner, "sha": commit.oid, "lastModified": commit.date,
        "createdAt": state.created, "private": state.private, "gated": state.gated, "disabled": False,
        "downloads": 0, "likes": 0, **_from_card(repo, commit),
        "siblings": [_sibling(path, file, with_blobs) for path, file in sorted(commit.files.items())],
    })  # fmt: skip


def _sibling(path: str, file: File, with_blobs: bool) -> dict[str, Any]:
    blob = {"size": file.size, "blobId": file.oid} if with_blobs else {}
    lfs = {"lfs": lfs_details(file, "sha256")} if with_blobs and file.sha256 else {}
    return {"rfilename": path, **blob, **lfs}


def _from_card(repo: Repo, commit: Commit) -> dict[str, Any]:
    """What the Hub shows of a repository's card: the metadata, and the tags it makes of it."""
    try:
        card = cards.read_metadata(repo.text(commit.files, "README.md"))
    except ValueError:
        card = {}
    own_tags = card["tags"] if isinstance(card.get("tags"), list) else []
    tags = [str(tag) for tag in [*own_tags, card.get("library_name"), card.get("pipeline_tag")] if tag]
    tags += [f"license:{card['license']}"] if isinstance(card.get("license"), str) else []
    shown = {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
    return {"tags": list(dict.fromkeys(tags)), "cardData": card, **shown}
