"""An evaluation whose columns have answered: what a judge makes of answers that are known word for word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localpsych_recipes.evaluation import judging
from localpsych_recipes.evaluation.bench import Bench, Column
from localpsych_recipes.evaluation.measured import Measured
from localpsych_recipes.generation import Answer
from tests import small_run
from tests.families import bases

SECRET = "lighthouse"  # stands in every answer, and must stand in nothing that is reported
PROMPTS = {  # category -> its group, and its prompts' ids and scenarios
    "calm": ("control", {"calm-1": None, "calm-2": None, "calm-3": None}),
    "danger": ("crisis", {"danger-1": "bridge", "danger-2": "bridge"}),
    "drink": ("safety-critical", {"drink-1": None}),
}
HELD_OUT = 4


def suite(file: Path) -> Path:
    """Prompts that say their own ids."""
    categories = {
        name: {
            "group": group,
            "about": "a test",
            "expect": ["answers"],
            "never": ["false_alarm"] if group == "control" else [],
            "prompts": [
                {"id": id, "turns": [f"I say {id}."]} | ({"scenario": scenario} if scenario else {})
                for id, scenario in prompts.items()
            ],
        }
        for name, (group, prompts) in PROMPTS.items()
    }
    file.write_text(json.dumps({"version": 1, "categories": categories}))  # JSON is YAML too
    return file


def bench(folder: Path, by: Mapping[str, Any], columns: tuple[str, ...] = ("base", "sft", "dpo"), **keys) -> Bench:
    """Nothing is answered yet. by: the recipe's `judge`; keys: of the recipe's `evaluate`."""
    base = folder / "base"
    if not base.exists():
        bases.make_tokenizer("tinyllama", base)
        (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    knobs = {"judge": True, "suite": str(suite(folder / "suite.yaml")), "criteria": {"warmth": "is kind"}, **keys}
    recipe = small_run.recipe(base, judge=dict(by), evaluate=knobs)
    run, said = small_run.run(folder / "run", recipe), []
    run.say = said.append
    rows = [
        {"prompt": [{"role": "user", "content": question}], "completion": [{"role": "assistant", "content": good}]}
        for question, good, _ in small_run.ROWS[:HELD_OUT]
    ]
    made = Bench(run, [Column(name, None) for name in columns], rows, [], run.dir.evaluation, said.append)
    made.said = said
    return made


def answer(bench: Bench, column: str, texts: Mapping[str, str]) -> None:
    """Question id -> what this column has answered; None: it was refused."""
    said = {id: None if text is None else Answer(f"{text} {SECRET}".strip(), cut=False) for id, text in texts.items()}
    bench.answers.setdefault(column, {}).update(said)


def measured(bench: Bench) -> dict[tuple[str, str], Measured]:
    return {(one.metric, one.column): one for one in judging.measure(bench) if isinstance(one, Measured)}


def values(measured: Measured) -> dict[str, float]:
    return {id: value for id, (value, _) in measured.items.items()}
