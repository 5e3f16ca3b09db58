"""`localpsych fork`: a dataset and an origin -> a small recipe of one's own, in which every line says why it stands there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from localpsych_recipes import recipe_file, rundir
from localpsych_recipes.data.columns import LISTED, shown
from localpsych_recipes.data.peek import Peek, peek, tried
from localpsych_recipes.data.proposal import Proposal, propose, verdict
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Recipe, Source, is_local
from localpsych_recipes.recipe_file import Origins, RecipeError
from localpsych_recipes.resources import resource

ROWS = 1000  # looked at: enough to meet every label of a short list of them
HELD_OUT = ("validation", "valid", "val", "dev", "test", "eval")  # names of splits that are made to be held out
TEST_SIZE = 0.1  # where neither the dataset nor the origin says how much is held out
NOT_TEXT = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")  # to one YAML reader or another
KINDS = {str: "text", int: "numbers", float: "numbers", bool: "true or false", list: "lists", dict: "mappings"}
NEXT = """\
{out}: holds ({name}). It extends {origin}; read its comments, they say what was guessed.
  localpsych check {out} --resolved     every key, and where its value comes from
  localpsych data {out}                 what becomes of the rows
  localpsych plan {out}                 memory, disk and time
  accelerate launch -m localpsych_recipes {out}"""


def shipped() -> str:
    """The recipes that come with the package, with what they make and from which base."""
    recipes = [(name, recipe_file.load(resource("recipes") / f"{name}.yaml")) for name in recipe_file.shipped_names()]
    about = [f"{name}\n    {r.description or 'no description'}\n    base: {r.base.model}" for name, r in recipes]
    return "\n".join([*about, "", "localpsych fork NAME --dataset DATASET -o MY.yaml starts from one of them"])


def fork(
    origin: str,
    dataset: str,
    out: Path,
    *,
    split: str = "train",
    config: str | None = None,
    name: str | None = None,
    force: bool = False,
) -> str:
    """Writes a recipe that extends `origin` and learns from `dataset`, and loads it; returns what to do next.

    origin: a file, a shipped recipe's name or hf://USER/REPO[@REVISION]. dataset: a Hub id, a local file or folder.
    UserError if the mapping of the columns cannot be told, or `out` is there and `force` is not given.
    """
    _refuse_place(out, force)
    parent, origins = recipe_file.load_with_origins(origin)
    _refuse_origin(out, origin, origins)
    rows = _rows(dataset, config, split, parent)
    seen = rows.peek(split)
    proposal = propose(seen) or _refuse(origin, dataset, seen)
    mapped = rows.mapped(proposal)
    problem, left_out = tried(mapped, seen.records)
    if left_out == len(seen.records):
        _refuse(origin, dataset, seen)
    name = name or f"{parent.name}-{_slug(dataset)}"[:80].rstrip("-.")
    held_out = _held_out(rows, mapped, seen, proposal, parent)
    lines = [*_head(out, _extended(origin, out), name), *_data(rows, proposal, parent, held_out)]
    recipe = _write("\n".join([*lines, *_stages(parent, proposal)]) + "\n", out)
    notes = list(_notes(proposal, problem, left_out, len(seen.records)))
    return "\n".join([NEXT.format(out=out, name=recipe.name, origin=origin), *notes])


@dataclass(frozen=True)
class Rows:
    """What is learnt from; `revision` of a Hub dataset, if one is pinned already."""

    source: str
    config: str | None
    split: str
    revision: str | None

    def peek(self, split: str) -> Peek:
        return peek(self.source, revision=self.revision, name=self.config, split=split, rows=ROWS)

    def mapped(self, proposal: Proposal) -> Source:
        columns = {part: column for part, (column, _) in proposal.columns.items()}
        turns = {"opening": "cut"} if proposal.opened else {}
        mapping = {"columns": columns, "labels": proposal.labels, "html": proposal.html, "turns": turns}
        return Source.model_validate({"source": self.source, **mapping})


def _rows(dataset: str, config: str | None, split: str, parent: Recipe) -> Rows:
    source = f"./{dataset}" if Path(dataset).exists() and dataset[0] not in "./~" else dataset
    if config and is_local(source):
        raise UserError(f"--config {config}, for a local dataset", "it for a Hub dataset alone", "leave --config out")
    pinned = parent.data.revision if parent.data.source == source else None  # which the new recipe inherits too
    return Rows(source, config, split, pinned)


def _refuse_place(out: Path, force: bool) -> None:
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"-o {out}", "a file that ends in .yaml", f"call it {out.name}.yaml")
    if out.exists() and not force:
        raise UserError(f"{out}: is there already", "a new file", "choose another name, or overwrite it with --force")


def _refuse_origin(out: Path, origin: str, origins: Origins) -> None:
    """A recipe written over one that it extends, however far up, would extend itself."""
    chain = {recipe_file.find(origin), *(Path(place.where) for place in origins.values())}
    if out.resolve() in {path.resolve() for path in chain}:
        raise UserError(f"-o {out}: {origin} is it, or extends it", "a file of its own", "choose another name")


def _refuse(origin: str, dataset: str, seen: Peek) -> NoReturn:
    if not seen.records:
        raise UserError(f"{dataset}: no rows", "a dataset with rows", "check the file or --split")
    if column := verdict(seen):
        raise UserError(
            f"{dataset}: {column!r} tells good answers from bad ones, and both would be learnt",
            "good answers alone, or pairs as prompt, chosen and rejected",
            "leave the bad ones out and drop that column, or make pairs of them",
        )
    if len(seen.columns) == 1 and re.search(r"[;\t|]", seen.columns[0]):
        expected = "commas in a .csv file, tabs in a .tsv file"
        raise UserError(f"{dataset}: one column, with other separators in its name", expected, "export the table again")
    raise UserError(
        f"{dataset}: its columns are {', '.join(f'{shown(name)} ({_kind(seen, name)})' for name in seen.columns[:LISTED])}",
        "prompt and response, prompt, chosen and rejected, instruction, input and output, messages, or text and label, "
        "under one of their usual names, and with texts in them that differ from row to row",
        f"write a recipe by hand: `extends: {origin}`, a `name`, and `data` with `source: {dataset}` and the mapping, "
        "such as `columns: {prompt: COLUMN, response: COLUMN}`",
    )


def _kind(seen: Peek, column: str) -> str:
    """What stands in a column's cells, in a word."""
    kinds = {type(cell) for row in seen.records if (cell := row.get(column)) not in (None, "", [])}
    words = sorted({KINDS.get(kind, kind.__name__) for kind in kinds})
    return " and ".join(words) or "empty"


def _head(out: Path, extends: str, name: str) -> Iterator[str]:
    schema = resource("recipes", "schema.json")
    if schema.is_relative_to(Path.cwd()):
        schema = os.path.relpath(schema, out.absolute().parent)
    yield f"# yaml-language-server: $schema={schema}"
    yield "# Everything that does not stand here is as in the recipe that it extends."
    yield ""
    yield f"extends: {_yaml(extends)}"
    yield f"name: {_yaml(name)}  # of the release; repositories and files are named after it"
    yield "# description: one sentence for the cards"
    yield ""


def _data(rows: Rows, proposal: Proposal, parent: Recipe, held_out: list[str]) -> Iterator[str]:
    where = (
        "seen from the folder that the commands run in"
        if is_local(rows.source)
        else "pinned to its commit at the first run"
    )
    yield "data:"
    yield f"  source: {_yaml(rows.source)}  # {where}"
    if rows.config:
        yield f"  name: {_yaml(rows.config)}  # the configuration that was chosen"
    if rows.split != "train":
        yield f"  split: {_yaml(rows.split)}  # what is learnt from"
    yield "  columns:  # columns that are not named here are not used"
    yield from (f"    {part}: {_yaml(column)}  # {why}" for part, (column, why) in proposal.columns.items())
    yield from _labels(proposal)
    if proposal.opened:
        yield "  turns:"
        yield "    opening: cut  # the assistant opens conversations: what it says before the first question goes"
    if proposal.html:
        yield "  html: true  # tags were seen in the cells"
    yield from held_out
    if proposal.pairs:
        yield "  use: all  # SFT and DPO both learn from these rows, as far as they can; or one of them: sft, dpo"
    if parent.data.system:
        yield "  # system: the origin's is used; one of your own may fit these rows better"


def _labels(proposal: Proposal) -> Iterator[str]:
    """Labels without words are left for a person to fill in: none of their rows is learnt until then."""
    for column, words in proposal.labels.items():
        yield "  labels:  # value: the words to answer with; a value that is not listed stops the run, with its row"
        yield f"    {_yaml(column)}:" + (" {" if proposal.wordless else "")
        if proposal.wordless:
            yield "      # these say nothing to a model: put words behind them, and take the # in front away"
            yield from (f'      # {json.dumps(value)}: "",' for value in words if value)
            yield "    }"
            return
        for value, word in words.items():
            why = "" if value else "  # none: these rows are left out"
            yield f"      {json.dumps(value, ensure_ascii=False)}: {_yaml(word)}{why}"


def _held_out(rows: Rows, mapped: Source, seen: Peek, proposal: Proposal, parent: Recipe) -> list[str]:
    """The lines that say what is held out: a split of the dataset's own that the mapping fits, else a share."""
    unfit = []
    for own in _own_splits(seen.splits, rows.split):
        records = rows.peek(own).records
        problem, left_out = tried(mapped, records)
        if not problem and left_out < len(records):
            return [f"  test_split: {_yaml(own)}  # the dataset's own"]
        unfit.append(repr(own))
    theirs = next((s.test_size for s in parent.data.sources if s.test_size), None)
    why = "as in the origin" if theirs else "the dataset has no split to hold out"
    if unfit:
        why = f"the dataset's {' and '.join(unfit)} cannot be held out: the mapping does not fit it"
    lines = [f"  test_size: {theirs or TEST_SIZE}  # {why}"]
    if proposal.repeated:
        lines.append(
            "  group_by: prompt  # prompts come more than once: all answers to one stay on one side of the split"
        )
    return lines


def _own_splits(splits: tuple[str, ...], split: str) -> list[str]:
    """The splits made to be held out, the likeliest first; beside "train_sft" that is "test_sft"."""
    learnt = split.partition("[")[0]
    by_name = {name.casefold(): name for name in reversed(splits) if name != learnt}
    wanted = [learnt.casefold().replace("train", word) for word in HELD_OUT]
    return [by_name[name] for name in dict.fromkeys([*wanted, *HELD_OUT]) if name in by_name]


def _notes(proposal: Proposal, problem: str, left_out: int, rows: int) -> Iterator[str]:
    if proposal.wordless:
        yield "Before anything else write words for its labels into it: as they are they say nothing, and stop a run."
    if problem:
        yield f"Of the first {rows:,} rows some do not fit, and stop a run: {problem}"
    if left_out:
        yield f"Of the first {rows:,} rows {left_out:,} have an empty part, and are left out."


def _stages(parent: Recipe, proposal: Proposal) -> Iterator[str]:
    if parent.pairs and proposal.pairs:
        yield ""
        yield "pairs: false  # the rows have pairs of their own; without this line more are made from the model itself"
    elif parent.pairs:
        judge = "a model" if parent.judge.model == "auto" else parent.judge.model
        yield ""
        yield f"# As in the origin the model itself writes worse answers (`pairs`), and {judge} scores them (`judge`)."
    elif parent.dpo and not proposal.pairs:
        yield ""
        yield "# With `pairs:` instead of the next line the model itself writes the worse answers, and a judge chooses."
        yield "dpo: false  # it needs pairs of a better and a worse answer, and none were found"
        if not parent.sft:
            yield "sft:  # the origin has none; with the defaults"
    elif proposal.pairs and not parent.dpo:
        yield ""
        yield "# dpo:  # there are pairs to learn from; without the # in front it runs, with its defaults"


def _write(text: str, out: Path) -> Recipe:
    """Loaded beside its place first, so that what stands there in the end is a recipe that holds."""
    beside = out.with_name(f".{out.name}")
    try:
        rundir.write_text(beside, text)
        recipe = recipe_file.load(beside)
        beside.replace(out)
    except RecipeError as error:
        given = [problem.replace(beside.name, out.name) for problem in error.problems]
        raise UserError(
            "\n  ".join([f"{out}: not written, for it would not hold", *given]),
            "a recipe that holds",
            "choose another --name, or write the recipe by hand",
        ) from None
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror})", "a file in a folder of yours", "choose another"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
    return recipe


def _extended(origin: str, out: Path) -> str:
    """The origin as the new recipe names it: relative to its own folder, if it is a file and does not ship."""
    path = recipe_file.find(Path(origin))
    if origin.startswith("hf://") or path.resolve().parent == resource("recipes").resolve():
        return origin if origin.startswith("hf://") else path.stem
    return os.path.relpath(path, out.absolute().parent)


def _slug(dataset: str) -> str:
    name = Path(dataset.rstrip("/")).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.partition(".")[0] if is_local(dataset) else name).strip("-.") or "data"


def _yaml(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z./][\w./-]*( [\w./-]+)*", text) and text.casefold() not in NOT_TEXT
    return text if plain else json.dumps(text, ensure_ascii=False)
