"""The way in: records of all sources, one at a time -> conversations, and which of them repeat others.

Rows are numbered through all sources from here on; what follows works on arrays of these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from localpsych_recipes.data import columns, sources
from localpsych_recipes.data.cleaning import Cleaner
from localpsych_recipes.data.conversations import Conversation, Unpaired, canonical
from localpsych_recipes.data.duplicates import Finder, Found
from localpsych_recipes.data.groups import Groups, joined
from localpsych_recipes.data.problems import EMPTY, Problems, RowError
from localpsych_recipes.recipe import Data, Source


@dataclass
class Part:
    """One split of one source."""

    of: int  # number of the source
    source: Source
    split: str
    start: int  # number of its first row
    read: int  # how many there are
    rows: np.ndarray  # the numbers of its rows, fewer from step to step
    groups: np.ndarray | None  # of each row, from the first on; None where rows stand alone
    counts: dict[str, int]

    @property
    def held_out(self) -> bool:
        return self.split == self.source.test_split


@dataclass
class Intake:
    conversations: list[Conversation]
    parts: list[Part]
    found: Found


def read(
    data: Data,
    revisions: Sequence[str | None],
    templates: Sequence[Mapping[str, str]],
    fetched: dict[str, str] | None = None,
    progress: Callable[[int], object] = lambda rows: None,
) -> Intake:
    """All rows that have text in every field. templates: part -> column or template, for each source.

    fetched: as in `sources.read`; progress: called with the number of rows so far.
    UserError for what cannot be read, and for rows that break a rule: their numbers, never what stands there.
    """
    conversations: list[Conversation] = []
    parts, finder = [], Finder(data.similarity)
    for of, source in enumerate(data.sources):
        for split in filter(None, (source.split, source.test_split)):
            reading = _Reading(data, source, templates[of])
            start = len(conversations)
            for conversation, text in reading.rows(split, revisions[of] if revisions else None, fetched):
                conversations.append(conversation)
                finder.add(text)
                progress(len(conversations))
            rows = np.arange(start, len(conversations))
            parts.append(
                Part(
                    of, source, split, start, len(rows), rows, reading.grouped(), reading.counts | reading.clean.counts
                )
            )
    return Intake(conversations, parts, finder.found())


class _Reading:
    def __init__(self, data: Data, source: Source, templates: Mapping[str, str]):
        self.data, self.source = data, source
        self.templates = {part: words for part, words in templates.items() if part != "score"}
        self.clean = Cleaner(html=source.html, repair=data.repair, separator=source.turns.separator)
        self.counts = {"rows": 0, "empty": 0}
        by = (columns.PROMPT,) if source.columns.score else ()
        by = (*by, source.group_by) if source.group_by not in (None, *by) else by
        self.groups = {key: Groups() for key in by if source.test_size}

    def rows(
        self, split: str, revision: str | None, fetched: dict[str, str] | None
    ) -> Iterator[tuple[Conversation, str]]:
        """Each conversation, and its own text for comparing it: without the recipe's words."""
        name, problems = sources.shown(self.source.source), Problems()
        for number, record in enumerate(sources.read(self.source, split, revision, fetched), 1):
            self.counts["rows"] += 1
            try:
                cells = columns.cleaned(record, self.source, self.clean)
                if conversation := self._conversation(cells, record):
                    self._group(conversation, record)
                    yield conversation, _own_text(cells, conversation)
            except RowError as error:
                problems.add(number, error)
        problems.refuse(name)

    def _conversation(self, cells: columns.Cells, record: columns.Record) -> Conversation | None:
        parts = {part: columns.render(words, cells) for part, words in self.templates.items()}
        try:
            conversation = canonical(parts, self.source.turns)
        except Unpaired as reason:
            self.counts[str(reason)] = self.counts.get(str(reason), 0) + 1
            return None
        if conversation.empty:
            self._empty()
            return None
        score = columns.score(record, self.source)
        return conversation if score is None else replace(conversation, score=score)

    def _empty(self) -> None:
        if self.data.empty == "fail":
            raise RowError(" has an empty field", EMPTY)
        self.counts["empty"] += 1

    def _group(self, conversation: Conversation, record: columns.Record) -> None:
        for by, groups in self.groups.items():
            groups.add(conversation.question if by == columns.PROMPT else _key(record[by]))

    def grouped(self) -> np.ndarray | None:
        """For each row of this split the number of its group."""
        return joined([groups.numbers() for groups in self.groups.values()]) if self.groups else None


def _key(cell: Any) -> str | None:
    return None if cell is None or not str(cell).strip() else str(cell)


def _own_text(cells: columns.Cells, conversation: Conversation) -> str:
    own = [cell for cell in cells.values() if isinstance(cell, str)]
    if len(own) < len(cells):  # a list of messages: what is said in it, not how it is written
        pair = conversation.pair
        own += [conversation.system or "", *conversation.texts, *((pair.chosen, pair.rejected) if pair else ())]
    return "\0".join(own if conversation.score is None else [*own, str(conversation.score)])
