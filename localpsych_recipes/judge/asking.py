"""Verdicts on many answers: each question asked once, and once more where its verdict cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from localpsych_recipes.generation import Answer, Messages, Request, Sampling
from localpsych_recipes.judge.rubric import Rubric
from localpsych_recipes.judge.verdicts import Verdict, parse

AGAIN = 0.3  # temperature of the second time at least: at 0 a judge would say the same once more
Failure = Literal["unjudged", "unparsed"]
Write = Callable[[Sequence[Request]], Sequence[Answer | None]]


@dataclass(frozen=True)
class Case:
    """Answers to the last turn of a conversation: any number judged pointwise, two judged pairwise."""

    conversation: Messages
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """Verdicts on a case's answers, in their order; where `failure` says why, none.

    unjudged: refused by the judge's server; unparsed: unreadable twice. disagree: pairwise, the two orders differ in
    which answer is better.
    """

    verdicts: tuple[Verdict, ...] = ()
    failure: Failure | None = None
    disagree: bool = False


@dataclass(frozen=True)
class Judgement:
    """Of all cases; retried: questions that were asked a second time, unparsed: those that stayed unreadable."""

    judged: list[Judged]
    retried: int
    unparsed: int


def ask(cases: Sequence[Case], rubric: Rubric, sampling: Sampling, write: Write) -> Judgement:
    """Asks about all cases; equal questions are one, however many cases share them.

    sampling: of the first time, max_tokens for the verdict on one answer; the second time has another seed, and
    temperature AGAIN at least. write: gives the judge's answer to each request, None for one that was refused; it keeps
    them (generation.write_all), and is called once more only where something is to be asked again.
    """
    if rubric.mode == "pairwise":
        sampling = replace(sampling, max_tokens=2 * sampling.max_tokens)
    questions = [rubric.questions(case.conversation, case.answers) for case in cases]
    found = _asked(dict.fromkeys(text for texts in questions for text in texts), rubric, sampling, write)
    again = [text for text, verdicts in found.items() if verdicts == "unparsed"]
    if again:
        hotter = replace(sampling, seed=sampling.seed + 1, temperature=max(sampling.temperature, AGAIN))
        found |= _asked(again, rubric, hotter, write)
    judged = [_joined([found[text] for text in texts], rubric) for texts in questions]
    return Judgement(judged, len(again), sum(found[text] == "unparsed" for text in again))


def _asked(
    texts: Sequence[str] | Mapping[str, None], rubric: Rubric, sampling: Sampling, write: Write
) -> dict[str, tuple[Verdict, ...] | Failure]:
    schema = rubric.schema()
    answers = write([Request([{"role": "user", "content": text}], sampling, schema) for text in texts])
    return {text: _read(answer, rubric) for text, answer in zip(texts, answers, strict=True)}


def _read(answer: Answer | None, rubric: Rubric) -> tuple[Verdict, ...] | Failure:
    return (parse(answer.text, rubric) or "unparsed") if answer else "unjudged"


def _joined(found: Sequence[tuple[Verdict, ...] | Failure], rubric: Rubric) -> Judged:
    for failure in ("unjudged", "unparsed"):
        if failure in found:
            return Judged(failure=failure)
    if rubric.mode == "pointwise":
        return Judged(tuple(verdict for (verdict,) in found))
    (one, other), (other_first, one_second) = found
    both = Verdict.between([one, one_second]), Verdict.between([other, other_first])
    signs = {_sign(one.total - other.total), _sign(one_second.total - other_first.total)}
    return Judged(both, disagree=len(signs) > 1)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
