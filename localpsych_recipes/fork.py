"""`localpsych fork`: a dataset and an origin -> a small recipe of one's own, in which every line says why it stands there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from localpsych_recipes import recipe_file, rundir
from localpsych_recipes.data.columns import shown
from localpsych_recipes.data.peek import Peek, peek
from localpsych_recipes.data.proposal import Proposal, propose
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Recipe, is_local
from localpsych_recipes.resources import resource

ROWS = 1000  # looked at: enough to meet every label of a short list of them
HELD_OUT = ("validation", "valid", "val", "dev", "test", "eval")  # names of splits that are made to be held out
TEST_SIZE = 0.1  # where neither the dataset nor the origin says how much is held out
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
    if out.exists() and not force:
        raise UserError(f"{out}: is there already", "a new file", "choose another name, or overwrite it with --force")
    parent = recipe_file.load(origin)
    source = f"./{dataset}" if Path(dataset).exists() and dataset[0] not in "./~" else dataset
    pinned = parent.data.revision if parent.data.source == source else None  # which the new recipe inherits too
    seen = peek(source, revision=pinned, name=config, split=split, rows=ROWS)
    proposal = propose(seen) or _refuse(dataset, seen)
    name = name or f"{parent.name}-{_slug(dataset)}"[:80]
    lines = [*_head(out, _extended(origin, out), name), *_data(source, split, config, seen, proposal, parent)]
    recipe = _write("\n".join([*lines, *_stages(parent, proposal)]) + "\n", out)
    return NEXT.format(out=out, name=recipe.name, origin=origin)


def _refuse(dataset: str, seen: Peek) -> Proposal:
    raise UserError(
        f"{dataset}: its columns are {', '.join(map(shown, seen.columns)) or 'none'}",
        "prompt and response, prompt, chosen and rejected, instruction, input and output, messages, or text and label, "
        "under one of their usual names and filled accordingly",
        "write a recipe by hand, with `extends`, `name`, `data.source` and the mapping under `data.columns`",
    )


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


def _data(source: str, split: str, config: str | None, seen: Peek, proposal: Proposal, parent: Recipe) -> Iterator[str]:
    yield "data:"
    yield f"  source: {_yaml(source)}" + ("" if is_local(source) else "  # pinned to its commit at the first run")
    if config:
        yield f"  name: {_yaml(config)}  # the configuration that was chosen"
    if split != "train":
        yield f"  split: {_yaml(split)}  # what is learnt from"
    yield "  columns:  # columns that are not named here are not used"
    yield from (f"    {part}: {_yaml(column)}  # {why}" for part, (column, why) in proposal.columns.items())
    for column, words in proposal.labels.items():
        yield "  labels:  # value: the words to answer with; a value that is not listed stops the run, with its row"
        yield f"    {_yaml(column)}:"
        yield from (f"      {json.dumps(value, ensure_ascii=False)}: {_yaml(word)}" for value, word in words.items())
    if proposal.html:
        yield "  html: true  # tags were seen in the cells"
    yield from _held_out(split, seen, proposal, parent)
    yield "  use: all  # SFT and DPO both learn from these rows, as far as they can; or one of them: sft, dpo"
    if parent.data.system:
        yield "  # system: the origin's is used; one of your own may fit these rows better"


def _held_out(split: str, seen: Peek, proposal: Proposal, parent: Recipe) -> Iterator[str]:
    if own := next((name for name in HELD_OUT if name in seen.splits and name != split), None):
        yield f"  test_split: {_yaml(own)}  # the dataset's own"
        return
    theirs = next((s.test_size for s in parent.data.sources if s.test_size), None)
    why = "as in the origin" if theirs else "the dataset has no split to hold out"
    yield f"  test_size: {theirs or TEST_SIZE}  # {why}"
    if proposal.repeated:
        yield "  group_by: prompt  # prompts come more than once: all answers to one stay on one side of the split"


def _stages(parent: Recipe, proposal: Proposal) -> Iterator[str]:
    if parent.dpo and not proposal.pairs:
        yield ""
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
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(dataset.rstrip("/")).name.partition(".")[0]).strip("-.") or "data"


def _yaml(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z./][\w./-]*( [\w./-]+)*", text) and text not in ("true", "false", "null")
    return text if plain else json.dumps(text, ensure_ascii=False)
