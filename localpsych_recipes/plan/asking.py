"""How many answers and verdicts a recipe asks for, of which models, in lines."""

from __future__ import annotations

from collections.abc import Iterator

from localpsych_recipes import suites
from localpsych_recipes.judge.choosing import AUTO
from localpsych_recipes.pipeline import Run
from localpsych_recipes.plan import rows
from localpsych_recipes.plan.rows import Unknown
from localpsych_recipes.recipe import STARTED, Judge, Recipe


def has_judge(recipe: Recipe) -> bool:
    return bool(recipe.pairs or (recipe.evaluate and recipe.evaluate.judge))


def evaluation(recipe: Recipe) -> Iterator[str]:
    """What each model is asked, at most: fewer rows may be held out; benchmarks' prompts are known when they are read."""
    knobs = recipe.evaluate
    trained = [stage for stage in ("sft", "dpo") if getattr(recipe, stage)]
    quants = recipe.gguf.quants if recipe.gguf else ()
    named = {"base": ["base"], "quants": quants} | {stage: [stage] for stage in trained}
    columns = [name for column in knobs.columns for name in named.get(column, ())]
    columns += [knobs.reference.name] if knobs.reference else []
    prompts = len(suites.load(knobs.suite, knobs.suite_prompts).prompts) if knobs.suite else 0
    each = f"up to {knobs.rows:,} held-out conversations" + (f" and {prompts:,} prompts of a suite" if prompts else "")
    yield f"each of {', '.join(columns)}: {each}, answers of up to {knobs.max_tokens} tokens"
    benchmarks = {"xstest": knobs.xstest, "simple_safety_tests": knobs.simple_safety_tests, "emotions": knobs.emotions}
    asked = [name for name, found in benchmarks.items() if found]
    asked += ["toxicity.prompts"] if knobs.toxicity and knobs.toxicity.prompts else []
    asked += ["questions"] if knobs.questions else []
    if asked:
        yield f"and the prompts of {', '.join(asked)}"
    if knobs.judge:
        yield f"verdicts on up to {knobs.judged_prompts:,} prompts by {_judge(recipe.judge)}"
    if knobs.lm_eval:
        yield f"lm-evaluation-harness: {', '.join(knobs.lm_eval)}"


def pairs(run: Run, counts: dict[str, int] | Unknown) -> Iterator[str]:
    """What is asked of the model and of its judge, at most: what is removed before the judge is not known here."""
    knobs, judge, prompts = run.recipe.pairs, run.recipe.judge, rows.prompts(run, counts)
    written = f"{knobs.candidates} answers of up to {knobs.max_tokens} tokens by {knobs.server or 'transformers'}"
    each = 1 + knobs.candidates if knobs.mode == "pointwise" else 2 * knobs.candidates
    asked = f"{each} verdicts of up to {judge.max_tokens} tokens by {_judge(judge)}"
    if isinstance(prompts, Unknown):
        yield f"for each prompt {written}"
        yield f"for each prompt {asked}, at most"
    else:
        yield f"for each of {prompts:,} prompts {written}: {prompts * knobs.candidates:,}"
        yield f"for each of them {asked}: {prompts * each:,} at most"


def _judge(asked: Judge) -> str:
    auto = asked.model == "auto"
    if asked.server not in (None, *STARTED):
        return f"{'the model' if auto else asked.model} at {asked.server}"
    model = " or ".join(name for name, _ in AUTO) if auto else asked.model
    return f"{model} in {asked.server or 'transformers'}"
