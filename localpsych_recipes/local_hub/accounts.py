"""Who calls: tokens, the accounts behind them, and what an account may do."""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from localpsych_recipes.local_hub.wire import Refusal

_ALPHANUMERIC = string.ascii_letters + string.digits


def new_token() -> str:
    """A random token in the Hub's own form, `hf_` and 34 alphanumerics; llama.cpp's tools accept no other."""
    return "hf_" + "".join(secrets.choice(_ALPHANUMERIC) for _ in range(34))


@dataclass(frozen=True)
class Account:
    """A user and the rights of one token: a read token sees the user's private repositories and changes nothing."""

    name: str
    role: Literal["read", "write"] = "write"
    organisations: tuple[str, ...] = ()

    def belongs_to(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.organisations


class Accounts:
    """Tokens and their accounts. A value `"alice"` may write, `"alice:read"` may not; an Account says it in full."""

    def __init__(self, tokens: Mapping[str, str | Account]) -> None:
        self._by_token = [(token.encode(), _account(value)) for token, value in tokens.items()]

    def caller(self, authorization: str | None) -> Account | None:
        """The account named by an Authorization header, None without one; a wrong token is refused with 401."""
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        given, found = token.strip().encode("utf-8", "surrogateescape"), None
        for known, account in self._by_token:  # every token is compared, so that time says nothing about any
            found = account if hmac.compare_digest(known, given) else found
        if scheme.lower() != "bearer" or found is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return found


def _account(value: str | Account) -> Account:
    if isinstance(value, Account):
        return value
    name, _, role = value.partition(":")
    return Account(name, "read" if role == "read" else "write")


def require_writer(account: Account | None, namespace: str) -> None:
    """Refused with 401 for nobody, with 403 for a read-only token or somebody else's namespace."""
    if account is None:
        raise Refusal(401, "Invalid username or password.")
    if account.role != "write":
        raise Refusal(403, "This token is read-only; use one with the role write")
    if not account.belongs_to(namespace):
        raise Refusal(403, f"You don't have the rights to write in the namespace {namespace!r}")
