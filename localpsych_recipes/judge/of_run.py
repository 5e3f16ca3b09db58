"""The judge of a run, for any stage that asks one: chosen once, asked by its engine, described in a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localpsych_recipes import families, models
from localpsych_recipes.generation import Sampling, Writer, writers
from localpsych_recipes.generation.answering import saying, shown, who_wrote
from localpsych_recipes.judge import choosing
from localpsych_recipes.judge.choosing import Choice
from localpsych_recipes.judge.kinship import kind_of, refuse_same_family, same_family
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Judge, Recipe


def check(recipe: Recipe) -> None:
    """For the preflight: UserError unless the judge can be asked, and is one that the recipe allows."""
    writers.check("judge", recipe.judge)
    policy = families.type_of(models.tokenizer_folder(recipe.base))
    refuse_same_family(policy, _kind(recipe.judge), recipe.judge.allow_same_family)


def choose(run: Run, file: Path) -> Choice:
    """The judge that `file` keeps, or one chosen now; the main process calls it. UserError for one of the base's family."""
    asked = run.recipe.judge
    choice = choosing.choose(asked, file, run.ranks)
    refuse_same_family(_policy(run), _kind(asked, choice), asked.allow_same_family)
    return choice


def writer(run: Run, choice: Choice, work: Path, *, needed: bool = True) -> Writer:
    """Its engine; nothing is loaded yet. work: for what a server needs; needed: False for one that has nothing to judge,
    whose weights are not fetched."""
    # by its name: "auto" and "default" may mean another one by now
    asked, say = run.recipe.judge.model_copy(update={"model": choice.model}), saying(run)
    weights = choosing.weights(asked, choice, say, fetch=needed)
    return writers.writer("judge", asked, weights, work, say, ranks=run.ranks)


def sampling(run: Run) -> Sampling:
    """Of its verdicts."""
    return Sampling(run.recipe.judge.temperature, run.recipe.judge.max_tokens, run.recipe.seed)


def described(run: Run, choice: Choice, writer: Writer) -> dict[str, Any]:
    """{"engine", "model", "where", "commit", "same_family"}, for a report; same_family: None where nobody can tell."""
    kind = _kind(run.recipe.judge, choice)
    return {
        **who_wrote(writer),
        "model": shown(choice.model),
        "commit": choice.commit,
        "same_family": same_family(_policy(run), kind),
    }


def _policy(run: Run) -> str:
    return families.type_of(models.base_folder(run.recipe.base, run.pins))


def _kind(asked: Judge, choice: Choice | None = None) -> str:
    """What the judge is known by (`judge.kind_of`). UserError for one that cannot be used."""
    place = choosing.refuse_unusable(asked, choice)
    if choice is None and place is None:
        return kind_of(None, choosing.name_there(asked))
    return kind_of(place, choice.model if choice else "")
