"""What the measures work on: the columns, what each is asked, and what each answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from localpsych_recipes import chat_templates, families, models, rundir, suites
from localpsych_recipes.data.conversations import Place, messages, with_system
from localpsych_recipes.data.crisis import CrisisLines
from localpsych_recipes.data.turns import Turn
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.generation import Answer, Messages, Request, Sampling, Writer
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Evaluate
from localpsych_recipes.suites import Suite


@dataclass(frozen=True)
class Column:
    """A model that is measured. name: "base", "sft", "dpo", a quant, or the reference's name; writer: what answers for it;
    weights: the 16-bit base and adapter on this machine, for likelihoods in this process; None for quants and the
    reference."""

    name: str
    writer: Writer
    weights: Weights | None = None


@dataclass(frozen=True)
class Question:
    """id: "FAMILY/WHAT/NUMBER" or the like, unique, the same in every column; column: the only one that is asked this, where
    the request holds what that one has answered before."""

    id: str
    request: Request
    column: str | None = None


@dataclass
class Bench:
    """held_out: the rows of sft_test.jsonl that are answered, {"prompt": messages, "completion": [message]}; pairs: those of
    pairs_test.jsonl, {"prompt", "chosen", "rejected"}; answers: column -> question id -> answer, None where the model's
    server refused; work: RUN/evaluation, which stays on this machine; about: what a family says of itself in the report
    besides its rows, such as "suite" and "judge".

    While families measure, `run.ranks` is the main process alone: what they ask a model in this process, it answers.
    """

    run: Run
    columns: Sequence[Column]
    held_out: Sequence[Mapping[str, Any]]
    pairs: Sequence[Mapping[str, Any]]
    work: Path
    say: Callable[[str], object]
    answers: dict[str, dict[str, Answer | None]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def knobs(self) -> Evaluate:
        return self.run.recipe.evaluate

    def sampling(self, max_tokens: int | None = None) -> Sampling:
        """Of the model's own answers."""
        return Sampling(self.knobs.temperature, max_tokens or self.knobs.max_tokens, self.run.recipe.seed)

    def messages(self, turns: Sequence[Mapping[str, str]], system: str | None = None) -> list[dict[str, str]]:
        """A conversation as the release is used: with `system`, or the recipe's own system prompt, where it has it."""
        said = [Turn(turn["role"], turn["content"]) for turn in turns]
        return messages(with_system(said, self.system(system), self._place))

    def system(self, own: str | None = None) -> str | None:
        """`own`, or the recipe's system prompt as prepare puts it before the rows."""
        data = self.run.recipe.data
        return own or (data.system and CrisisLines(data.crisis_lines).text(data.system))

    @cached_property
    def renderer(self) -> Renderer:
        """The training tokenizer."""
        return Renderer(models.base_folder(self.run.recipe.base, self.run.pins))

    def texts(self, column: str, prefix: str) -> dict[str, str]:
        """Question id -> answer's text, of the questions whose id begins with `prefix` and that have an answer.

        Without the model's reasoning; empty where that never ends.
        """
        found = self.answers.get(column, {})
        return {
            id: chat_templates.without_reasoning(answer.text) or ""
            for id, answer in found.items()
            if answer is not None and id.startswith(prefix)
        }

    @cached_property
    def suite(self) -> Suite | None:
        """Of the recipe; None where it has none."""
        return suites.load(self.knobs.suite, self.knobs.suite_prompts) if self.knobs.suite else None

    @cached_property
    def _place(self) -> Place:
        """Where a system prompt stands; in the first user turn for templates that take no system turn."""
        base = models.base_folder(self.run.recipe.base, self.run.pins)
        takes_one = families.of(families.type_of(base)).system_turn
        return self.run.recipe.data.system_in if takes_one else "user"


def conversation(prompt: Messages) -> str:
    """What rows from one conversation have in common: how it begins. They are resampled together."""
    opening = next(turn for turn in prompt if turn["role"] == "user")
    return rundir.fingerprint(opening["content"])[:16]


class Family(Protocol):
    """A module of this package that takes some of the measures."""

    def asks(self, bench: Bench) -> Sequence[Question]:
        """What each column is to be asked. Called again once these are answered: what is new then is asked too.

        Every rank calls it, and must be given the same: of a column that a server answers for, other ranks than the main
        process see no answers.
        """
        ...

    def measure(self, bench: Bench) -> Iterator[Measured | Skipped]:
        """The measures of all columns, from `bench.answers`; models that it needs besides, it loads and lets go. The main
        process calls it."""
        ...
