"""The token's user, the names of the three repositories, and what of a push can be known before any training."""

from __future__ import annotations

from typing import Any

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub.client import BRIEF, api, patiently
from localpsych_recipes.hub.failures import LOG_IN, NO_TOKEN, explained
from localpsych_recipes.recipe import Push
from localpsych_recipes.rundir import RELEASES

SUFFIXES = {"adapter": "-LoRA", "merged": "", "gguf": "-GGUF"}


def whoami() -> str:
    """The name of the token's user. UserError without a token, or if the Hub does not know it."""
    return _identity()["name"]


def repositories(push: Push | None, name: str, user: str) -> dict[str, str]:
    """The three repositories' ids by kind. Those without an owner go to the recipe's namespace, else to `user`."""
    owner = (push and push.namespace) or user
    given = {kind: (push and getattr(push, kind)) or name + SUFFIXES[kind] for kind in RELEASES}
    return {kind: repo if "/" in repo else f"{owner}/{repo}" for kind, repo in given.items()}


def preflight(push: Push, name: str) -> dict[str, str]:
    """The three repositories' ids, after it is known that this token may write to them and that each is as private
    as the recipe says. Nothing is created. UserError for whatever would fail after training.
    """
    who = _identity()
    if _role(who) == "read":
        raise UserError("the token for the Hub is read-only", "a token of the role write", LOG_IN)
    names = repositories(push, name, who["name"])
    for repo_id in names.values():
        _refuse_foreign(repo_id, who)
        _refuse_unwritable(repo_id, push.private)
    return names


def refuse_other_visibility(repo_id: str, found: bool, asked: bool) -> None:
    """UserError if a repository that exists is not as private as the recipe asks. It is never changed."""
    if found != asked:
        is_, should = ("private", "public") if found else ("public", "private")
        raise UserError(
            f"push.private: {str(asked).lower()}, but {repo_id} is {is_} on the Hub",
            f"a {should} repository, or a new one",
            f"set push.private: {str(found).lower()}, or make it {should} in its settings on the Hub",
        )


def _identity() -> dict[str, Any]:
    from huggingface_hub import get_token

    if not get_token():
        raise UserError(*NO_TOKEN)
    with explained("the user's account", "push"):
        return patiently(lambda: api().whoami(), _silent, BRIEF)


def _role(who: dict[str, Any]) -> str | None:
    return who.get("auth", {}).get("accessToken", {}).get("role")


def _refuse_foreign(repo_id: str, who: dict[str, Any]) -> None:
    own = [who["name"], *(organisation["name"] for organisation in who.get("orgs", []))]
    owner = repo_id.split("/")[0]
    if owner not in own:
        raise UserError(
            f"push: {repo_id} belongs to {owner}, and the token to {who['name']}",
            f"one of the token's namespaces: {', '.join(own)}",
            "set push.namespace to one of them, or " + LOG_IN,
        )


def _refuse_unwritable(repo_id: str, private: bool) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    with explained(repo_id, "push"):
        try:
            info = patiently(lambda: api().repo_info(repo_id), _silent, BRIEF)
        except RepositoryNotFoundError:
            return  # it will be created
        refuse_other_visibility(repo_id, bool(info.private), private)
        patiently(lambda: api().auth_check(repo_id, write=True), _silent, BRIEF)


def _silent(text: str) -> None:
    pass
