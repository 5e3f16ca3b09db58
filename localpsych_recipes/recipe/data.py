"""Where rows come from, which column plays which part, how they are cleaned, mixed and split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from localpsych_recipes.recipe.section import RowsPlace, Section, Seed, pattern_problem

ROLES = ("system", "user", "assistant")
_PLACEHOLDER = re.compile(r"\{([^{}\n]+)\}")


def columns_of(part: str) -> tuple[str, ...]:
    """The columns that one entry of `columns` reads: those in braces, or the one that it names."""
    return tuple(_PLACEHOLDER.findall(part)) or (part,)


class Columns(Section):
    """Which column plays which part: a column's name, or a text with columns in braces, "{title}: {text}"."""

    prompt: Annotated[str | None, Field(min_length=1, description="what the person says")] = None
    response: Annotated[
        str | None, Field(min_length=1, description="the answer to learn in SFT; `chosen` where absent")
    ] = None
    chosen: Annotated[
        str | None,
        Field(min_length=1, description="the preferred answer of a pair, or the conversation that ends in it"),
    ] = None
    rejected: Annotated[
        str | None, Field(min_length=1, description="the worse answer, or its conversation; never a target of SFT")
    ] = None
    messages: Annotated[
        str | None,
        Field(
            min_length=1,
            description="whole conversations: messages, ShareGPT, texts in turn, or one text that `turns` cuts",
        ),
    ] = None
    score: Annotated[
        str | None,
        Field(min_length=1, description="votes or a rating of the answer: answers to one question become pairs"),
    ] = None

    def rules(self):
        given = {part: column for part in type(self).model_fields if (column := getattr(self, part))}
        if self.messages and (set(given) - {"messages", "score"}):
            yield "messages: stands alone or beside `score`; drop `messages` or the others"
        elif not self.messages and not self.prompt and not (self.chosen and self.rejected):
            yield (
                "prompt: missing; map `prompt` and an answer column (`response` or `chosen`), `messages`, or "
                "conversations as `chosen` and `rejected`"
            )
        if self.prompt and not (self.response or self.chosen):
            yield "response: missing; map the answer column as `response`, or as `chosen` beside `rejected`"
        if self.rejected and not self.chosen:
            yield "chosen: missing beside `rejected`; a pair needs both"
        if self.score and (self.chosen or self.rejected):
            yield "score: contradicts `chosen` and `rejected`; pairs come from one or the other"
        worse = set(columns_of(self.rejected)) if self.rejected else set()
        for part in ("prompt", "response", "chosen"):
            if part in given and (both := worse & set(columns_of(given[part])) - set(columns_of(self.prompt or ""))):
                yield f"rejected: column {min(both)!r} is also `{part}`; a rejected answer can never be trained on"
        if self.rejected and self.rejected == self.prompt:
            yield f"rejected: column {self.rejected!r} is also `prompt`; a rejected answer can never be trained on"

    @property
    def parts(self) -> dict[str, str]:
        """Part -> column or template, for the parts that are mapped."""
        return self.model_dump(exclude_none=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        return tuple(dict.fromkeys(name for part in self.parts.values() for name in columns_of(part)))

    @property
    def makes_pairs(self) -> bool:
        return bool(self.rejected or self.score)


class Turns(Section):
    """How the `messages` column (or `chosen` and `rejected`) is cut into turns where it is no list of {role, content}."""

    separator: Annotated[str | None, Field(min_length=1, description="a text is cut at it")] = None
    pattern: Annotated[
        str | None,
        Field(description="regular expression of one piece, with (?P<content>) and perhaps (?P<role>); without a role "
              "user and assistant alternate"),
    ] = None  # fmt: skip
    roles: Annotated[
        dict[str, Literal[ROLES]], Field(description="the source's names of the speakers -> system, user, assistant")
    ] = {}
    join: Annotated[bool, Field(description="turns of one speaker in a row become one; else they are an error")] = False
    opening: Annotated[
        Literal["fail", "cut"],
        Field(description="a conversation that the assistant opens: an error, or its opening is cut"),
    ] = "fail"

    def rules(self):
        if problem := pattern_problem(self.pattern or ""):
            yield f"pattern: {problem}"
            return
        groups = re.compile(self.pattern or "(?P<content>)").groupindex
        if "content" not in groups or set(groups) - {"role", "content"}:
            yield "pattern: its named groups are (?P<content>...) and, where speakers are named, (?P<role>...)"


class Source(Section):
    """One set of rows."""

    source: Annotated[RowsPlace, Field(description="Hub dataset id, local file or folder, or https address of a file")]
    revision: Annotated[
        str | None, Field(description="commit, branch or tag of a Hub dataset; pinned at the first run")
    ] = None
    name: Annotated[str | None, Field(description="configuration of a Hub dataset with several")] = None
    split: Annotated[str, Field(description="split of a Hub dataset to read, or the file of that name in a folder")] = (
        "train"
    )
    format: Annotated[
        Literal["csv", "tsv", "json", "jsonl", "parquet", "lines"] | None,
        Field(description="of a local file; null: by its suffix; lines: one column `text`, a row a line"),
    ] = None
    license: Annotated[str | None, Field(description="the dataset's licence, where its card does not say")] = None
    columns: Columns
    labels: Annotated[
        dict[str, dict[str, str]],
        Field(description="column -> its value -> the words that stand for it, as in {label: {'0': joy}}"),
    ] = {}
    turns: Turns = Turns()
    html: Annotated[bool, Field(description="cells hold HTML: it becomes text, images go")] = False
    use: Annotated[Literal["all", "sft", "dpo"], Field(description="which training stages learn from these rows")] = (
        "all"
    )
    train_on: Annotated[
        Literal["all", "last"], Field(description="SFT's targets in a conversation: every answer, or the last alone")
    ] = "all"
    pairs: Annotated[
        Literal["best", "all"],
        Field(
            description="with `score`: the best answer against each worse one, or every better one against each worse"
        ),
    ] = "best"
    weight: Annotated[
        float, Field(gt=0, description="how often its training rows are taken: 0.5 half of them, 2 each twice")
    ] = 1.0
    max_rows: Annotated[
        int | None, Field(gt=0, description="rows kept of each of its splits after the shuffle; null: all")
    ] = None
    group_by: Annotated[
        str | None,
        Field(
            description="a column, or `prompt`: rows that agree in it stay on one side of the split; null: rows alone"
        ),
    ] = None
    test_size: Annotated[float | None, Field(gt=0, lt=1, description="share held out, rounded up to whole rows")] = None
    test_split: Annotated[str | None, Field(description="the source's own held-out split, instead of test_size")] = None

    def rules(self):
        if self.test_size is not None and self.test_split is not None:
            yield "test_split: contradicts test_size; keep one of them"
        if self.test_split is not None and self.test_split == self.split:
            yield f"test_split: {self.test_split!r} is also the training split; nothing would be held out"
        names = self.columns.names if self.columns else ()
        for column in self.labels:
            if column not in names:
                yield f"labels.{column}: no mapped column; name one of {', '.join(names)}"
        if self.columns and self.use == "dpo" and not self.columns.makes_pairs:
            yield "use: dpo needs pairs: map `chosen` and `rejected`, or `score`"

    @property
    def held_out(self) -> bool:
        return self.test_size is not None or self.test_split is not None


class Data(Source):
    """One source, or a mixture of several, and what is done with the rows of all of them."""

    source: Annotated[
        RowsPlace | None, Field(description="Hub dataset id, local file or folder, or https address of a file")
    ] = None
    columns: Columns | None = None
    mixture: Annotated[
        tuple[Source, ...], Field(strict=False, description="several sources; the keys of each stand in its entry")
    ] = ()
    system: Annotated[str | None, Field(description="system prompt of every conversation that has none of its own")] = (
        None
    )
    system_in: Annotated[
        Literal["system", "user"], Field(description="its place: a system turn, or before the first user turn's text")
    ] = "system"
    shuffle_seed: Annotated[
        Seed | None, Field(description="of each source's rows, and of the mixture's; null: rows stay in order")
    ] = None
    split_seed: Annotated[Seed, Field(description="seed of the split by test_size")] = 42
    repair: Annotated[
        bool, Field(description="text that was decoded wrongly and non-breaking spaces are mended, and counted")
    ] = True
    empty: Annotated[Literal["drop", "fail"], Field(description="rows with an empty field: counted, then this")] = (
        "drop"
    )
    duplicates: Annotated[Literal["keep", "drop"], Field(description="identical rows: counted, then this")] = "keep"
    near_duplicates: Annotated[
        Literal["keep", "drop"], Field(description="rows that differ in little: counted, then this")
    ] = "keep"
    leaks: Annotated[
        Literal["keep", "drop"],
        Field(description="training rows equal or nearly equal to a held-out one: counted, then this"),
    ] = "keep"
    similarity: Annotated[
        float,
        Field(gt=0, lt=1, description="from which on two rows are near duplicates: shared share of their 3-word runs"),
    ] = 0.8
    min_tokens: Annotated[
        int | None,
        Field(gt=0, description="shorter conversations are dropped; tokens of the base, chat template included"),
    ] = None
    max_tokens: Annotated[int | None, Field(gt=0, description="longer conversations are dropped; counted likewise")] = (
        None
    )
    crisis_lines: Annotated[
        Literal["report", "replace"],
        Field(description="outdated or wrong help lines in answers and in the recipe's own texts: counted, then this"),
    ] = "report"

    def rules(self):
        if self.mixture:
            beside = [key for key in Source.model_fields if getattr(self, key) != Data.model_fields[key].default]
            for key in beside:
                yield f"{key}: says nothing beside `mixture`; put it into the entries that it is meant for"
        else:
            yield from super().rules()
            yield from (f"{key}: missing" for key in ("source", "columns") if getattr(self, key) is None)
        if self.min_tokens and self.max_tokens and self.min_tokens > self.max_tokens:
            yield f"min_tokens: {self.min_tokens} is more than max_tokens ({self.max_tokens}); no row is left"

    @property
    def sources(self) -> tuple[Source, ...]:
        """The mixture, or the one source that stands here itself."""
        own = {key: getattr(self, key) for key in Source.model_fields}
        return self.mixture or (Source.model_construct(**own),)

    @property
    def held_out(self) -> bool:
        return any(source.held_out for source in self.sources)

    def learnt_by(self, stage: Literal["sft", "dpo"]) -> Iterator[Source]:
        """The sources that a training stage learns from."""
        for source in self.sources:
            if source.use in ("all", stage) and (stage == "sft" or source.columns.makes_pairs):
                yield source
