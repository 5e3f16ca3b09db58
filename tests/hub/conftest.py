"""A Hub with a faulty line before it, and a client whose pauses and time limits are short."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.file_download
import huggingface_hub.utils._http
import pytest
from embedded_hub import TOKENS, point_client_at
from faulty_hub import FaultyHub
from huggingface_hub import HfApi, constants

from localpsych_recipes.errors import UserError
from localpsych_recipes.hub import answers, client
from localpsych_recipes.local_hub import LocalHub

SILENCE = 1.5  # seconds without a byte after which an impatient client gives up


@pytest.fixture(autouse=True)
def no_message_holds_a_token(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever fails in these tests, and however."""
    told, begin = [], UserError.__init__

    def noted(error: UserError, *words: str) -> None:
        begin(error, *words)
        told.append(str(error))

    monkeypatch.setattr(UserError, "__init__", noted)
    yield
    assert not [text for text in told if any(token in text for token in TOKENS.values())]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, by us and by the client; none takes any time."""
    made: list[float] = []
    for module in (client, answers, huggingface_hub.utils._http, huggingface_hub.file_download):
        clock = types.SimpleNamespace(**{**vars(module.time), "sleep": made.append})
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(answers, "_waited_for", 0.0)
    return made


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> Iterator[FaultyHub]:
    """The process's client comes to the Hub through this proxy, with alice's token."""
    monkeypatch.setenv("HF_TOKEN", TOKENS["alice"])
    client._limit_silence.cache_clear()
    tokens = {token: name for name, token in TOKENS.items()}
    with LocalHub(tmp_path / "hub", tokens=tokens) as hub, FaultyHub(hub) as faulty:
        point_client_at(faulty.url, tmp_path, monkeypatch)
        yield faulty
    client._limit_silence.cache_clear()


@pytest.fixture
def impatient(faulty: FaultyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE", SILENCE)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", SILENCE)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", SILENCE)


@pytest.fixture
def direct(faulty: FaultyHub) -> HfApi:
    """alice, past the faults."""
    return HfApi(endpoint=faulty.hub.url, token=TOKENS["alice"])
