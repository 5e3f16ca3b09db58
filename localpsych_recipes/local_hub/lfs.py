"""Large files on their way up, by the LFS batch API: in one PUT, or in parts where an object is larger than a chunk.

The client sends no Authorization with a PUT, so every address that the batch hands out carries its own proof: an expiry
and an HMAC over the whole address. Objects are streamed to disk and taken only if size and sha256 are as announced.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from localpsych_recipes.local_hub.names import sha256_name
from localpsych_recipes.local_hub.store import Repo, written_beside
from localpsych_recipes.local_hub.wire import Refusal, Request, Response

if TYPE_CHECKING:
    from localpsych_recipes.local_hub.server import LocalHub

LIFETIME = 24 * 3600  # seconds that an upload's address is good for
MOST_PARTS = 10_000  # of one object, as of the Hub's storage; an address is made for each
_BLOCK = 2**20  # bytes read and hashed at a time


class Signer:
    """Signs addresses for as long as this hub runs."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def signed(self, target: str) -> str:
        return f"{target}&signature={self._mac(target)}"

    def check(self, target: str) -> None:
        """Refused with 403 unless `target` is an address that `signed` gave out."""
        address, _, signature = target.rpartition("&signature=")
        if not hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), self._mac(address).encode()):
            raise Refusal(403, "This upload address was not given out by this hub, or before it was started anew")

    def _mac(self, target: str) -> str:
        return hmac.new(self._key, target.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def batch(hub: LocalHub, request: Request) -> Response:
    payload = request.json()
    objects = payload.get("objects")
    if payload.get("operation") != "upload" or not isinstance(objects, list):
        raise Refusal(400, "This hub answers LFS batches of the operation upload; downloads go by resolve")
    return Response({"transfer": "basic", "objects": [_actions(hub, request, entry) for entry in objects]})


def _actions(hub: LocalHub, request: Request, entry: Any) -> dict[str, Any]:
    """What to do about one object; nothing, if it is stored already."""
    oid, size = _announced(entry, hub.chunk_size)
    if request.repo.lfs(oid).exists():
        return {"oid": oid, "size": size}
    verify = {"href": f"{request.base}/{request.repo.address}/lfs-verify/{oid}"}
    return {"oid": oid, "size": size, "actions": {"upload": _upload(hub, request, oid, size), "verify": verify}}


def _announced(entry: Any, chunk_size: int) -> tuple[str, int]:
    size = entry.get("size") if isinstance(entry, dict) else None
    if not isinstance(size, int) or not 0 <= size <= MOST_PARTS * chunk_size:
        raise Refusal(400, f"An object is {{oid, size}}, of at most {MOST_PARTS} parts")
    return sha256_name(entry.get("oid")), size


def _upload(hub: LocalHub, request: Request, oid: str, size: int) -> dict[str, Any]:
    """One address for the whole object; above a chunk one per part, named "1", "2", ..., and one to complete."""

    def address(action: str, start: int, length: int) -> str:
        terms = f"start={start}&length={length}&expires={int(time.time()) + LIFETIME}"
        return request.base + hub.signer.signed(f"/{request.repo.address}/{action}/{oid}?{terms}")

    if size <= hub.chunk_size:
        return {"href": address("lfs-object", 0, size)}
    starts = range(0, size, hub.chunk_size)
    parts = {str(1 + at): address("lfs-part", s, min(hub.chunk_size, size - s)) for at, s in enumerate(starts)}
    return {"href": address("lfs-complete", 0, size), "header": {"chunk_size": str(hub.chunk_size), **parts}}


def _terms(request: Request) -> tuple[str, int, int]:
    """The object, and the place and length of the bytes that a signed address is for."""
    terms = {name: int(request.query[name]) for name in ("start", "length", "expires")}
    if terms["expires"] < time.time():
        raise Refusal(403, "This upload address has expired")
    return sha256_name(request.parts["oid"]), terms["start"], terms["length"]


def put_object(hub: LocalHub, request: Request) -> Response:
    oid, _, length = _terms(request)
    _require_length(request, length)
    with written_beside(request.repo.lfs(oid)) as file:
        _require_content(oid, _copy(request, file))
    return Response("OK", headers={"ETag": f'"{oid}"'})


def put_part(hub: LocalHub, request: Request) -> Response:
    oid, start, length = _terms(request)
    _require_length(request, length)
    descriptor = os.open(request.repo.upload(oid), os.O_RDWR | os.O_CREAT, 0o600)
    with open(descriptor, "r+b") as file:
        file.seek(start)
        return Response("OK", headers={"ETag": f'"{_copy(request, file)}"'})


def complete(hub: LocalHub, request: Request) -> Response:
    """Take an object whose parts all lie in its upload file: the sha256 over all of them is what decides."""
    oid, _, length = _terms(request)
    repo, parts = request.repo, request.json().get("parts")
    if not isinstance(parts, list) or len(parts) != -(-length // hub.chunk_size):
        raise Refusal(400, "The parts are not those that were asked for")
    with repo.lock:
        if not repo.lfs(oid).exists():
            _take(repo, oid, length)
    return Response("OK")


def _take(repo: Repo, oid: str, length: int) -> None:
    upload = repo.upload(oid)
    if not upload.exists() or upload.stat().st_size != length:
        raise Refusal(400, "Parts of this object are missing")
    with upload.open("rb") as file:
        _require_content(oid, hashlib.file_digest(file, "sha256").hexdigest())
        os.fsync(file.fileno())
    os.replace(upload, repo.lfs(oid))


def verify(hub: LocalHub, request: Request) -> Response:
    stored, (oid, size) = (
        request.repo.lfs(sha256_name(request.parts["oid"])),
        _announced(request.json(), hub.chunk_size),
    )
    if oid != stored.name or not stored.exists() or stored.stat().st_size != size:
        raise Refusal(404, "This object has not been uploaded")
    return Response("OK")


def _copy(request: Request, file: BinaryIO) -> str:
    """Stream the body into a file; returns its sha256."""
    digest = hashlib.sha256()
    while block := request.body.read(_BLOCK):
        digest.update(block)
        file.write(block)
    return digest.hexdigest()


def _require_length(request: Request, length: int) -> None:
    if request.length != length:
        raise Refusal(400, f"This address is for {length} bytes; {request.length} were sent")


def _require_content(oid: str, sha256: str) -> None:
    if sha256 != oid:
        raise Refusal(400, "The content does not have the sha256 that was announced")
