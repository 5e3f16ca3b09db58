"""Published sets of prompts, from a file or the Hub, in the columns that their authors gave them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from localpsych_recipes import hub, rundir
from localpsych_recipes.data import columns, files, sources
from localpsych_recipes.data.files import Record
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Benchmark, Source, is_local

# part of a prompt -> columns that hold it, the first that a row has: MT-Bench, SimpleSafetyTests, AlpacaEval,
# RealToxicityPrompts, XSTest, ToxiGen
COLUMNS = {
    "turns": ("turns", "prompts_final", "instruction", "prompt.text", "prompt", "text"),
    "id": ("question_id", "id", "filename"),
    "kind": ("label", "harm_area", "category", "dataset"),
    "reference": ("reference",),
}
TOXIC = 0.5  # from this score of its prompt on RealToxicityPrompts calls a row toxic (Gehman et al. 2020, section 3)


@dataclass(frozen=True)
class Prompt:
    """One row. id: unique in its set; turns: what the person says, one after the other; kind: what its authors call it,
    "" where they do not; references: answers to the turns, where they give some."""

    id: str
    turns: tuple[str, ...]
    kind: str = ""
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """prompts: in the order of the set; where: the file and its SHA-256, or the dataset and its commit; missing: why there
    are no prompts, None where there are."""

    prompts: tuple[Prompt, ...]
    where: str
    missing: str | None = None

    @property
    def kinds(self) -> dict[str, int]:
        """Kind -> prompts."""
        return dict(Counter(prompt.kind for prompt in self.prompts))

    @property
    def how(self) -> str:
        """The set in words, for a row of the table."""
        counted = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items() if kind)
        return f"{self.where}, {len(self.prompts):,} prompts" + (f" ({counted})" if counted else "")


@cache  # asked for by what asks and by what measures, and a Hub is not to be asked twice
def read(benchmark: Benchmark, seed: int) -> PromptSet:
    """The set's prompts, at most `max_prompts` of each kind, chosen by the seed. What cannot be had is a reason, no error."""
    try:
        rows, where = records(benchmark)
    except UserError as error:
        return PromptSet((), benchmark.source, reason(error))
    prompts = tuple(_chosen(list(_prompts(rows)), benchmark.max_prompts, seed))
    named = ", ".join(COLUMNS["turns"])
    return PromptSet(prompts, where, None if prompts else f"{where}: no row has text in a column called {named}")


def records(benchmark: Benchmark) -> tuple[list[Record], str]:
    """All rows as they are, and where they are from. UserError for what is neither on this machine nor to be fetched."""
    if not is_local(benchmark.source):
        return _from_hub(benchmark)
    if not Path(benchmark.source).expanduser().exists():
        name = Path(benchmark.source).name
        raise UserError(f"{name}: not on this machine", "a file or folder", "put it there, or correct its path")
    file = sources.local_file(_as_source(benchmark), benchmark.split)
    return list(files.records(file)), f"{file.name} (SHA-256 {rundir.file_sha256(file)[:12]})"


def some_of(names: list[str], count: int | None, seed: str) -> list[str]:
    """`count` of the names (None: all), the same for the same seed."""
    return names if count is None or count >= len(names) else random.Random(seed).sample(names, count)


def reason(error: UserError) -> str:
    """Why something cannot be had, in one line, without the key of another part of the recipe."""
    return error.given.removeprefix("data.source: ").removeprefix("base.model: ")


def _from_hub(benchmark: Benchmark) -> tuple[list[Record], str]:
    commit = hub.pin(benchmark.source, "dataset", benchmark.revision).commit
    source = _as_source(benchmark)
    with sources.hub_errors(source):
        builder = sources.hub_builder(source, benchmark.split, commit)
        sources.fetch(builder)
        builder.download_and_prepare()
        # by Arrow: a picture's cell may name a file of this machine, and would be opened
        rows = builder.as_dataset(split=benchmark.split).with_format("arrow")[:].to_pylist()
    return rows, f"{benchmark.source} at {commit[:12]}"


def _as_source(benchmark: Benchmark) -> Source:
    return Source.model_construct(source=benchmark.source, split=benchmark.split, name=None, format=None)


def _prompts(rows: list[Record]) -> Iterator[Prompt]:
    ids = [_part(row, "id") for row in rows]
    by_number = None in ids or len(set(ids)) < len(rows)  # none, or not its own
    for number, (row, id) in enumerate(zip(rows, ids, strict=True), 1):
        if turns := _texts(_part(row, "turns")):
            name = str(number if by_number else id)
            yield Prompt(name, turns, _kind(row), _texts(_part(row, "reference")))


def _part(row: Record, part: str) -> Any:
    cells = (columns.cell(row, name) for name in COLUMNS[part])
    return next((cell for cell in cells if cell is not None), None)


def _kind(row: Record) -> str:
    toxicity = columns.cell(row, "prompt.toxicity")
    if toxicity is not None:
        return "toxic" if toxicity >= TOXIC else "not toxic"
    return str(_part(row, "kind") or "")


def _texts(cell: Any) -> tuple[str, ...]:
    texts = cell if isinstance(cell, list) else [cell]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def _chosen(prompts: list[Prompt], count: int | None, seed: int) -> Iterator[Prompt]:
    by_kind: dict[str, list[str]] = {}
    for prompt in prompts:
        by_kind.setdefault(prompt.kind, []).append(prompt.id)
    kept = {id for kind, ids in by_kind.items() for id in some_of(ids, count, f"{seed} {kind}")}
    return (prompt for prompt in prompts if prompt.id in kept)
