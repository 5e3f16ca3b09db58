"""What the chaos runs stand on: the smallest run that has all nine stages, and what two runs of it must have in common."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localpsych_recipes.demo import tiny_gemma4
from tests import world as worlds
from tests.world import World

DATA = Path(tiny_gemma4.__file__).with_name("data")
ROWS = ("conversations.jsonl", "README.md", "LICENSE")
REPOSITORIES = ("tiny-gemma4-psych-LoRA", "tiny-gemma4-psych", "tiny-gemma4-psych-GGUF")
# every step is logged and every second one saved: else the first loss behind a kill is a mean of other steps
SMALLEST = (
    "data.max_rows=24", "sft.max_steps=6", "sft.save_steps=2", "sft.eval_steps=null", "sft.logging_steps=1",
    "sft.per_device_train_batch_size=2", "dpo.max_steps=4", "dpo.save_steps=2", "dpo.logging_steps=1",
    "dpo.per_device_train_batch_size=2", "gguf.quants=[Q8_0]", "verify.chunks=2", "verify.quant_chunks=2",
    "verify.rows=2", "verify.answers=1", "verify.max_tokens=8", "evaluate.rows=2", "evaluate.max_tokens=8",
    "evaluate.resamples=100", "evaluate.columns=[base, quants]", "gguf.adapter=false",
)  # fmt: skip
# of a report: what differs between two runs that did the same
TIMED = (
    "seconds", "peak_memory_bytes", "device_peak_memory_bytes", "samples_per_second", "train_runtime",
    "train_samples_per_second", "train_steps_per_second", "resumed",
)  # fmt: skip
MARK = "LOCALPSYCH_CHAOS"  # in the environment of a run and of all its children


@dataclass
class Marked(World):
    """A world whose processes are known by a word in their environment."""

    mark: str = ""

    @property
    def environment(self) -> dict[str, str]:
        # unbuffered: what was printed before a kill must be there to be read
        return {**super().environment, MARK: self.mark, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@contextmanager
def world(folder: Path) -> Iterator[Marked]:
    """An embedded Hub with an untrained base and the demo's rows."""
    # a shell starts what goes on in its background with SIGINT ignored, and every child would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tiny_gemma4.make(folder / "base", steps=1, say=lambda text: None)
    rows = folder / "rows"
    rows.mkdir()
    for name in ROWS:
        shutil.copy(DATA / name, rows)
    made = worlds.make(folder, folder / "base", rows)
    try:
        yield Marked(made.hub, made.token, folder, secrets.token_hex(8))
    finally:
        made.hub.close()


def elsewhere(world: Marked, name: str) -> Marked:
    """The same Hub without the release, seen by a user who has fetched nothing from it yet."""
    for repository in REPOSITORIES:
        world.api.delete_repo(f"{worlds.USER}/{repository}", missing_ok=True)
    return replace(world, folder=world.folder / name)


def outcome(world: Marked, run_dir: Path) -> dict[str, Any]:
    """All that a finished run leaves, apart from times, memory and how often it was resumed."""
    reports = {p.stem: _untimed(json.loads(p.read_text())) for p in sorted((run_dir / "reports").glob("*.json"))}
    del reports["push"]["results"]  # of its last attempt alone, which may have found everything there
    history = {p.parent.name: _untimed(json.loads(p.read_text())) for p in sorted(run_dir.glob("*/history.json"))}
    cards = {p.parent.name: untimed_card(p.read_text()) for p in sorted(run_dir.glob("release/*/README.md"))}
    return {
        "released": worlds.released(run_dir),
        "reports": reports,
        "history": history,
        "cards": cards,
        "hub": {name: on_hub(world, name) for name in REPOSITORIES},
        "left": left_over(run_dir),
    }


def on_hub(world: Marked, name: str) -> dict[str, Any]:
    """A repository's files by content, its tags, and that nobody else sees it."""
    info = world.api.model_info(f"{worlds.USER}/{name}", files_metadata=True)
    differ = ("README.md", "curves.png")
    files = {s.rfilename: s.lfs.sha256 if s.lfs else s.blob_id for s in info.siblings}
    tags = [tag.name for tag in world.api.list_repo_refs(info.id).tags]
    return {"files": {n: "" if n in differ else d for n, d in files.items()}, "tags": tags, "private": info.private}


def left_over(run_dir: Path) -> list[str]:
    """Half-written things and locks, of which a finished run has none."""
    return sorted(
        p.relative_to(run_dir).as_posix() for p in run_dir.rglob("*") if ".partial" in p.name or p.name == ".lock"
    )


def _untimed(found: Any) -> Any:
    if isinstance(found, dict):
        return {k: _untimed(v) for k, v in found.items() if k not in TIMED}
    return [_untimed(v) for v in found] if isinstance(found, list) else found


def untimed_card(text: str) -> str:
    """A card without amounts of time and memory."""
    amount = r"[\d,.\\]+ (s|min|h|d|kB|MB|GB|rows per second|samples per second)\b"
    return re.sub(rf"{amount}( {amount})*", "N", text)


def processes(mark: str) -> list[int]:
    """Those that still run with the word in their environment, this one apart."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            living = f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if living and int(place.name) != os.getpid():
            found.append(int(place.name))
    return found


def orphans(mark: str, patience: float = 20.0) -> list[int]:
    """Those that have not ended after so many seconds."""
    until = time.monotonic() + patience
    while (found := processes(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    return found
