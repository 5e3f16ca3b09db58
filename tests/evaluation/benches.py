"""A bench whose columns have answered, without any model: for measures that look at answers alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localpsych_recipes.evaluation.bench import Bench, Column
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.generation import Answer
from localpsych_recipes.machine import Ranks
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.rundir import RunDir

Found = dict[tuple[str, str], Measured]


def recipe(base: Path, evaluate: Mapping[str, Any], **sections: Any) -> Recipe:
    values = {
        "name": "small",
        "base": {"model": str(base), "hub_id": "someone/tiny", "dtype": "float32", "quantization": "none"},
        "data": {"source": "rows.csv", "test_size": 0.2, "columns": {"prompt": "question", "response": "answer"}},
        "sft": {"report_to": "none"},
        "evaluate": evaluate,
    }
    return Recipe.model_validate({**values, **sections})


def bench(
    folder: Path,
    evaluate: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, str]] | None = None,
    held_out: Sequence[tuple[str, str]] = (),
    base: Path | None = None,
    **sections: Any,
) -> Bench:
    """answers: column -> question id -> text; held_out: questions and their reference answers."""
    if base is None:
        base = folder / "base"
        base.mkdir(exist_ok=True)
        (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    run = Run(recipe(base, evaluate, **sections), RunDir(folder / "run"), say=lambda text: None, ranks=Ranks())
    columns = [Column(name, None) for name in answers or ("base",)]
    given = {
        name: {id: Answer(text, cut=False) for id, text in texts.items()} for name, texts in (answers or {}).items()
    }
    return Bench(run, columns, [row(*pair) for pair in held_out], [], folder / "run", lambda text: None, given)


def row(question: str, answer: str) -> dict[str, Any]:
    """As prepare writes it."""
    said = {"prompt": [{"role": "user", "content": question}]}
    return {**said, "completion": [{"role": "assistant", "content": answer}]}


def taken(found: Sequence[Measured | Skipped]) -> Found:
    """(measure, column) -> what was measured; a bench of which something was left out fails."""
    assert not [one for one in found if isinstance(one, Skipped)]
    return {(one.metric, one.column): one for one in found}


def values(measured: Measured) -> dict[str, Any]:
    """Item -> value."""
    return {id: value for id, (value, _) in measured.items.items()}
