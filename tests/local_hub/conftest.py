"""A hub on a free port for each test, with two users, and the real client against it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from localpsych_recipes.local_hub import LocalHub, new_token
from tests.embedded_hub import point_client_at

TOKENS = {"alice": new_token(), "bob": new_token(), "alice:read": new_token()}
CHUNK_SIZE = 100_000  # bytes; small, so that a test's LFS file can go up in parts


@pytest.fixture
def open_hub(tmp_path: Path) -> Callable[[], LocalHub]:
    """Opens a hub on this test's folder, also a second time after the first is closed."""
    tokens = {token: name for name, token in TOKENS.items()}
    return lambda: LocalHub(tmp_path / "hub", tokens=tokens, chunk_size=CHUNK_SIZE, page_size=30)


@pytest.fixture
def hub(open_hub: Callable[[], LocalHub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    with open_hub() as hub:
        point_client_at(hub.url, tmp_path, monkeypatch)
        yield hub


@pytest.fixture
def alice(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKENS["alice"])


@pytest.fixture
def bob(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKENS["bob"])


@pytest.fixture
def nobody(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


@pytest.fixture
def answered(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str, int]]]:
    """The requests that the hub has answered: method, row of the table of routes, status."""
    caplog.set_level(logging.INFO, logger="localpsych_recipes.local_hub")

    def rows() -> list[tuple[str, str, int]]:
        ours = [record for record in caplog.records if record.name == "localpsych_recipes.local_hub.server"]
        return [(method, row, status) for method, _, status, row in (record.args for record in ours)]

    return rows
