"""Verdicts on many answers: each question asked once, and once more where its verdict cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from localpsych_recipes.generation import Answer, Messages, Request, Sampling
from localpsych_recipes.judge.rubric import Rubric
from localpsych_recipes.judge.verdicts import Verdict, parse

AGAIN = 0.3  # temperature of the second time at least: at 0 a judge would say the same once more
Failure = Literal["unjudged", "unparsed"]
Write = Callable[[Sequence[Request]], Sequence[Answer | None]]
Text = tuple[int, str]  # the number of its part, and what the judge is asked


@dataclass(frozen=True)
class Case:
    """Answers to the last turn of a conversation, two where they are judged pairwise; reference: a good one, if known."""

    conversation: Messages
    answers: tuple[str, ...]
    reference: str = ""


Part = tuple[Sequence[Case], Rubric]


@dataclass(frozen=True)
class Judged:
    """Verdicts on a case's answers, in their order; where `failure` says why, none.

    unjudged: refused by the judge's server; unparsed: unreadable twice. disagree: pairwise, the two orders differ in
    which answer is better; place: the points on a criterion that standing first brings, mean of both orders: 0 of a
    judge that looks at answers alone.
    """

    verdicts: tuple[Verdict, ...] = ()
    failure: Failure | None = None
    disagree: bool = False
    place: float = 0.0

    @property
    def lead(self) -> float:
        """Of the first of two answers, in points: what its scores sum up to, less the other's."""
        one, other = self.verdicts
        return one.total - other.total


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
    return ask_all([(cases, rubric)], sampling, write)[0]


def ask_all(parts: Sequence[Part], sampling: Sampling, write: Write) -> list[Judgement]:
    """`ask` about several sets of cases, each by its own rubric; a judge that is loaded for it is loaded once."""
    rubrics = [rubric for _, rubric in parts]
    texts = [[rubric.questions(c.conversation, c.answers, c.reference) for c in cases] for cases, rubric in parts]
    once = dict.fromkeys((n, text) for n, of_part in enumerate(texts) for of_case in of_part for text in of_case)
    found = _asked(once, rubrics, sampling, write)
    again = [text for text, verdicts in found.items() if verdicts == "unparsed"]
    if again:
        hotter = replace(sampling, seed=sampling.seed + 1, temperature=max(sampling.temperature, AGAIN))
        found |= _asked(again, rubrics, hotter, write)
    return [
        Judgement(
            [_joined([found[n, text] for text in of_case], rubrics[n]) for of_case in of_part],
            retried=sum(part == n for part, _ in again),
            unparsed=sum(found[part, text] == "unparsed" for part, text in again if part == n),
        )
        for n, of_part in enumerate(texts)
    ]


def _asked(
    texts: Iterable[Text], rubrics: Sequence[Rubric], sampling: Sampling, write: Write
) -> dict[Text, tuple[Verdict, ...] | Failure]:
    texts = list(texts)
    answers = write([_request(text, rubrics[part], sampling) for part, text in texts])
    return {text: _read(answer, rubrics[text[0]]) for text, answer in zip(texts, answers, strict=True)}


def _request(text: str, rubric: Rubric, sampling: Sampling) -> Request:
    if rubric.together:
        sampling = replace(sampling, max_tokens=2 * sampling.max_tokens)
    return Request([{"role": "user", "content": text}], sampling, rubric.schema())


def _read(answer: Answer | None, rubric: Rubric) -> tuple[Verdict, ...] | Failure:
    return (parse(answer.text, rubric) or "unparsed") if answer else "unjudged"


def _joined(found: Sequence[tuple[Verdict, ...] | Failure], rubric: Rubric) -> Judged:
    for failure in ("unjudged", "unparsed"):
        if failure in found:
            return Judged(failure=failure)
    if not rubric.together:
        return Judged(tuple(verdict for (verdict,) in found))
    (one, other), (other_first, one_second) = found
    both = Verdict.between([one, one_second]), Verdict.between([other, other_first])
    signs = {_sign(one.total - other.total), _sign(one_second.total - other_first.total)}
    place = (one.mean - other.mean + other_first.mean - one_second.mean) / 2
    return Judged(both, disagree=len(signs) > 1, place=place)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
