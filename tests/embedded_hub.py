"""An embedded Hub with alice logged in, the libraries pointed at it, and failures of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _detect_agent

from localpsych_recipes.hub import client
from localpsych_recipes.local_hub import LocalHub, new_token

TOKENS = {"alice": new_token(), "bob": new_token(), "alice:read": new_token()}


def point_client_at(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's client, imported already, asks `url` and keeps its cache in `folder`."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(folder / "harnesses.json"))
    monkeypatch.setattr(_detect_agent, "_registry", None)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A Hub on a free port with an empty cache of its own; the process's token is alice's."""
    with LocalHub(tmp_path / "hub", tokens={token: name for name, token in TOKENS.items()}) as hub:
        point_client_at(hub.url, tmp_path, monkeypatch)
        monkeypatch.setattr(client, "PAUSES", (0.0,) * 5)
        monkeypatch.setattr(client, "BRIEF", (0.0,))
        monkeypatch.setenv("HF_TOKEN", TOKENS["alice"])
        yield hub


@pytest.fixture
def alice(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKENS["alice"])


@pytest.fixture
def bob(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKENS["bob"])


def failing(monkeypatch: pytest.MonkeyPatch, name: str, *outcomes: Exception | None, after: bool = False) -> None:
    """The client's call `name` raises these in turn, None meaning that it works; with `after`, once it has worked."""
    real, left = getattr(HfApi, name), list(outcomes)

    def call(self: HfApi, *arguments, **options):
        outcome = left.pop(0) if left else None
        result = real(self, *arguments, **options) if after or outcome is None else None
        if outcome is not None:
            raise outcome
        return result

    monkeypatch.setattr(HfApi, name, call)


def status(code: int, **headers: str) -> HfHubHTTPError:
    request = httpx2.Request("POST", "http://hub/api")
    return HfHubHTTPError(f"status {code}", response=httpx2.Response(code, headers=headers, request=request))


LOST = httpx2.RemoteProtocolError("Server disconnected without sending a response.")
