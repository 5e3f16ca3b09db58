"""Base, SFT, DPO and each quant side by side: the same questions to each, and every measure with n and an interval."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from localpsych_recipes import llama_cpp, machine, metrics, rundir, suites
from localpsych_recipes.data import storage
from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation import (
    Measured,
    Skipped,
    answers,
    benchmarks,
    emotions,
    harness,
    judging,
    labels,
    likelihood,
    measuring_models,
    refusals,
    row,
    similarity,
    suite,
    table,
    toxicity,
)  # fmt: skip
from localpsych_recipes.evaluation.bench import Bench, Column, Family, Question
from localpsych_recipes.evaluation.columns import columns
from localpsych_recipes.generation import spent, writers
from localpsych_recipes.generation.answering import asking, saying
from localpsych_recipes.pipeline import Run
from localpsych_recipes.progress import duration
from localpsych_recipes.recipe import Recipe, is_local

FAMILIES: tuple[Family, ...] = (
    likelihood, answers, suite, similarity, refusals, toxicity, emotions, labels, judging, harness,
)  # fmt: skip
ITEMS, TABLE, WORK, LEDGER = "items.jsonl", "report.txt", "work", "answers-{}"  # in RUN/evaluation


def run(run: Run) -> dict[str, Any] | None:
    """Results: one row for each measure of each column, and what was left out; None on every rank but the main process.

    Every rank calls it. Models in this process answer on every rank; servers, and all measuring, are the main process's.
    """
    bench = begin(run)
    for column in bench.columns:
        if run.ranks.main or column.writer.every_rank:
            answer(bench, column)
    if not run.ranks.main:
        return None
    bench.run = replace(run, ranks=machine.Ranks())  # the others have left
    found = [one for family in FAMILIES for one in family.measure(bench)]
    return end(bench, found)


def check(recipe: Recipe) -> None:
    """For the preflight: UserError for what would stop the stage after hours of other work."""
    knobs = recipe.evaluate
    writers.check("evaluate", knobs)
    if recipe.gguf and "quants" in knobs.columns:
        llama_cpp.check_available()
    if knobs.reference:
        writers.check("evaluate.reference", knobs.reference)
    suites.check(knobs)
    judging.check(recipe)
    if knobs.bert_score:
        similarity.check(knobs.bert_score)
    if knobs.toxicity:
        toxicity.check(knobs.toxicity)
    if knobs.lm_eval:
        harness.check(knobs.lm_eval)


def left_out(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """For the preflight: the key of `evaluate`, and why, for each file or model of this machine that is not there, so that
    what needs it will be skipped."""
    knobs = recipe.evaluate
    sets = [(key, getattr(knobs, key)) for key in ("xstest", "simple_safety_tests", "emotions")]
    sets += [(f"questions.{number}", found) for number, found in enumerate(knobs.questions)]
    sets += [
        (f"toxicity.prompts.{number}", found) for number, found in enumerate(getattr(knobs.toxicity, "prompts", ()))
    ]
    for key, found in sets:
        if found and is_local(found.source) and (why := benchmarks.read(found, recipe.seed).missing):
            yield key, why
    models = {"bert_score": getattr(knobs.bert_score, "model", None)}
    models |= {"toxicity": getattr(knobs.toxicity, "classifier", None)}
    for key, model in models.items():
        try:
            if model and is_local(model):
                measuring_models.find(model, None)
        except UserError as error:
            yield key, benchmarks.reason(error)


def begin(run: Run) -> Bench:
    """What is measured, before anything is asked."""
    work, knobs = run.dir.evaluation, run.recipe.evaluate
    held_out = spread(list(storage.rows(run.rows_of("sft"), "sft", "test")), knobs.rows)
    pairs = list(storage.rows(run.rows_of("pairs"), "pairs", "test"))
    return Bench(run, columns(run, work / WORK), held_out, pairs, work, saying(run))


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """`count` of the rows at equal distances: those of a mixture stand source by source, a conversation's one by one."""
    return [rows[n * len(rows) // count] for n in range(count)] if count < len(rows) else list(rows)


def answer(bench: Bench, column: Column) -> None:
    """Asks one column all that any family wants to know, until none has a new question."""
    ledger = LEDGER.format(column.name)
    ask = asking(bench.run, column.writer, bench.work, ledger, f"{column.name} answered", "questions")
    found = bench.answers.setdefault(column.name, {})
    while new := questions(bench, column):
        bench.say(f"      {column.name}: {len(new):,} questions, by {column.writer.name}")
        found |= zip((question.id for question in new), ask([question.request for question in new]), strict=True)
    bench.say(f"      {column.name}: answered in {duration(seconds(bench, column))}")


def questions(bench: Bench, column: Column) -> list[Question]:
    """Those that the column has not been asked yet."""
    wanted = (question for family in FAMILIES for question in family.asks(bench))
    asked = bench.answers[column.name]
    return [q for q in wanted if q.column in (None, column.name) and q.id not in asked]


def end(bench: Bench, found: Sequence[Measured | Skipped]) -> dict[str, Any]:
    """Rows, skipped measures and settings; the same as a table, and every item's value, beside the ledgers."""
    measured = in_order([one for one in found if isinstance(one, Measured)], [c.name for c in bench.columns])
    left = [one for one in (*found, *refused(bench)) if isinstance(one, Skipped)]
    skipped = [{"what": one.what, "why": one.why, "column": one.column} for one in left]
    write_items(bench, measured)
    results = {
        "columns": [column.name for column in bench.columns],
        "rows": rows(bench, measured),
        "skipped": skipped,
        "suite": bench.about.get("suite"),
        "judge": bench.about.get("judge"),
        "settings": settings(bench),
        "seconds": {column.name: round(seconds(bench, column), 2) for column in bench.columns},
    }
    rundir.write_text(bench.work / TABLE, table.text(results))
    shutil.rmtree(bench.work / WORK, ignore_errors=True)
    bench.say(f"      {len(results['rows']):,} measures of {len(bench.columns)} models, in evaluation/{TABLE}")
    return results


def refused(bench: Bench) -> Iterator[Skipped]:
    """What each column was asked and its server has not answered: the suite takes that for an empty answer, and every
    other measure has as many items fewer."""
    for column in bench.columns:
        found = bench.answers.get(column.name, {})
        if count := list(found.values()).count(None):
            yield Skipped("answers", f"{count:,} of {len(found):,} questions were refused by its server", column.name)


def in_order(measured: Iterable[Measured], names: Sequence[str]) -> list[Measured]:
    """As METRICS has them, each column by column; behind them what is not in METRICS, as it came."""
    place = {name: number for number, name in enumerate(metrics.METRICS)}
    others = dict.fromkeys(one.metric for one in measured if one.metric not in place)
    place |= {name: len(place) + number for number, name in enumerate(others)}
    return sorted(measured, key=lambda one: (place[one.metric], names.index(one.column)))


def rows(bench: Bench, measured: Iterable[Measured]) -> list[dict[str, Any]]:
    """Each measure as a row; of all columns but the base with the difference to it."""
    base = {one.metric: one for one in measured if one.column == "base"}
    seed, resamples = bench.run.recipe.seed, bench.knobs.resamples
    return [row(one, base.get(one.metric) if one.column != "base" else None, seed, resamples) for one in measured]


def write_items(bench: Bench, measured: Iterable[Measured]) -> None:
    """Every item's value, for whoever wants to look closer: numbers and ids, no text."""
    items = (
        {"metric": one.metric, "column": one.column, "id": id, "value": value, "weight": weight}
        for one in measured
        for id, (value, weight) in one.items.items()
    )
    rundir.write_text(bench.work / ITEMS, "".join(json.dumps(item) + "\n" for item in items))


def settings(bench: Bench) -> dict[str, Any]:
    """What all answers and intervals have in common."""
    same = {name: getattr(bench.knobs, name) for name in ("temperature", "max_tokens", "resamples")}
    return {**same, "seed": bench.run.recipe.seed, "system": bench.run.recipe.data.system is not None}


def seconds(bench: Bench, column: Column) -> float:
    """That the column's answers took, in all runs of the stage."""
    return spent(bench.work, LEDGER.format(column.name), column.writer.identity)["seconds"]
