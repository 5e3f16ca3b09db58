"""The token's user, the repositories of a release, and what of a push can be known before any training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub.client import api, patiently
from localpsych_recipes.hub.failures import LOG_IN, NO_TOKEN, explained
from localpsych_recipes.hub.reading import Kind
from localpsych_recipes.recipe import Push
from localpsych_recipes.rundir import RELEASES

SUFFIXES = {"adapter": "-LoRA", "merged": "", "gguf": "-GGUF", "pairs": "-pairs"}
PUSH_KEYS = {"model": "push", "dataset": "push.pairs"}  # where a recipe names what is published


def whoami() -> str:
    """The name of the token's user. UserError without a token, or if the Hub does not know it."""
    return _identity()["name"]


def user() -> str | None:
    """As `whoami`, but None where nobody says so: without a token, or while the Hub is out of reach."""
    try:
        return whoami()
    except UserError:
        return None


def repositories(push: Push | None, name: str, user: str) -> dict[str, str]:
    """The repositories' ids by kind. Those without an owner go to the recipe's namespace, else to `user`."""
    owner = (push and push.namespace) or user
    given = {kind: (push and getattr(push, kind)) or name + SUFFIXES[kind] for kind in RELEASES}
    return {kind: repo if "/" in repo else f"{owner}/{repo}" for kind, repo in given.items()}


def repo_type(kind: str) -> Kind:
    """What the Hub calls a repository of this kind."""
    return "dataset" if kind == "pairs" else "model"


def is_private(push: Push, kind: str) -> bool:
    """Whether a repository of this kind is private. Pairs always are: they are what people wrote."""
    return push.private or kind == "pairs"


def preflight(push: Push, name: str, kinds: Iterable[str] = RELEASES, new_tag: str | None = None) -> dict[str, str]:
    """The repositories' ids, after it is known that this token may write to those of `kinds` and that they are as
    private as they should be. Nothing is created. UserError for whatever would fail after training.

    new_tag: of a release that does not exist yet; a repository that has it already holds another one.
    """
    who = _identity()
    if _role(who) == "read":
        raise UserError("the token for the Hub is read-only", "a token of the role write", LOG_IN)
    names = repositories(push, name, who["name"])
    for kind in kinds:
        _refuse_foreign(names[kind], who)
        _refuse_unfit(names[kind], repo_type(kind), is_private(push, kind), new_tag)
    return names


def refuse_other_visibility(repo_id: str, repo_type: Kind, found: bool, asked: bool) -> None:
    """UserError if a repository that exists is not as private as asked. It is never changed."""
    if found != asked and repo_type == "dataset":
        raise UserError(
            f"push.pairs: the dataset {repo_id} is public on the Hub, and pairs are private whatever push.private says",
            "a private dataset, or a new one",
            "set push.pairs to another name, or make it private in its settings on the Hub",
        )
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
        who = patiently(lambda: api().whoami(), briefly=True)
        if not isinstance(who, dict) or not isinstance(who.get("name"), str):
            raise TypeError("an account without a name")
        return who


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


def refuse_taken_tag(repo_id: str, tag: str, at: str) -> None:
    """UserError for a tag that stands at another release's commit, `at`."""
    raise UserError(
        f"{repo_id} has the tag {tag} already, at {at[:12]}, and this release is another one",
        "one release for each version",
        "raise `version` in the recipe",
    )


def _refuse_unfit(repo_id: str, repo_type: Kind, private: bool, new_tag: str | None) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    with explained(repo_id, PUSH_KEYS[repo_type]):
        try:
            info = patiently(lambda: api().repo_info(repo_id, repo_type=repo_type), briefly=True)
        except RepositoryNotFoundError:
            return  # it will be created
        refuse_other_visibility(repo_id, repo_type, bool(info.private), private)
        patiently(lambda: api().auth_check(repo_id, repo_type=repo_type, write=True), briefly=True)
        tags = patiently(lambda: _tags(repo_id, repo_type), briefly=True) if new_tag else []
    for ref in tags:
        if ref.name == new_tag:
            refuse_taken_tag(repo_id, ref.name, ref.target_commit)


def _tags(repo_id: str, repo_type: Kind) -> list[Any]:
    return api().list_repo_refs(repo_id, repo_type=repo_type).tags
