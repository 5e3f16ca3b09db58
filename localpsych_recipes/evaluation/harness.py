"""Tasks of lm-evaluation-harness, an optional extra: what the models could do before, and whether they still can."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes import families, machine, models
from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation.bench import Bench, Question
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.recipe.evaluate import YAML, task_name

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

EXTRA = "not installed; pip install localpsych-recipes[lm-eval]"
ELSEWHERE = "the harness is given weights in this process; quants are compared with them by `verify`"
SEED = 1234  # the harness's own, of the examples before a question: with another one no number compares with others'

Items = dict[str, tuple[float, float]]


def asks(bench: Bench) -> Sequence[Question]:
    """Nothing: the harness asks by itself."""
    return ()


def measure(bench: Bench) -> Iterator[Measured | Skipped]:
    """Measures "lm_eval:TASK:MEASURE" of base, SFT and DPO, each loaded once for all tasks; a document is an item."""
    if not bench.knobs.lm_eval or not importlib.util.find_spec("lm_eval"):
        yield Skipped("lm_eval", EXTRA if bench.knobs.lm_eval else "evaluate.lm_eval is not set")
        return
    yield from (Skipped("lm_eval", ELSEWHERE, column.name) for column in bench.columns if not column.weights)
    tasks, missing = _tasks(bench.knobs.lm_eval)
    yield from missing
    for column in bench.columns if tasks else ():
        if column.weights:
            with _loaded(column.weights, bench.knobs.batch_size) as model:
                for name, loaded in tasks.items():
                    bench.say(f"      {column.name}: {name} of lm-evaluation-harness")
                    yield from _taken(name, column.name, model, loaded, bench.knobs.lm_eval_limit)


def check(names: Sequence[str]) -> None:
    """For the preflight: UserError for a task that the harness does not know. Nothing where it is not installed: its tasks
    are left out then, and named."""
    if not importlib.util.find_spec("lm_eval"):
        return
    for name in names:
        known = () if name.endswith(YAML) else _manager(True).all_tasks
        if not Path(name).is_file() and name not in known:
            close = difflib.get_close_matches(name, known, 3)
            do = f"did you mean {' or '.join(close)}?" if close else "`lm_eval ls tasks` shows them"
            expected = "a task of lm-evaluation-harness, or a file in its form that ends in .yaml"
            raise UserError(f"evaluate.lm_eval: no task {name!r}", expected, do)


def _taken(
    name: str, column: str, model: LM, loaded: Mapping[str, Any], limit: int | None
) -> Iterator[Measured | Skipped]:
    try:
        results = _evaluated(model, loaded, limit)
    except Exception as error:  # noqa: BLE001  a task brings code of its own, and what the error says may be a document
        yield Skipped(f"lm_eval:{name}", f"lm-evaluation-harness fails on it ({type(error).__name__})", column)
    else:
        yield from read(name, column, results)


def read(name: str, column: str, results: Mapping[str, Any]) -> Iterator[Measured | Skipped]:
    """The harness's results of one task, or of a group of them whose documents are taken together.

    A measure is taken where its value is the mean of its documents' scores, and higher is better: others (F1 over a
    corpus, perplexity) have no value of one document that an interval or a paired difference could rest on.
    """
    leaves = list(results["samples"])
    for measure, filter in _measures(results):
        said = measure if filter == "none" else f"{measure},{filter}"
        items = {id: item for leaf in leaves for id, item in _items(results, leaf, measure, filter).items()}
        if all(_is_mean(results, leaf, measure, filter) for leaf in leaves) and items:
            yield Measured(f"lm_eval:{name}:{said}", column, items, how=_how(results, leaves))
        else:
            yield Skipped(f"lm_eval:{name}:{said}", "no mean of scores of single documents, or lower is better", column)


def _measures(results: Mapping[str, Any]) -> dict[tuple[str, str], None]:
    """(measure, filter of the answers) of all tasks in order."""
    rows = (sample for samples in results["samples"].values() for sample in samples)
    return {(measure, row["filter"]): None for row in rows for measure in row["metrics"]}


def _items(results: Mapping[str, Any], leaf: str, measure: str, filter: str) -> Items:
    rows = [row for row in results["samples"][leaf] if row["filter"] == filter and measure in row]
    scored = {f"{leaf}/{row['doc_id']}": row[measure] for row in rows}
    return {id: (float(score), 1.0) for id, score in scored.items() if _is_number(score)}


def _is_mean(results: Mapping[str, Any], leaf: str, measure: str, filter: str) -> bool:
    value, scores = results["results"][leaf].get(f"{measure},{filter}"), _items(results, leaf, measure, filter).values()
    if not _is_number(value) or not scores or results["higher_is_better"][leaf].get(measure) is False:
        return False
    return math.isclose(value, math.fsum(score for score, _ in scores) / len(scores), rel_tol=1e-6, abs_tol=1e-9)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _how(results: Mapping[str, Any], leaves: Sequence[str]) -> str:
    shots = sorted({results["n-shot"][leaf] for leaf in leaves})
    versions = sorted({str(results["versions"][leaf]) for leaf in leaves})
    of = f"{len(leaves)} tasks, each document counting the same" if leaves[1:] else f"version {versions[0]}"
    examples = f"{shots[0]} examples" if not shots[1:] else f"{shots[0]} to {shots[-1]} examples"
    return f"lm-evaluation-harness {machine.versions(['lm-eval'])['lm-eval']}, {of}, {examples}, with the chat template and no system prompt"


def _tasks(names: Sequence[str]) -> tuple[dict[str, Mapping[str, Any]], list[Skipped]]:
    """Name -> what the harness has loaded for it, and those that it could not load. A name may be a YAML file's path."""
    files = {name for name in names if name.endswith(YAML)}
    manager, loaded, missing = _manager(files < set(names)), {}, []
    for name in names:
        try:
            found = manager.load([name])
        except KeyError:
            missing.append(Skipped(f"lm_eval:{task_name(name)}", "lm-evaluation-harness knows no such task"))
        except Exception as error:  # noqa: BLE001  whatever fetching a dataset, or a task's own code, can raise
            why = f"its dataset or definition cannot be had ({type(error).__name__})"
            missing.append(Skipped(f"lm_eval:{task_name(name)}", why))
        else:
            for task in found["tasks"].values():  # as `lm_eval run` does for what a task leaves open
                if task.get_config("num_fewshot") is None:
                    task.set_config("num_fewshot", 0)
            loaded[task_name(name)] = found
    return loaded, missing


@cache
def _manager(by_name: bool) -> TaskManager:
    """Looking through the 14,000 tasks that come with the harness takes it seconds; files do without."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=by_name)


def _evaluated(model: LM, loaded: Mapping[str, Any], limit: int | None) -> Mapping[str, Any]:
    from lm_eval.evaluator import evaluate

    for task in loaded["tasks"].values():
        task.set_fewshot_seed(SEED)  # again for each model: the examples are drawn from a generator
    return evaluate(
        lm=model,
        task_dict=loaded,
        limit=limit,
        bootstrap_iters=0,  # intervals are made of the items
        log_samples=True,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
    )


@contextmanager
def _loaded(weights: Weights, batch_size: int) -> Iterator[LM]:
    """The harness's wrapper of a model in this process; the model goes with the block."""
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    base = models.load_base(weights.base, weights.folder)
    base.config.use_cache = True
    model = (models.load_adapter(base, weights.adapter) if weights.adapter else base).eval()
    tokenizer = models.load_tokenizer(weights.folder)
    arguments = dict(families.of(families.type_of(weights.folder)).chat_template_kwargs)
    wrapped = HFLM(model, backend="causal", tokenizer=tokenizer, batch_size=batch_size, chat_template_args=arguments)
    try:
        yield wrapped
    finally:
        wrapped._model = model = base = None
        models.forget()
