"""A world for whole runs: an embedded Hub with the tiny base and a few rows on it, and the command that users type."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes import local_hub
from localpsych_recipes.local_hub import LocalHub
from localpsych_recipes.rundir import file_sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CHECKOUT = Path(__file__).resolve().parents[1]
RECIPE = CHECKOUT / "recipes" / "demo.yaml"
# the demo's recipe on fewer rows and steps; dropout stays, since resuming must bring back its random state too
SMALL = (
    "data.max_rows=40", "sft.max_steps=6", "sft.eval_steps=2", "sft.per_device_train_batch_size=2",
    "dpo.max_steps=3", "dpo.per_device_train_batch_size=2", "gguf.quants=[Q4_K_M, Q8_0]",
    "verify.chunks=2", "verify.quant_chunks=2", "verify.answers=2", "verify.max_tokens=32",
    "evaluate.rows=2", "evaluate.max_tokens=16", "evaluate.resamples=100",
)  # fmt: skip
USER = "demo"


@dataclass
class World:
    hub: LocalHub
    token: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        places = {"HF_HOME": str(self.folder / "hf-home"), "TMPDIR": str(self.folder / "tmp")}
        return {**os.environ, **self.hub.environment(self.token), **places}

    @property
    def api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.hub.url, token=self.token)

    def put(self, name: str, kind: str, paths: Iterable[Path]) -> None:
        """A private repository of the user's with these files."""
        from huggingface_hub import CommitOperationAdd

        files = [CommitOperationAdd(path.name, path) for path in paths if path.is_file()]
        self.api.create_repo(f"{USER}/{name}", repo_type=kind, private=True)
        self.api.create_commit(f"{USER}/{name}", files, repo_type=kind, commit_message="Add files")

    def command(self, run_dir: Path, *arguments: str, recipe=RECIPE, settings=SMALL, launcher=()) -> list[str]:
        settings = [word for setting in settings for word in ("--set", setting)]
        program = ["localpsych_recipes", str(recipe), "--run-dir", str(run_dir), *settings, *arguments]
        accelerate = [str(Path(sys.executable).with_name("accelerate")), "launch", *launcher]
        return [*accelerate, "-m", *program] if launcher else [sys.executable, "-m", *program]

    def start(self, run_dir: Path, *arguments: str, **how) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(run_dir, *arguments, **how), cwd=CHECKOUT, env=self.environment | threads(how), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, run_dir: Path, *arguments: str, **how) -> str:
        """Runs to the end; what it printed. AssertionError with that text if it failed."""
        process = self.start(run_dir, *arguments, **how)
        try:
            text, _ = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(process.communicate()[0]) from None
        assert process.returncode == 0, text
        return text


def kill(process: subprocess.Popen, when: Callable[[], bool]) -> None:
    """kill -9 of the whole process group as soon as `when` holds. AssertionError if the process ends before."""
    try:
        while not when():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.001)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def threads(how: dict) -> dict[str, str]:
    # several ranks on two cores: more threads than cores wait for each other
    return {"OMP_NUM_THREADS": "1"} if how.get("launcher") else {}


def make(folder: Path, base: Path, rows: Path) -> World:
    """Starts the Hub and puts `base` and the dataset in `rows` on it. The caller closes `hub`."""
    token = local_hub.new_token()
    hub = LocalHub(folder / "hub", tokens={token: USER})
    hub.__enter__()
    world = World(hub, token, folder)
    (folder / "tmp").mkdir(exist_ok=True)
    world.put("tiny-gemma4", "model", sorted(base.iterdir()))
    world.put("kind-and-unkind-answers", "dataset", sorted(rows.iterdir()))
    return world


def released(run_dir: Path) -> dict[str, str]:
    """SHA-256 of everything a run releases, apart from cards, which hold times and memory, and from curves: the first loss
    that is logged after a kill is the mean of the steps since then."""
    root = run_dir / "release"
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in ("README.md", "curves.png")]
    return {p.relative_to(root).as_posix(): file_sha256(p) for p in files}
