"""Which names a repository, a file, a branch and a tag may have. No name becomes a path before it has passed here."""

from __future__ import annotations

import re

from localpsych_recipes.local_hub.wire import Refusal

URL_PREFIXES = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}

# As in huggingface_hub/utils/_validators.py: letters, digits, '-', '_', '.'; at most 96; no '--', '..' or final '.git'.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?", re.ASCII)
_RESERVED = {"api", *URL_PREFIXES}  # as a user's name they would be read as the beginning of another address
_REF = re.compile(r"\w[\w.+=@/-]{0,199}")
_FORBIDDEN_SEGMENTS = {"", ".", "..", ".git"}


def is_repo_id(text: str) -> bool:
    """`owner/name`, as the Hub's client accepts it."""
    owner, slash, name = text.partition("/")
    return bool(slash) and owner.lower() not in _RESERVED and all(_is_name(part) for part in (owner, name))


def names_a_repo(text: object) -> bool:
    """What a card may name as its base model or dataset: `owner/name` or the Hub's old `name`, never a local path."""
    return isinstance(text, str) and text.count("/") < 2 and all(_is_name(part) for part in text.split("/"))


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and "--" not in text and ".." not in text and not text.endswith(".git")


def file_path(text: object) -> str:
    """A path inside a repository: relative, with '/', without '..' or control characters; 400 otherwise."""
    if not isinstance(text, str) or not text.isprintable() or "\\" in text or len(text) > 1024:
        raise Refusal(400, "A file's path must be printable text of at most 1024 characters, without backslashes")
    if not _FORBIDDEN_SEGMENTS.isdisjoint(text.split("/")):
        raise Refusal(400, f"{text!r} is no path inside a repository")
    return text


def ref_name(text: object) -> str:
    """The name of a new branch or tag, by git's rules (git-check-ref-format) made a little narrower; 400 otherwise."""
    good = isinstance(text, str) and _REF.fullmatch(text) and not re.search(r"\.\.|//|/\.|@\{|(\.lock|[./])$", text)
    if not good or text.startswith("refs/") or is_oid(text):
        raise Refusal(400, f"{text!r} cannot be the name of a branch or a tag")
    return text


def is_oid(text: str) -> bool:
    """A commit's full name: 40 hexadecimal digits."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", text))


def sha256_name(text: object) -> str:
    """An LFS object's name: 64 hexadecimal digits; 400 otherwise."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f]{64}", text):
        raise Refusal(400, "An LFS object is named by the 64 hexadecimal digits of its sha256")
    return text
