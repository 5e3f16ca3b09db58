"""The same numbers for machines: results.json beside the card, and the Hub's `model-index` in its front matter.

`.eval_results/` is not written: the Hub takes it only for data sets that are registered there as benchmarks
(https://huggingface.co/docs/hub/eval-results), and neither a prompt suite of one's own nor the rules used here are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes import __version__, metrics
from localpsych_recipes.cards import comparison, reports
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe, is_local

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

RESULTS = "results.json"
TASK = "text-generation"
# measures of public benchmarks: the key of `evaluate` that names the data, and the benchmark's name
BENCHMARKS = {
    "xstest_over_refusal": ("xstest", "XSTest"),
    "xstest_unsafe_answered": ("xstest", "XSTest"),
    "must_refuse_answered": ("simple_safety_tests", "SimpleSafetyTests"),
    "emotion_similarity": ("emotions", "StudEmo"),
    "emotion_schema": ("emotions", "StudEmo"),
}
EVALUATION = ("columns", "rows", "skipped", "suite", "judge", "settings")  # all but times


def results(run: Run) -> dict[str, Any]:
    """Every number behind the card: what was measured, what was proven, which gates held. No text of any row."""
    evaluation = reports.evaluation(run)
    return {
        "name": run.recipe.name,
        "version": run.recipe.version,
        "made_by": f"localpsych-recipes {__version__}",
        "evaluation": {key: evaluation[key] for key in EVALUATION} if evaluation else None,
        "verification": reports.verification(run) or None,
        "gates": reports.checked_gates(run),
    }


def model_index(run: Run, kind: str) -> dict[str, Any]:
    """`model_name` and `eval_results` for the front matter of one card; empty where there is nothing to say.

    Of the adapter and the merged model they are those of the last stage, of the GGUF files those of the one that the
    card's commands fetch.
    """
    column = default_quant(run) if kind == "gguf" else comparison.final(run)
    found = list(_eval_results(run.recipe, reports.evaluation(run), column)) if column else []
    name = f"{run.recipe.name}-{column}" if kind == "gguf" else run.recipe.name
    return {"model_name": name, "eval_results": found} if found else {}


def default_quant(run: Run) -> str | None:
    """The published quant that commands name: the Hub's own default where it is there, None without one."""
    quants = (
        [quant for quant in run.recipe.gguf.quants if quant not in reports.withheld_quants(run)]
        if run.recipe.gguf
        else []
    )
    return "Q4_K_M" if "Q4_K_M" in quants else next(iter(quants), None)


def _eval_results(recipe: Recipe, evaluation: Mapping[str, Any], column: str) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    for row in evaluation.get("rows", ()):
        data = _dataset(recipe, evaluation, row["metric"])
        if row["column"] == column and row["value"] is not None and data:
            words = metrics.of(row["metric"]).words
            yield EvalResult(TASK, **data, metric_type=row["metric"], metric_name=words, metric_value=row["value"])


def _dataset(recipe: Recipe, evaluation: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
    """What the measure was taken on, if that is the suite or a public benchmark."""
    suite = evaluation["suite"]
    if suite and metrics.of(metric).group == metrics.SUITE:
        name = Path(suite["name"]).stem
        return {
            "dataset_name": f"prompt suite {name}",
            "dataset_type": name,
            "dataset_args": {"sha256": suite["sha256"], "prompts": suite["prompts"]},  # a recipe may take fewer
        }
    if metric in BENCHMARKS:
        key, name = BENCHMARKS[metric]
        source = getattr(recipe.evaluate, key).source
        return {"dataset_name": name, "dataset_type": name.lower() if is_local(source) or "://" in source else source}
    if metric.startswith("lm_eval:"):
        task = metric.split(":")[1]
        return {"dataset_name": task, "dataset_type": task}
    return None
