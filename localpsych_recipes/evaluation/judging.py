"""The judge in the evaluation: all that it is asked is asked at once, so that it is loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from localpsych_recipes import judge, rundir
from localpsych_recipes.evaluation import compared, judged, questions, verdicts
from localpsych_recipes.evaluation.bench import Bench, Question
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.evaluation.verdicts import Inquiry
from localpsych_recipes.generation.answering import asking, shown
from localpsych_recipes.judge import Judgement, calibration, of_run
from localpsych_recipes.recipe import Recipe

CHOICE, LEDGER, WORK = "judge.json", "verdicts", "work"  # in RUN/evaluation
INQUIRIES = (judged.scores, judged.harm, compared.wins, questions.scores)


def check(recipe: Recipe) -> None:
    """For the preflight: UserError unless the judge can be asked, and is one that the recipe allows."""
    if recipe.evaluate and recipe.evaluate.judge:
        of_run.check(recipe)


def asks(bench: Bench) -> Sequence[Question]:
    """The turns of the question files. What else is judged, other families ask."""
    return questions.asks(bench) if bench.knobs.judge else ()


def measure(bench: Bench) -> Iterator[Measured | Skipped]:
    """Scores, harm, wins and question files; bench.about["judge"] says who judged, by which rubrics, and how well it
    does on items whose answer is plain. UserError where the judge cannot be asked.
    """
    if not bench.knobs.judge:
        yield Skipped("judge", "evaluate.judge is not set")
        return
    yield from questions.missing(bench)
    inquiries, trials = [make(bench) for make in INQUIRIES], calibration.parts(compared.rubric(bench), judged.HARM)
    found = _asked(bench, [*trials, *(([*_cases(inquiry)], inquiry.rubric) for inquiry in inquiries)])
    bench.about["judge"]["calibration"] = worth = calibration.result(found[: len(trials)])
    for warning in worth["warnings"]:
        bench.say(f"      warning: {warning}")
    for inquiry, judgement in zip(inquiries, found[len(trials) :], strict=True):
        yield from _read(inquiry, judgement)


def _asked(bench: Bench, parts: Sequence[judge.Part]) -> list[Judgement]:
    run = bench.run
    # where the recipe has pairs, their judge judges here too
    choice = of_run.choose(run, (run.dir.pairs if run.recipe.pairs else bench.work) / CHOICE)
    writer = of_run.writer(run, choice, bench.work / WORK)
    with judge.about_the_judge():
        found = judge.ask_all(parts, of_run.sampling(run), asking(run, writer, bench.work, LEDGER, "read"))
    bench.say(f"      judged by {shown(choice.model)} ({writer.name})")
    bench.about["judge"] = {
        **of_run.described(run, choice, writer),
        "rubric": rundir.fingerprint(*dict.fromkeys(rubric.sha256 for _, rubric in parts)),
        "retried": sum(judgement.retried for judgement in found),
        "unparsed": sum(judgement.unparsed for judgement in found),
    }
    return found


def _cases(inquiry: Inquiry) -> Iterator[judge.Case]:
    return (case for cases in inquiry.cases.values() for case in cases.values())


def _read(inquiry: Inquiry, judgement: Judgement) -> Iterator[Measured]:
    """Verdicts, which are in the order of `_cases`, back under their columns and ids."""
    of_all = iter(judgement.judged)
    for columns, cases in inquiry.cases.items():
        found = dict(zip(cases, islice(of_all, len(cases)), strict=True))
        for measured in inquiry.read(columns, verdicts.readable(found)):
            yield replace(measured, how="; ".join(filter(None, (measured.how, verdicts.lost(found.values())))))
