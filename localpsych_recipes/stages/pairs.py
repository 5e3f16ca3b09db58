"""Preference pairs from the model itself: its own answers to the prompts of SFT, judged against the data's."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from localpsych_recipes import judge, machine
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Writer, spent, weights, writers
from localpsych_recipes.generation.answering import asking, saying, shown, takes_part, who_wrote
from localpsych_recipes.judge import Case, Judgement, Rubric, of_run
from localpsych_recipes.pairs import STATUSES, advice, candidates, filtering, report, storage
from localpsych_recipes.pairs.candidates import Candidate
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Pairs, Recipe

POLL_SECONDS = 0.5
SCALE = (1, 10)
JUDGE, WORK, CASES = "judge.json", "work", "cases.jsonl"  # in RUN/pairs
MADE = ("pairs_train.jsonl", "pairs_test.jsonl", "report.txt", "report.png")


def run(run: Run) -> dict[str, Any] | None:
    """Results: what was sampled, judged and kept, in numbers, and warnings; None on every rank but the main process.

    Every rank calls it. A model in this process answers on every rank. Servers, the choice of the judge, the filter and
    the report are the main process's.
    """
    if run.ranks.main:
        begin(run)
    machine.barrier(run.ranks)  # nobody may read what the main process has just chosen, or find what it has removed
    made = sampled(run) if takes_part(run, run.recipe.pairs) else None
    if not takes_part(run, run.recipe.judge):
        return None
    cases = handed_on(run, made)
    choice = judge.choose(run.recipe.judge, run.dir.pairs / JUDGE, run.ranks)
    writer, judgement = judged(run, choice, cases)
    return end(run, made, choice, writer, judgement) if run.ranks.main else None


def check(recipe: Recipe) -> None:
    """For the preflight: UserError unless both models can be asked, and the judge is one that the recipe allows."""
    writers.check("pairs", recipe.pairs)
    of_run.check(recipe)


def begin(run: Run) -> None:
    """Chooses the judge and takes away what an earlier run of the stage made, its ledgers apart."""
    folder = run.dir.pairs
    of_run.choose(run, folder / JUDGE)
    for name in (*MADE, CASES, "*.partial"):
        for file in folder.glob(name):
            file.unlink()
    shutil.rmtree(run.dir.cache / folder.name, ignore_errors=True)  # DPO's rows of before


def sampled(run: Run) -> tuple[list[Candidate], Writer]:
    """The model's answers, and which of them are of no use before anybody judges."""
    recipe = run.recipe
    planned = candidates.planned(storage.sft_rows(run.rows_of("sft")), recipe.pairs, recipe.seed)
    refuse_vain(run, planned)
    policy, work = weights.of_run(run, "sft"), run.dir.pairs / WORK
    writer = writers.writer("pairs", recipe.pairs, policy, work, saying(run), as_trained=True, ranks=run.ranks)
    ask = asking(run, writer, run.dir.pairs, "answers", "wrote")
    answers = ask([candidate.request for candidate in planned])
    saying(run)(
        f"      {len(answers) - answers.count(None):,} answers to {prompts(planned):,} prompts, by {writer.name}"
    )
    found = [candidates.answered(candidate, answer) for candidate, answer in zip(planned, answers, strict=True)]
    return filtering.before_the_judge(found, recipe.pairs.similarity), writer


def refuse_vain(run: Run, planned: Sequence[Candidate]) -> None:
    """UserError for what would stop the run when every answer is written: a rubric that fails, too few prompts."""
    pairs, prompts = run.recipe.pairs, {c.of: c for c in planned if c.split == "train"}
    asked = rubric(pairs)
    for candidate in prompts.values():
        asked.questions(candidate.prompt, (candidate.chosen, candidate.chosen))
    own, each = storage.own_pairs(run.dir.data)["train"], pairs.candidates if pairs.pick == "all" else 1
    if (most := own + each * len(prompts)) < pairs.min_pairs:
        raise UserError(
            f"pairs.min_pairs: {pairs.min_pairs:,}, and {len(prompts):,} training prompts give {most:,} pairs at most",
            "as many as are asked for, or more",
            "lower pairs.min_pairs, raise pairs.max_prompts where it is set, or take pairs.pick: all",
        )


def handed_on(run: Run, made: tuple[list[Candidate], Writer] | None) -> list[Case]:
    """What is to be judged. Ranks that do not know, since a server wrote the answers, wait for the main process."""
    file = run.dir.pairs / CASES
    if made is None:
        while not file.exists():
            time.sleep(POLL_SECONDS)
        return [Case(row["prompt"], tuple(row["answers"])) for row in storage.read(file)]
    cases = [Case(c.prompt, (c.chosen, c.rejected)) for c in made[0] if c.status is None]
    if run.ranks.main and run.ranks.world > 1:
        storage.write(({"prompt": case.conversation, "answers": case.answers} for case in cases), file)
    return cases


def judged(run: Run, choice: judge.Choice, cases: Sequence[Case]) -> tuple[Writer, Judgement]:
    """The judge's scores. By now the model that wrote the answers is out of memory."""
    writer = of_run.writer(run, choice, run.dir.pairs / WORK, needed=bool(cases))
    ask = asking(run, writer, run.dir.pairs, "verdicts", "read")
    with judge.about_the_judge():
        judgement = judge.ask(cases, rubric(run.recipe.pairs), of_run.sampling(run), ask)
    saying(run)(f"      judged by {shown(choice.model)} ({writer.name}), {run.recipe.pairs.mode}")
    return writer, judgement


def end(
    run: Run, made: tuple[list[Candidate], Writer], choice: judge.Choice, writer: Writer, judgement: Judgement
) -> dict[str, Any]:
    """Filters, writes and reports. UserError where too few pairs are left; pairs.jsonl and the report then show why."""
    folder, (found, policy) = run.dir.pairs, made
    rows = [storage.row(c) for c in filtering.after_the_judge(found, judgement.judged, run.recipe.pairs)]
    storage.write(rows, folder / storage.FILE)
    own = storage.own_pairs(run.dir.data)
    counts = {
        "prompts": {split: prompts(found, split) for split in own},
        "data_pairs": own,
        "retried": judgement.retried,
        "unparsed": judgement.unparsed,
        "order_disagreements": sum(case.disagree for case in judgement.judged),
    }
    speed = {name: spent(folder, name, by.identity) for name, by in (("answers", policy), ("verdicts", writer))}
    results = report.summary(rows, run.recipe, who_judged(run, choice, writer), who_wrote(policy), counts, speed)
    report.write(results, folder)
    refuse_few(rows, own["train"], run.recipe.pairs.min_pairs)
    storage.write_pairs(rows, folder, run.dir.data)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    (folder / CASES).unlink(missing_ok=True)
    say_so(run, results)
    return results


def refuse_few(rows: Sequence[dict[str, Any]], own: int, wanted: int) -> None:
    """UserError with what became of the candidates. own: pairs of the data itself to train on."""
    kept = sum(row["status"] == "kept" and row["split"] == "train" for row in rows)
    if kept + own >= wanted:
        return
    found = Counter(row["status"] for row in rows)
    said = [f"{found[s]:,} {s}" + (f" ({words})" if words != s else "") for s, words in STATUSES.items() if found[s]]
    lost = [(count, status) for status, count in found.items() if status in advice.TOO_FEW]
    most = max(lost)[1] if lost else ""
    raise UserError(
        f"{kept + own:,} pairs to train on; of {len(rows):,} candidates {', '.join(said) or 'none'}",
        f"{wanted:,} at least (pairs.min_pairs)",
        f"{advice.TOO_FEW[most].format(status=most)}; or lower pairs.min_pairs"
        if most
        else "take more prompts (pairs.max_prompts) or lower pairs.min_pairs",
    )


def rubric(pairs: Pairs) -> Rubric:
    return Rubric(pairs.criteria, pairs.vetoes, SCALE, pairs.mode, pairs.rubric, "pairs.rubric")


def prompts(found: Sequence[Candidate], split: str | None = None) -> int:
    return len({candidate.of for candidate in found if split in (None, candidate.split)})


def who_judged(run: Run, choice: judge.Choice, writer: Writer) -> dict[str, Any]:
    own = rubric(run.recipe.pairs).sha256
    return {**of_run.described(run, choice, writer), "mode": run.recipe.pairs.mode, "rubric": own}


def say_so(run: Run, results: dict[str, Any]) -> None:
    kept, made = results["retention"], results["pairs"]
    share = f" ({100 * kept['share']:.0f} %)" if kept["of"] else ""
    run.say(
        f"      pairs for {kept['kept']:,} of {kept['of']:,} prompts{share}: {made['train']:,} to train on, "
        f"{made['test']:,} held out"
    )
    for warning in results["warnings"]:
        run.say(f"      warning: {warning}")
