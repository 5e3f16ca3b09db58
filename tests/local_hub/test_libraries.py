"""transformers, PEFT, datasets and the hf command, each in a process of its own, by HF_ENDPOINT alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localpsych_recipes.local_hub import LocalHub

from .conftest import TOKENS


@pytest.fixture
def environment(hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**inherited, "HF_HOME": str(tmp_path / "home"), **hub.environment(TOKENS["alice"])}


def test_models_adapters_and_datasets_come_back_as_they_were_pushed(environment, hub, tmp_path) -> None:
    script = Path(__file__).with_name("libraries_session.py")
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "model": True,
        "token ids": [2, 3, 4],
        "adapter": True,
        "adapter changes the base": True,
        "jsonl": True,
        "parquet": True,
        "streamed": True,
        "pushed": True,
    }


def hf(environment: dict[str, str], *arguments: object) -> str:
    command = [str(Path(sys.executable).with_name("hf")), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_hf_command_uploads_and_downloads(environment, alice, tmp_path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    files = {"README.md": b"---\nlicense: mit\n---\n# Card\n", "weights.bin": bytes(range(256)) * 1000}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert "alice" in hf(environment, "auth", "whoami")
    hf(environment, "repos", "create", "alice/by-hand", "--private")
    hf(environment, "upload", "alice/by-hand", folder)
    head = alice.model_info("alice/by-hand").sha
    hf(environment, "upload", "alice/by-hand", folder)
    assert alice.model_info("alice/by-hand").sha == head and alice.model_info("alice/by-hand").private
    hf(environment, "download", "alice/by-hand", "--local-dir", tmp_path / "pulled")
    assert {name: (tmp_path / "pulled" / name).read_bytes() for name in files} == files
