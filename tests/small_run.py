"""A run directory with a tiny Gemma 4 and a few rows, for tests of the training stages."""

from __future__ import annotations

from pathlib import Path

from localpsych_recipes import data
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.rundir import RunDir

ROWS = [
    ("I am tired of the long days at work.", "That sounds hard. What would help tonight?", "Work harder then."),
    ("My dog died last week.", "I am sorry. You loved him, and the house is quiet now.", "Get a new dog."),
    ("I cannot sleep before an exam.", "Many people lie awake like that.", "Just sleep."),
    ("My friend does not call me any more.", "It hurts to be left out. What is she like?", "So call her."),
    ("I feel alone in this town.", "Being new is lonely.", "Towns are full of people."),
    (
        "The baby cries and I cry too.",
        "You are doing something very hard with very little sleep, and it shows how much you care for your child.",
        "Babies cry.",
    ),
    ("I failed again.", "That stings. What did you hope for?", "Try again."),
    ("My father is ill and I am far away.", "Being far away makes worry louder.", "He has a doctor."),
]  # fmt: skip


def recipe(folder: Path, **sections) -> Recipe:
    """A small recipe on the base in `folder`; keyword arguments replace or add to the keys of its sections."""
    values = {
        "name": "small",
        "base": {"model": str(folder), "hub_id": "someone/tiny", "dtype": "float32", "quantization": "none"},
        "data": {
            "source": "rows.csv",
            "test_size": 0.25,
            "columns": {"prompt": "question", "chosen": "good", "rejected": "bad"},
        },
        "lora": {"r": 4, "lora_alpha": 8},
        "sft": {"max_length": 256, "logging_steps": 1, "report_to": "none"},
        "dpo": {"max_length": 256, "logging_steps": 1, "report_to": "none"},
    }
    for section, keys in sections.items():
        values[section] = keys if keys is None else {**(values.get(section) or {}), **keys}
    return Recipe.model_validate(values)


def run(root: Path, recipe: Recipe, rows=ROWS, stage: str = "f" * 64) -> Run:
    """A run whose prepare stage is done: rows are written as that stage writes them."""
    run = Run(recipe, RunDir(root), say=lambda text: None, fingerprint=stage)
    conversations = {"sft": [], "pairs": []}
    for question, good, bad in rows:
        prompt, answer = [{"role": "user", "content": question}], [{"role": "assistant", "content": good}]
        conversations["sft"].append({"prompt": prompt, "completion": answer})
        worse = [{"role": "assistant", "content": bad}]
        conversations["pairs"].append({"prompt": prompt, "chosen": answer, "rejected": worse})
    run.dir.data.mkdir(parents=True)
    for kind, made in conversations.items():
        data.write_rows(made[:-2], run.dir.data / f"{kind}_train.jsonl")
        data.write_rows(made[-2:], run.dir.data / f"{kind}_test.jsonl")
    return run
