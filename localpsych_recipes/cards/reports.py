"""What the stages of a run reported, as far as a card may say it, and what of the release is published at all."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from localpsych_recipes import gates
from localpsych_recipes.cards import published
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.rundir import RELEASES

WHOLE = "*"  # in place of a file's name: everything of a kind


def results(run: Run, stage: str) -> dict[str, Any]:
    """What a stage of this recipe reported; an older report of a stage that it no longer has does not count."""
    report = run.report(stage) if getattr(run.recipe, stage, None) else None
    return report["results"] if report else {}


def kinds(recipe: Recipe) -> tuple[str, ...]:
    """The repositories that a recipe makes, in the order in which they are published."""
    makes = {"adapter": True, "merged": recipe.merge is not None, "gguf": recipe.gguf is not None}
    makes["pairs"] = recipe.pairs is not None and recipe.pairs.publish
    return tuple(kind for kind in RELEASES if makes[kind])


def released(run: Run) -> tuple[str, ...]:
    """Those of `kinds` that are not withheld, and of which there is a file left."""
    return tuple(kind for kind in kinds(run.recipe) if WHOLE not in withheld(run, kind) and _something_left(run, kind))


def _something_left(run: Run, kind: str) -> bool:
    made = [file["file"] for file in results(run, "gguf").get("files", []) if file["file"] in _names(run, kind)]
    return kind != "gguf" or not made or bool(set(made) - set(withheld(run, kind)))


def _names(run: Run, kind: str) -> set[str]:
    folder = run.dir.release(kind)
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def withheld(run: Run, kind: str) -> tuple[str, ...]:
    """Files of one repository that were not proven to be the model that was trained; WHOLE for all of it."""
    return tuple(results(run, "verify").get("withheld", {}).get(kind, ()))


def files(run: Run, kind: str) -> list[dict[str, Any]]:
    """The GGUF files of one repository that are published, as the gguf stage measured them."""
    found, without = results(run, "gguf").get("files", []), withheld(run, kind)
    present = _names(run, kind)
    return [file for file in found if file["file"] in present and not {file["file"], WHOLE} & set(without)]


def evaluation(run: Run) -> dict[str, Any]:
    """What the evaluate stage reported, without columns of withheld files and without places on this machine.

    A value that is no number is None, and named among what was not measured.
    """
    found, without = results(run, "evaluate"), withheld_quants(run)
    if not found:
        return {}
    rows = [row for row in found["rows"] if row["column"] not in without]
    skipped = [skip for skip in found["skipped"] if skip["column"] not in without] + _no_numbers(rows)
    columns = [column for column in found["columns"] if column not in without]
    suite = found["suite"] and found["suite"] | {"failures": _others(found["suite"]["failures"], without)}
    return published.without_places(
        _finite(found | {"rows": rows, "columns": columns, "skipped": skipped, "suite": suite})
    )


def _others(values: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in without}


def _no_numbers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"what": row["metric"], "why": "it came to no number", "column": row["column"]}
        for row in rows
        if row["value"] is None or not math.isfinite(row["value"])
    ]


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity, and neither says anything in a table."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def verification(run: Run) -> dict[str, Any]:
    """What the verify stage reported, without places on this machine and without hashes, which the Hub itself shows."""
    found = results(run, "verify")
    return published.without_places(_finite(_others(found, ("files",))))


def withheld_quants(run: Run) -> tuple[str, ...]:
    """Quants whose file is not published."""
    without = withheld(run, "gguf")
    made = {file["quant"]: file["file"] for file in results(run, "gguf").get("files", [])}
    quants = run.recipe.gguf.quants if run.recipe.gguf else ()
    return tuple(quant for quant in quants if WHOLE in without or made.get(quant) in without)


def checked_gates(run: Run) -> list[dict[str, Any]]:
    """The recipe's gates against what was measured, without places on this machine."""
    return published.without_places(gates.check(run.recipe, results(run, "evaluate") or None, withheld_quants(run)))


def stages(run: Run) -> list[dict[str, Any]]:
    """The reports of the stages that made and measured the release, in their order."""
    names = ("prepare", *(s for s in run.recipe.stage_sections() if s not in ("card", "push")))
    return [report for name in names if (report := run.report(name))]


def hardware(run: Run) -> str | None:
    """Names of processors and GPUs, those of training first."""
    reports = [run.report(stage) for stage in ("sft", "dpo", "prepare")]
    found = next((r["hardware"] for r in reports if r and r.get("hardware")), None)
    if not found:
        return None
    gpus = [f"{found['gpus'].count(gpu)} x {gpu}" for gpu in dict.fromkeys(found.get("gpus", []))]
    return ", ".join([*gpus, f"{found['cpu']} ({found['cores']} cores)"])


def versions(run: Run) -> dict[str, str]:
    """Packages of every stage, in the stages' order, and llama.cpp."""
    found: dict[str, str] = {}
    for report in stages(run):
        found |= {name: version for name, version in report.get("versions", {}).items() if version != "none"}
    return found | {k: v for k, v in {"llama.cpp": results(run, "gguf").get("llama_cpp")}.items() if v}
