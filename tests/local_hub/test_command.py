"""`localpsych hub`: one token kept in the folder, the variables printed, a warning where others can listen."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi

from localpsych_recipes.local_hub.command import is_loopback, kept_token

START = """
import signal
import sys
from pathlib import Path
from localpsych_recipes.local_hub import main_loop
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started without it
main_loop(Path(sys.argv[1]), sys.argv[2], port=0)
"""


def start(root: Path, host: str = "127.0.0.1") -> tuple[subprocess.Popen, dict[str, str], str]:
    """A hub in a process of its own: the process, the variables that it printed, everything that it printed."""
    command = [sys.executable, "-c", START, root, host]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline()]
    while not lines[-1].startswith("export HF_HUB_DISABLE_TELEMETRY"):
        lines.append(process.stdout.readline())
        assert lines[-1], "the hub ended before it had printed its variables"
    variables = dict(line.removeprefix("export ").strip().split("=") for line in lines if line.startswith("export "))
    return process, variables, "".join(lines)


def test_the_printed_variables_lead_to_a_hub_that_ends_with_ctrl_c_and_keeps_its_token(tmp_path) -> None:
    process, first, printed = start(tmp_path / "hub")
    api = HfApi(endpoint=first["HF_ENDPOINT"], token=first["HF_TOKEN"])
    api.create_repo("local/model", private=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0 and "WARNING" not in printed
    process, second, _ = start(tmp_path / "hub")
    assert HfApi(endpoint=second["HF_ENDPOINT"], token=second["HF_TOKEN"]).model_info("local/model").private
    process.kill()
    process.wait()
    assert second["HF_TOKEN"] == first["HF_TOKEN"]
    assert first["HF_HUB_DISABLE_XET"] == first["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_the_kept_token_looks_real_and_is_its_owners_alone(tmp_path) -> None:
    token = kept_token(tmp_path / "hub")
    assert re.fullmatch(r"hf_[A-Za-z0-9]{34}", token) and kept_token(tmp_path / "hub") == token
    assert (tmp_path / "hub" / "token").stat().st_mode & 0o777 == 0o600
    assert kept_token(tmp_path / "other") != token


def test_listening_beyond_loopback_is_said_plainly(tmp_path) -> None:
    process, variables, printed = start(tmp_path / "hub", "0.0.0.0")
    process.kill()
    process.wait()
    assert "WARNING: listening on 0.0.0.0, not on loopback" in printed
    assert variables["HF_ENDPOINT"].startswith("http://127.0.0.1:")


def test_which_addresses_are_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.0.1", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.5", "example.org"]))


def test_the_hub_imports_none_of_the_heavy_libraries() -> None:
    call = "import sys, localpsych_recipes.local_hub; print(*(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", call], check=True, capture_output=True, text=True)
    assert "localpsych_recipes" in done.stdout.split()
    assert not {"torch", "transformers", "datasets", "huggingface_hub"} & set(done.stdout.split())
