"""Question files in MT-Bench's or AlpacaEval's form: turns asked one after the other, each answer scored by the judge.

MT-Bench: Zheng et al. 2023, https://arxiv.org/abs/2306.05685, whose judge scores each turn by itself, from 1 to 10 too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from localpsych_recipes.evaluation import benchmarks, verdicts
from localpsych_recipes.evaluation.bench import Bench, Question
from localpsych_recipes.evaluation.benchmarks import Prompt, PromptSet
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.evaluation.verdicts import Columns, Found, Inquiry
from localpsych_recipes.generation import Request
from localpsych_recipes.judge import Case, Rubric

QUESTIONS = "questions/"
RUBRIC = Rubric(
    {"quality": "it answers what was asked, rightly and wholly, in the way that was asked for"}, {}, mode="task"
)
OWN = "to be compared with scores by the same judge and rubric alone, and not with published ones"


@dataclass(frozen=True)
class Turn:
    """What the person says for the `number`-th time, from 0; of: the question's id, which its turns share."""

    of: str
    prompt: Prompt
    number: int

    @property
    def id(self) -> str:
        return f"{self.of}/{self.number + 1}"

    @property
    def reference(self) -> str:
        return self.prompt.references[self.number] if self.number < len(self.prompt.references) else ""

    def conversation(self, texts: Mapping[str, str]) -> list[dict[str, str]] | None:
        """Up to this turn, with a column's own answers to those before; None where one of them has none."""
        before = [Turn(self.of, self.prompt, number) for number in range(self.number)]
        if any(turn.id not in texts for turn in before):
            return None
        answered = [(turn.said, {"role": "assistant", "content": texts[turn.id]}) for turn in before]
        return [message for both in answered for message in both] + [self.said]

    @property
    def said(self) -> dict[str, str]:
        return {"role": "user", "content": self.prompt.turns[self.number]}


def asks(bench: Bench) -> Sequence[Question]:
    """First turns of every column alike, and each column's later ones as soon as those before are answered."""
    found = []
    for turn in (turn for turn in _turns(bench) if turn.number == 0):
        found.append(Question(turn.id, _request(bench, turn.conversation({}))))
    for column in bench.columns:
        texts = bench.texts(column.name, QUESTIONS)
        for turn in (turn for turn in _turns(bench) if turn.number > 0):
            if said := turn.conversation(texts):
                found.append(Question(turn.id, _request(bench, said), column.name))
    return found


def missing(bench: Bench) -> Iterator[Skipped]:
    """The files that are not to be had."""
    for questions in _sets(bench):
        if questions.missing:
            yield Skipped("judge_questions", questions.missing)


def scores(bench: Bench) -> Inquiry:
    """Each answered turn, on a scale from 1 to 10, with the file's reference answer where it has one."""
    turns = _turns(bench)

    def cases(texts: Mapping[str, str]) -> dict[str, Case]:
        said = {turn: turn.conversation(texts) for turn in turns if turn.id in texts}
        return {
            turn.id: Case(bench.messages(messages), (verdicts.shown(texts[turn.id]),), turn.reference)
            for turn, messages in said.items()
            if messages
        }

    def read(columns: Columns, found: Found) -> Iterator[Measured]:
        items = {id: (judged.verdicts[0].scores["quality"], 1.0) for id, judged in found.items()}
        how = [questions.how for questions in _sets(bench) if not questions.missing]
        yield Measured("judge_questions", *columns, items, {turn.id: turn.of for turn in turns}, "; ".join([*how, OWN]))

    of_columns = {(column.name,): cases(bench.texts(column.name, QUESTIONS)) for column in bench.columns}
    return Inquiry(RUBRIC, of_columns if turns else {}, read)


def _request(bench: Bench, said: Sequence[Mapping[str, str]]) -> Request:
    return Request(bench.messages(said), bench.sampling())


def _sets(bench: Bench) -> list[PromptSet]:
    return [benchmarks.read(benchmark, bench.run.recipe.seed) for benchmark in bench.knobs.questions]


def _turns(bench: Bench) -> list[Turn]:
    return [
        Turn(f"{QUESTIONS}{number}/{prompt.id}", prompt, turn)
        for number, questions in enumerate(_sets(bench), 1)
        for prompt in questions.prompts
        for turn in range(len(prompt.turns))
    ]
