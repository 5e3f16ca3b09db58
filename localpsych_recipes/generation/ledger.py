"""JSONL files of what was answered, by the request's key: whatever kills the run, no request is answered twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self

from localpsych_recipes import machine
from localpsych_recipes.generation.requests import Answer

ALONE = machine.Ranks()


class Ledger:
    """One file for each rank, FOLDER/NAME.jsonl and FOLDER/NAME.1.jsonl and so on; every rank reads all of them.

    A line holds the answers that belong together (a batch): they are kept all or none. Files only grow, but for the
    half line that a killed run may have left.
    """

    def __init__(self, folder: Path, name: str, ranks: machine.Ranks = ALONE) -> None:
        self.folder, self.name = folder, name
        self.path = folder / (f"{name}.jsonl" if ranks.main else f"{name}.{ranks.rank}.jsonl")
        self.answers: dict[str, Answer] = {}
        self._read: dict[Path, int] = {}  # bytes of each file that are in `answers`
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self.refresh()
        os.truncate(self.path, self._read[self.path])
        self._file = self.path.open("a", encoding="utf-8", newline="\n")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def refresh(self) -> None:
        """Takes in what other ranks have added."""
        # the main process's own file has no number, so that the pattern leaves it out
        for path in (self.folder / f"{self.name}.jsonl", *sorted(self.folder.glob(f"{self.name}.*.jsonl"))):
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.decode("utf-8").splitlines():
                self.answers |= {entry.pop("key"): Answer(**entry) for entry in json.loads(line)}

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys without an answer, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self.answers]

    def add(self, answers: Mapping[str, Answer]) -> None:
        """Keeps answers that belong together, on disk when it returns. One thread calls it."""
        if not answers:
            return
        entries: list[dict[str, Any]] = [{"key": key, **asdict(answer)} for key, answer in answers.items()]
        line = json.dumps(entries, ensure_ascii=True) + "\n"
        self._file.write(line)
        self._file.flush()
        self._read[self.path] += len(line)
        self.answers |= answers
