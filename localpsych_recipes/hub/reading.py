"""What a revision of a repository is, and a model's files on this machine."""

from __future__ import annotations

import glob
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import checking
from localpsych_recipes.hub.client import Say, api, patiently
from localpsych_recipes.hub.failures import explained

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, ModelInfo

Kind = Literal["model", "dataset"]
RECIPE = "recipe.yaml"  # in each repository of a release
COMMIT = "[0-9a-f]{40}"
KEYS = {"model": "base.model", "dataset": "data.source"}  # where a recipe names a repository of each kind
_OF_A_DATASET = re.compile(rf"hf://datasets/(?P<id>[^@]+)@(?P<commit>{COMMIT})/(?P<path>.+)")
ATTEMPTS = 3  # at files that come damaged
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
    private, gated = bool(info.private), bool(info.gated)
    return Pin(repo_id, repo_type, commit_of(info), **license_of(card), private=private, gated=gated)


def commit_of(info: ModelInfo | DatasetInfo) -> str:
    """The commit that the Hub's information is about. UserError if it names none: the client makes paths from it."""
    if re.fullmatch(COMMIT, str(info.sha)):
        return info.sha
    raise UserError(f"{info.id}: the Hub names no commit", "a name of 40 hexadecimal digits", "check HF_ENDPOINT")


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
    safetensors, for files that cannot be had, and for those that come damaged again and again.
    """
    found = _cached(repo_id, commit, repo_type, allow)
    if found is None:
        say(f"      {repo_id}: fetching {commit[:12]} into the Hub's cache")
        found = _fetched(repo_id, commit, repo_type, allow, say)
    found = _whole(found, repo_id, repo_type, allow, say)
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
    commit = _commit(repo_id, revision, key)
    found = _cached(repo_id, commit, "model", patterns, weights=False) if _lists(repo_id, commit) else None
    found = found or _fetched(repo_id, commit, "model", patterns, key=key)
    return _whole(found, repo_id, "model", patterns, key=key)


def _commit(repo_id: str, revision: str | None, key: str) -> str:
    """The Hub need not be asked which commit a commit is."""
    known = re.fullmatch(COMMIT, revision or "")
    return revision if known else pin(repo_id, "model", revision, key).commit


def fetch_dataset(addresses: Iterable[str], say: Say = str) -> None:
    """Fetches a dataset's files, each `hf://datasets/USER/NAME@COMMIT/PATH`, into the Hub's cache, where the library
    that reads datasets then finds them, whole. Addresses of another form are left to it. UserError as in `snapshot`."""
    wanted = defaultdict(list)
    for address in addresses:
        if found := _OF_A_DATASET.fullmatch(address):
            wanted[found["id"], found["commit"]].append(glob.escape(found["path"]))
    for (repo_id, commit), paths in wanted.items():
        snapshot(repo_id, commit, repo_type="dataset", allow=paths, say=say)


def recipe_file(repo_id: str, revision: str | None) -> Path:
    """The recipe.yaml that a release was published with, in the Hub's cache. UserError if it cannot be had.

    Under HF_HUB_OFFLINE=1 it is that of the last time the Hub was asked; otherwise the Hub must answer.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    key = f"hf://{repo_id}"
    commit = None if constants.is_offline_mode() else _commit(repo_id, revision, key)

    def file(at: str | None) -> Path:
        return Path(patiently(lambda: hf_hub_download(repo_id, RECIPE, revision=at), briefly=True))

    with explained(repo_id, key):
        try:
            path = file(revision)  # the cache keeps which commit that is
            path = path if commit in (None, path.parent.name) else file(commit)
        except RemoteEntryNotFoundError:
            do = "check the id, or take a file or a recipe that ships"
            raise UserError(f"{key} holds no {RECIPE}", "a release that was published with its recipe", do) from None
    return _whole(path.parent, repo_id, "model", (RECIPE,), key=key) / RECIPE


def _fetched(
    repo_id: str, commit: str, repo_type: Kind, allow: Sequence[str], say: Say = str, key: str | None = None
) -> Path:
    """The snapshot's folder, once all that is wanted of it is there; no name is taken that leads elsewhere."""
    with explained(repo_id, key or KEYS[repo_type]):
        # asked first: a download that finds nobody is tried again for minutes
        patiently(lambda: api().repo_info(repo_id, repo_type=repo_type, revision=commit), briefly=True)
        patiently(lambda: checking.refuse_names(repo_id, _listed(repo_id, commit, repo_type, allow)), say)
        return Path(patiently(lambda: _fetch(repo_id, commit, repo_type, allow), say))


def _whole(
    found: Path, repo_id: str, repo_type: Kind, allow: Sequence[str], say: Say = str, key: str | None = None
) -> Path:
    """The folder, once its files hold what they should; those that do not are fetched anew."""
    for attempt in range(ATTEMPTS):
        damaged = checking.remove_damaged(found, _wanted(checking.present(found), repo_type, allow))
        if not damaged:
            return found
        what = f"{repo_id}: {', '.join(damaged[:5])} damaged, on the way here or in the Hub's cache"
        if attempt < ATTEMPTS - 1:
            say(f"      {what}; removed, fetching anew")
            found = _fetched(repo_id, found.name, repo_type, allow, say, key)
    raise UserError(what, "the content that the Hub announces", "run the same command again, by another network")


def _listed(repo_id: str, commit: str, repo_type: Kind, allow: Sequence[str]) -> Iterator[str]:
    tree = api().list_repo_tree(repo_id, repo_type=repo_type, revision=commit, recursive=True)
    return _wanted((entry.path for entry in tree if hasattr(entry, "blob_id")), repo_type, allow)


def _wanted(names: Iterator[str], repo_type: Kind, allow: Sequence[str]) -> Iterator[str]:
    from huggingface_hub.utils import filter_repo_objects

    return filter_repo_objects(names, allow_patterns=list(allow), ignore_patterns=_unwanted(repo_type))


def _unwanted(repo_type: Kind) -> list[str] | None:
    return list(MODEL_COPIES) if repo_type == "model" else None


def _fetch(repo_id: str, commit: str, repo_type: Kind, allow: Sequence[str], **options: Any) -> str:
    from huggingface_hub import snapshot_download

    api()  # for its limit on silence
    patterns = {"allow_patterns": list(allow), "ignore_patterns": _unwanted(repo_type)}
    return snapshot_download(repo_id, repo_type=repo_type, revision=commit, **patterns, **options)


def _cached(repo_id: str, commit: str, repo_type: Kind, allow: Sequence[str], weights: bool = True) -> Path | None:
    """The folder, if the cache holds all of it. weights: whether a model's belong to that."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(_fetch(repo_id, commit, repo_type, allow, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    # a cache filled by an older client has no list of the files, and a partial folder passes for a whole one
    return None if weights and repo_type == "model" and _missing_weights(folder) else folder


def _lists(repo_id: str, commit: str) -> bool:
    """Whether the cache knows which files belong to a commit; offline nobody else does."""
    from huggingface_hub import constants, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError

    try:
        return bool(get_cached_repo_tree(repo_id, revision=commit)) or constants.is_offline_mode()
    except (CachedRepoTreeNotFoundError, HFValidationError):
        return constants.is_offline_mode()


def _missing_weights(folder: Path) -> str | None:
    """The first file of weights that is not there."""
    for index in folder.glob("*.safetensors.index.json"):
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if missing := [name for name in shards if not (folder / name).exists()]:
            return missing[0]
    return None if any(folder.glob("*.safetensors")) else "*.safetensors"
