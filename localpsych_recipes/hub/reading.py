"""What a revision of a repository is, and a model's files on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub.client import Say, api, patiently
from localpsych_recipes.hub.failures import explained

Kind = Literal["model", "dataset"]
RECIPE = "recipe.yaml"  # in each repository of a release
KEYS = {"model": "base.model", "dataset": "data.source"}  # where a recipe names a repository of each kind
# of a model, in patterns of fnmatch, whose * crosses folders; code is run only under base.trust_remote_code
MODEL_FILES = (
    "*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.py", "README.md",
    # agreements, in whatever case their authors write them
    "[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*", "[Nn][Oo][Tt][Ii][Cc][Ee]*", "*[Uu][Ss][Ee]_[Pp][Oo][Ll][Ii][Cc][Yy]*",
)  # fmt: skip
# the same weights once more, in other layouts
MODEL_COPIES = ("original/*", "onnx/*", "consolidated*.safetensors")


@dataclass(frozen=True)
class Pin:
    """A repository at one commit. The licence is what its card there says, None where it says nothing."""

    id: str
    type: Kind
    commit: str
    license: str | None
    license_name: str | None
    license_link: str | None
    private: bool
    gated: bool


def pin(repo_id: str, repo_type: Kind, revision: str | None, key: str | None = None) -> Pin:
    """The commit behind a revision (None: the main branch) and the licence there.

    Under HF_HUB_OFFLINE=1 both come from the cache. UserError if the Hub does not give them. key: as in `files`.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    with explained(repo_id, key or KEYS[repo_type]):
        try:
            info = patiently(lambda: api().repo_info(repo_id, repo_type=repo_type, revision=revision), briefly=True)
        except OfflineModeIsEnabled:
            if found := _cached_pin(repo_id, repo_type, revision):
                return found
            raise
    card = info.card_data.to_dict() if info.card_data else {}
    return Pin(repo_id, repo_type, info.sha, **license_of(card), private=bool(info.private), gated=bool(info.gated))


def _cached_pin(repo_id: str, repo_type: Kind, revision: str | None) -> Pin | None:
    from huggingface_hub import RepoCard, try_to_load_from_cache

    card = try_to_load_from_cache(repo_id, "README.md", revision=revision, repo_type=repo_type)
    if not isinstance(card, str):
        return None
    content = RepoCard.load(card, ignore_metadata_errors=True).data.to_dict()
    return Pin(repo_id, repo_type, Path(card).parent.name, **license_of(content), private=False, gated=False)


def card_license(folder: Path) -> dict[str, str | None]:
    """The license, license_name and license_link of a local folder's README.md, None where it says nothing readable."""
    from huggingface_hub import RepoCard
    from yaml import YAMLError

    try:
        card = RepoCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, YAMLError):  # no file, no text, front matter that is no mapping or no YAML
        card = {}
    return license_of(card)


def license_of(card: dict[str, Any]) -> dict[str, str | None]:
    """The license of a card's front matter, with name and link for "other"; None where it names no single one."""
    named = card.get("license")
    if isinstance(named, list):  # of several the reader of a card cannot know which covers what
        named = named[0] if len(named) == 1 else None
    details = {key: card.get(key) for key in ("license_name", "license_link")}
    return {"license": named, **(details if named == "other" else dict.fromkeys(details))}


def snapshot(
    repo_id: str,
    commit: str,
    *,
    repo_type: Kind = "model",
    allow: Sequence[str] = MODEL_FILES,
    say: Say = print,
) -> Path:
    """The folder in the Hub's cache that holds a repository's files at a commit; what is missing there is fetched.

    A commit that is fully cached makes no request, under HF_HUB_OFFLINE=1 too. UserError for a model without
    safetensors, and for files that cannot be had.
    """
    found = _cached(repo_id, commit, repo_type, allow)
    if found is None:
        say(f"      {repo_id}: fetching {commit[:12]} into the Hub's cache")
        with explained(repo_id, KEYS[repo_type]):
            # asked first: a download that finds nobody is tried again for minutes
            patiently(lambda: api().repo_info(repo_id, repo_type=repo_type, revision=commit), briefly=True)
            found = Path(patiently(lambda: _fetch(repo_id, commit, repo_type, allow), say))
    if repo_type == "model" and (missing := _missing_weights(found)):
        raise UserError(
            f"{KEYS[repo_type]}: {repo_id} at {commit[:12]} has no {missing}",
            "all weights as safetensors; other formats can run code when they are loaded",
            "choose a base, or a revision of it, that has them",
        )
    return found


def files(repo_id: str, revision: str | None, patterns: Sequence[str], key: str = KEYS["model"]) -> Path:
    """The folder in the Hub's cache that holds those of a model's files whose names match a pattern.

    key: where the repository is named, for messages.
    """
    known = re.fullmatch(r"[0-9a-f]{40}", revision or "")  # the Hub need not be asked which commit that is
    commit = revision if known else pin(repo_id, "model", revision, key).commit
    with explained(repo_id, key):
        return Path(patiently(lambda: _fetch(repo_id, commit, "model", patterns)))


def recipe_file(repo_id: str, revision: str | None) -> Path:
    """The recipe.yaml that a release was published with, in the Hub's cache. UserError if it cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    api()  # for its limit on silence
    with explained(repo_id, f"hf://{repo_id}"):
        try:
            return Path(patiently(lambda: hf_hub_download(repo_id, RECIPE, revision=revision), briefly=True))
        except RemoteEntryNotFoundError:
            given = f"hf://{repo_id} holds no {RECIPE}"
            do = "check the id, or take a file or a recipe that ships"
            raise UserError(given, "a release that was published with its recipe", do) from None


def _fetch(repo_id: str, commit: str, repo_type: Kind, allow: Sequence[str], **options: Any) -> str:
    from huggingface_hub import snapshot_download

    api()  # for its limit on silence
    ignore = list(MODEL_COPIES) if repo_type == "model" else None
    return snapshot_download(
        repo_id, repo_type=repo_type, revision=commit, allow_patterns=list(allow), ignore_patterns=ignore, **options
    )


def _cached(repo_id: str, commit: str, repo_type: Kind, allow: Sequence[str]) -> Path | None:
    """The folder, if the cache holds all of it."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(_fetch(repo_id, commit, repo_type, allow, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    # a cache filled by an older client has no list of the files, and a partial folder passes for a whole one
    return None if repo_type == "model" and _missing_weights(folder) else folder


def _missing_weights(folder: Path) -> str | None:
    """The first file of weights that is not there."""
    for index in folder.glob("*.safetensors.index.json"):
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if missing := [name for name in shards if not (folder / name).exists()]:
            return missing[0]
    return None if any(folder.glob("*.safetensors")) else "*.safetensors"
