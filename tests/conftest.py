"""What every test has: a home of its own for the Hub's libraries, no network, no telemetry, and the shared inputs.

The variables are set here, above all imports, since the libraries read them when they are imported.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

HF_HOME = tempfile.mkdtemp(prefix="localpsych-tests-")
atexit.register(shutil.rmtree, HF_HOME, ignore_errors=True)

for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE"):
    os.environ.pop(name, None)
os.environ.update(
    HF_HOME=HF_HOME,
    HF_ENDPOINT="http://127.0.0.1:9",  # the discard port: whoever calls the Hub unasked fails at once
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
    # the models are tiny: more threads wait for each other, and beside other processes any second one does
    OMP_NUM_THREADS="1" if "PYTEST_XDIST_WORKER" in os.environ else "2",
)

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from localpsych_recipes import llama_cpp  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared"

# "quick" in every run, the same examples each time; "long" by hand, as in HYPOTHESIS_PROFILE=long pytest tests/hostile
hypothesis.settings.register_profile("quick", derandomize=True, deadline=None, max_examples=100, database=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=20_000, database=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


# minutes each: begun last, they would leave the other workers idle
LONGEST = (
    "test_pairs_release.py", "test_matrix.py", "test_release.py", "test_proving.py", "test_kills.py", "test_ranks.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def llama() -> llama_cpp.LlamaCpp:
    """llama.cpp's tools; built first, into the user's cache, on a machine that has none."""
    return llama_cpp.tools()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real configurations and datasets beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared is not beside this checkout")
    return SHARED


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Layers this small gain little from a second thread, and beside other work it makes them five times slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clean_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty folder as the whole PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    yield folder
