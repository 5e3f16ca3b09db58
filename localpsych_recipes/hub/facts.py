"""What planning asks of the Hub: one configuration and sizes. Weights and rows are never fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import answers
from localpsych_recipes.hub.client import api
from localpsych_recipes.hub.reading import MODEL_COPIES, commit_of, license_of

T = TypeVar("T")
SECONDS = 10.0  # a plan is asked for at a prompt; what does not answer by then is unknown


class NoAnswer(Exception):
    """The Hub could not be reached or refused; str() is the reason in a few words."""


def config_folder(repo_id: str, revision: str | None) -> Path:
    """The folder in the Hub's cache that now holds a model's config.json. UserError if it cannot be fetched."""
    from huggingface_hub import hf_hub_download

    try:
        # asked first: a download that finds nobody is tried again for 23 seconds
        commit = commit_of(_asked(lambda: api().repo_info(repo_id, revision=revision, timeout=SECONDS)))
        file = _asked(lambda: hf_hub_download(repo_id, "config.json", revision=commit))
        return Path(file).parent
    except NoAnswer as error:
        raise UserError(
            f"base.model: config.json of {repo_id} cannot be fetched ({error})",
            "a Hub id that can be reached, or a local folder that holds config.json",
            "check the id, base.revision, `hf auth login` and the connection",
        ) from None


def size(repo_id: str, kind: str, revision: str | None, patterns: Sequence[str]) -> int:
    """Bytes of a repository's files whose names match a pattern; kind: "model" or "dataset". NoAnswer if silent."""
    info = _asked(
        lambda: api().repo_info(repo_id, repo_type=kind, revision=revision, files_metadata=True, timeout=SECONDS)
    )
    wanted = [f for f in info.siblings if _any(f.rfilename, patterns) and not _any(f.rfilename, MODEL_COPIES)]
    return sum(f.size or 0 for f in wanted)


def licence(repo_id: str, kind: str, revision: str | None) -> dict[str, str | None]:
    """license, license_name and license_link of a repository's card; kind: "model" or "dataset". NoAnswer if silent."""
    info = _asked(lambda: api().repo_info(repo_id, repo_type=kind, revision=revision, timeout=SECONDS))
    return license_of(info.card_data.to_dict() if info.card_data else {})


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _asked(question: Callable[[], T]) -> T:
    import httpx2  # the client lets this library's errors through as they are
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with answers.hurried():
            return question()
    except HfHubHTTPError as error:
        raise NoAnswer(f"{type(error).__name__}, status {error.response.status_code}") from None
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None
