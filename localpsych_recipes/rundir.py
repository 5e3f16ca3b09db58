"""Where every artefact of a run lies, how it is put there whole, and what was done: markers, fingerprints, reports.

RUN/recipe.yaml              the resolved recipe, as it was started
RUN/pins.json                commits and licences of the base and the dataset, fixed at the first run
RUN/agreements/              the base's LICENSE, NOTICE and the like
RUN/data/{sft,pairs}_{train,test}.jsonl   rows; they stay on this machine
RUN/augmented/               the rows of SFT with a teacher's answers;  teacher.jsonl: what it wrote, to resume from
RUN/{sft,dpo}/adapter        what a training stage hands on;  RUN/{sft,dpo}/checkpoints-*  what it resumes from
RUN/{sft,dpo}/history.json   the numbers that its trainer logged, step by step
RUN/pairs/                   what the model and the judge wrote, every candidate, and the pairs for DPO
RUN/gguf/                    the 16-bit GGUF that the quants are made from
RUN/verification/            what models are compared through, removed at the end
RUN/evaluation/              what each model answered, what judges said, every item's value; it stays on this machine
RUN/release/{adapter,merged,gguf,pairs}   what is pushed
RUN/reports/STAGE.json       a stage's done-marker and report in one, written last
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localpsych_recipes.errors import UserError

RELEASES = ("adapter", "merged", "gguf", "pairs")


class RunDir:
    """Names of the places in one run directory. Making the object creates nothing."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()

    def refuse_unusable(self) -> None:
        """UserError if the run directory is no folder, or cannot be made or written to."""
        place = next(p for p in (self.root, *self.root.parents) if p.exists())
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise UserError(
                f"{self.root} cannot be written: {place} is {'read-only' if place.is_dir() else 'a file'}",
                "a folder that can be made or written to",
                "name another one with --run-dir",
            )

    def refuse_no_run(self) -> None:
        """UserError for a folder in which no recipe was started."""
        if not self.recipe.is_file():
            raise UserError(f"{self.root}: no recipe.yaml in it", "a run directory, such as runs/NAME", "name one")

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def pins(self) -> Path:
        return self.root / "pins.json"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def agreements(self) -> Path:
        """The base's LICENSE, NOTICE and the like, which go with whatever is released."""
        return self.root / "agreements"

    @property
    def augmented(self) -> Path:
        """The rows of SFT with a teacher's answers, and the teacher's texts, in an augmented run."""
        return self.root / "augmented"

    @property
    def pairs(self) -> Path:
        """Pairs made from the model itself: ledgers, every candidate with its status, the rows for DPO, the report."""
        return self.root / "pairs"

    @property
    def verification(self) -> Path:
        """Logits and files that models are compared through; gigabytes, removed when the stage ends."""
        return self.root / "verification"

    @property
    def evaluation(self) -> Path:
        """Ledgers of what each model was asked and answered, and every item's value."""
        return self.root / "evaluation"

    @property
    def cache(self) -> Path:
        """Tokenised rows; made anew where it is missing."""
        return self.root / "cache"

    def adapter(self, stage: str) -> Path:
        """The adapter that a training stage ("sft", "dpo") hands on."""
        return self.root / stage / "adapter"

    def history(self, stage: str) -> Path:
        """The numbers that a training stage logged: {"entries": [{"step", "loss", ...}]}."""
        return self.root / stage / "history.json"

    def checkpoints(self, stage: str, fingerprint: str) -> Path:
        """Where a training stage resumes from. Named after its fingerprint: another recipe's are never picked up."""
        return self.root / stage / f"checkpoints-{fingerprint[:12]}"

    def forget_checkpoints(self, stage: str, but: str | None = None) -> None:
        """Removes a stage's checkpoints, except those of the fingerprint `but`."""
        keep = self.checkpoints(stage, but) if but else None
        for folder in (self.root / stage).glob("checkpoints-*"):
            if folder != keep:
                shutil.rmtree(folder)

    def logs(self, stage: str) -> Path:
        return self.root / "logs" / stage

    def release(self, kind: str) -> Path:
        """The folder of one repository: "adapter", "merged", "gguf" or "pairs"."""
        assert kind in RELEASES
        return self.root / "release" / kind

    @property
    def sixteen_bit_gguf(self) -> Path:
        return self.root / "gguf" / "16bit.gguf"

    @property
    def adapter_gguf(self) -> Path:
        """The adapter as a LoRA GGUF, on its way into release/adapter."""
        return self.root / "gguf" / "adapter.gguf"

    def report_file(self, stage: str) -> Path:
        return self.root / "reports" / f"{stage}.json"

    def report(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage reported; None where it has not finished."""
        return read_json(self.report_file(stage))


def fingerprint(*parts: Any) -> str:
    """Hex SHA-256 of JSON-able parts, the same for equal content in any key order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_identity(path: Path) -> Any:
    """What identifies a local file or folder: content for files up to 64 MB, else size and time of change."""
    if not path.exists():
        return None
    if path.is_dir():
        return {p.relative_to(path).as_posix(): source_identity(p) for p in sorted(path.rglob("*")) if p.is_file()}
    status = path.stat()
    if status.st_size <= 64_000_000:
        return file_sha256(path)
    return [status.st_size, status.st_mtime_ns]


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None for a file that is not there or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Whole or not at all: written beside, flushed to the disk, renamed."""
    write_text(path, json.dumps(values, indent=2, sort_keys=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Whole or not at all, like write_json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Gives an empty folder beside `folder` to fill; on success it takes the place of `folder`, on failure it goes."""
    beside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        flush(beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def flush(folder: Path) -> None:
    """Waits until a folder's files are on the disk; theirs alone, where `sync` waits for all that anybody has written."""
    # a rename that reaches the disk before the data would leave whole-looking, empty files after a power cut
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
