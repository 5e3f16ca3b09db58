"""`localpsych pairs RUN`: every candidate of a run, kept or dropped, page by page. Nothing leaves the terminal."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from localpsych_recipes.errors import UserError
from localpsych_recipes.pairs import tables
from localpsych_recipes.pairs.statuses import STATUSES
from localpsych_recipes.recipe import Degrade
from localpsych_recipes.rundir import RunDir

DROPPED = tuple(status for status in STATUSES if status != "kept")
KINDS = Degrade.model_fields
PAGERS = ("less -R", "more")  # after $PAGER
# less keeps no history of searches, starts no program and writes no file: the texts stay where they are
QUIET = {"LESSHISTFILE": "-", "LESSSECURE": "1"}
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, escapes, bidi and other format characters, odd line ends
HARMLESS = "\n\u200c\u200d"  # emoji and several scripts are written with the zero-width joiners


def show(
    run: Path, wanted: Sequence[str] = (), split: str | None = None, degraded: str | None = None, count: bool = False
) -> None:
    """The candidates of a run directory on stdout, through a pager where that is a terminal; one is held at a time.

    wanted: statuses, "kept" or "dropped"; none: all.  degraded: in which way.  count: only how many of each status.
    UserError for a folder without candidates and for names that do not exist.
    """
    wanted, path = _statuses(wanted), _file(run)
    if degraded and degraded not in KINDS:
        raise UserError(f"--degraded {degraded}", ", ".join(KINDS), "name one of these")
    found = (
        (number, candidate)
        for number, candidate in _candidates(path)
        if candidate["status"] in wanted
        and split in (None, candidate["split"])
        and degraded in (None, candidate["degraded"])
    )
    if count:
        print(tables.statuses(Counter(candidate["status"] for _, candidate in found)))
    else:
        _print(_pages(found, _lines(path)))


def _pages(found: Iterable[tuple[int, Mapping[str, Any]]], total: int) -> Iterator[str]:
    width, number = shutil.get_terminal_size().columns, 0
    for number, candidate in found:
        yield page(candidate, f"{number:,} of {total:,}", width)
    if not number:
        yield f"none of the {total:,} candidates\n"


def page(candidate: Mapping[str, Any], number: str, width: int) -> str:
    """One candidate as text of `width` columns, in which nothing drives the terminal."""
    texts = [(message["role"], message["content"]) for message in candidate["prompt"]]
    texts += [("CHOSEN", candidate["chosen"]), ("REJECTED", candidate["rejected"])]
    lines = [f"---- {number} ".ljust(width, "-"), *_header(candidate)]
    for name, text in texts:
        lines += ["", f"{name}:", *_wrapped(text, width)]
    return visible("\n".join(lines)) + "\n\n"


def visible(text: str) -> str:
    """Text with every character that would be acted on, or not be seen, as its code point, such as <U+001B>."""
    if text.isprintable():
        return text
    return "".join(f"<U+{ord(c):04X}>" if unicodedata.category(c) in UNSEEN and c not in HARMLESS else c for c in text)


def _header(candidate: Mapping[str, Any]) -> Iterator[str]:
    status, kind, gap = candidate["status"], candidate["degraded"], candidate["gap"]
    yield f"{candidate['split']}, prompt {candidate['prompt_number']}, candidate {candidate['candidate']}"
    yield status if STATUSES[status] == status else f"{status}: {STATUSES[status]}"
    if kind:
        yield f"made worse, {kind}: {KINDS[kind].description}"
    if gap is not None:
        yield f"gap {gap:.2f}"
    if candidate["scores"]:
        yield from _scores(**candidate["scores"])
    for side, vetoes in (candidate["vetoes"] or {}).items():
        if vetoes:
            yield f"vetoed in {side}: {', '.join(vetoes)}"


def _scores(chosen: Mapping[str, float], rejected: Mapping[str, float]) -> Iterator[str]:
    rows = [(name, chosen[name], rejected[name]) for name in chosen]
    rows.append(("mean", fmean(chosen.values()), fmean(rejected.values())))
    width = max(len(name) for name, _, _ in rows)
    yield f"{'':{width}}  chosen  rejected"
    for name, ours, theirs in rows:
        yield f"{name:{width}}  {ours:6.1f}  {theirs:8.1f}"


def _wrapped(text: str, width: int) -> Iterator[str]:
    for line in visible(text.replace("\r\n", "\n").expandtabs(4)).split("\n"):
        yield from textwrap.wrap(line, max(width, 20), break_on_hyphens=False) or [""]


def _statuses(wanted: Sequence[str]) -> set[str]:
    names = {name: {name} for name in STATUSES} | {"dropped": set(DROPPED)}
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            do = f"did you mean {near[0]}?" if near else "name one or more of these"
            raise UserError(f"--status {name}", ", ".join(names), do)
    return set().union(*(names[name] for name in wanted)) if wanted else set(STATUSES)


def _file(run: Path) -> Path:
    """pairs.jsonl of a run directory, with something in it."""
    place = RunDir(run)
    path = place.pairs / "pairs.jsonl"
    place.refuse_no_run()
    if not path.is_file():
        raise UserError(
            f"{run}: no {path.relative_to(place.root)} in it",
            "a run whose stage `pairs` is done",
            "run its recipe; the recipe needs a `pairs` section",
        )
    if not path.stat().st_size:
        raise UserError(f"{path} is empty", "a line for each candidate", "run the recipe again without RUN/pairs")
    return path


def _candidates(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number from 1 and candidate, line by line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield number, _parsed(line, number, path)


def _parsed(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        damaged = f"{path}, line {number:,}: damaged"
    raise UserError(damaged, "a candidate as JSON", "run the recipe again without RUN/pairs/pairs.jsonl")


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _print(pages: Iterable[str]) -> None:
    command = pager() if sys.stdout.isatty() else None
    if command:
        _through(command, pages)
    else:
        sys.stdout.reconfigure(errors="backslashreplace")  # an encoding without emoji is no reason to stop
        sys.stdout.writelines(pages)


def pager() -> list[str] | None:
    for command in (os.environ.get("PAGER", ""), *PAGERS):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return None


def _through(pager: Sequence[str], pages: Iterable[str]) -> None:
    # Ctrl-C is the pager's, as long as it is there and from its first moment; it would inherit SIG_IGN
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        process = subprocess.Popen(pager, stdin=subprocess.PIPE, text=True, encoding="utf-8", env=os.environ | QUIET)
        with suppress(BrokenPipeError), process:  # whoever reads may leave early
            process.stdin.writelines(pages)
    finally:
        signal.signal(signal.SIGINT, before)
