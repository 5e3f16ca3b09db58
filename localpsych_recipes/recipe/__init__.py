"""Every key of a recipe: its type, unit, default and the rules that tie it to others. One YAML file = one release.

A recipe says what is made; how a machine runs it (processes, GPUs, FSDP) is the launcher's and never stands here.
Names are those of TRL, PEFT, transformers and datasets wherever these have a settled one.
`python -m localpsych_recipes.recipe` prints the JSON Schema.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field

from localpsych_recipes.recipe.data import Columns, Data, Source, Turns
from localpsych_recipes.recipe.evaluate import (
    Benchmark,
    BertScore,
    Emotions,
    Evaluate,
    Gate,
    Reference,
    Toxicity,
    gate_problems,
)
from localpsych_recipes.recipe.model import Base, Lora
from localpsych_recipes.recipe.pairs import Degrade, Pairs
from localpsych_recipes.recipe.release import QUANTS, Card, Gguf, Merge, Push
from localpsych_recipes.recipe.section import Name, Section, Seed
from localpsych_recipes.recipe.server import STARTED, Judge, Server
from localpsych_recipes.recipe.training import DPO_LOSSES, Augment, Dpo, Sft, Training
from localpsych_recipes.recipe.verify import Bound, Verify

__all__ = [
    "DPO_LOSSES", "QUANTS", "STAGE_SECTIONS", "STARTED", "Augment", "Base", "Benchmark", "BertScore", "Bound", "Card",
    "Columns", "Data", "Degrade", "Dpo", "Emotions", "Evaluate", "Gate", "Gguf", "Judge", "Lora", "Merge", "Pairs", "Push",
    "Recipe", "Reference", "Section", "Server", "Sft", "Source", "Toxicity", "Training", "Turns", "Verify", "is_local",
    "json_schema",
]  # fmt: skip


class Recipe(Section):
    """One release: what it is made from, and the stages that make it. A stage runs if its section is there."""

    name: Annotated[Name, Field(description="of the release; repositories and files are named after it")]
    version: Annotated[
        str, Field(pattern=r"^\d+\.\d+\.\d+$", description="of the release; the Hub tag is v + this")
    ] = "0.1.0"
    description: Annotated[str | None, Field(description="one sentence for the cards")] = None
    license: Annotated[str | None, Field(description="of the release; null: the base's")] = None
    seed: Annotated[Seed, Field(description="of initialisation, order and dropout")] = 42
    base: Base
    data: Data
    lora: Lora = Lora()
    augment: Augment | None = None
    sft: Sft | None = None
    judge: Judge = Judge()
    pairs: Pairs | None = None
    dpo: Dpo | None = None
    merge: Merge | None = None
    gguf: Gguf | None = None
    verify: Verify | None = None
    evaluate: Evaluate | None = None
    gates: Annotated[tuple[Gate, ...], Field(strict=False, description="what must hold before anything is pushed")] = ()
    card: Card | None = None
    push: Push | None = None

    def rules(self):
        if not self.sft and not self.dpo:
            yield "sft: missing, and no `dpo` either; a recipe trains something"
        for name in ("sft", "dpo"):
            if getattr(self, name) and not self._learnt_by(name):
                yield NOTHING_TO_LEARN[name]
        if self.pairs and not self.sft:
            yield "pairs: samples from the model that `sft` trains, which is missing"
        if self.pairs and not self.dpo and not self.pairs.publish:
            yield "pairs: nothing learns from them without `dpo`; leave them out too, or set pairs.publish: true"
        if self.augment and not self.sft:
            yield "augment: writes answers for `sft`, which is missing"
        if self.gguf and not self.merge:
            yield "merge: missing; `gguf` is made from the merged model"
        if self.push and not self.card:
            yield "card: missing; nothing is pushed without its card"
        if self.push and not self.verify:
            yield "verify: missing; nothing is pushed that was not proven to be the model that was trained"
        makes = {"sft": self.sft, "dpo": self.dpo, "quants": self.gguf}
        yield from gate_problems(self.gates, self.evaluate, [column for column, section in makes.items() if section])
        for gate in self.gates:
            kind, of_labels = OF_HELD_OUT.get(gate.metric), gate.metric.startswith("label_")
            rows = "pairs" if kind == "dpo" else "rows with `labels`" if of_labels else "rows"
            if kind and not any(s.held_out and (s.labels or not of_labels) for s in self._learnt_by(kind)):
                yield f"gates: {gate.metric} is measured of held-out {rows}; there are none"
        for name in ("sft", "dpo"):
            stage = getattr(self, name)
            learnt = self._learnt_by(name)
            if stage and stage.eval_steps and learnt and not any(source.held_out for source in learnt):
                where = "test_size or test_split in an entry of data.mixture" if self.data.mixture else HELD_OUT
                yield f"{name}.eval_steps: nothing is held out; set {where}, or drop it"

    def _learnt_by(self, stage: Literal["sft", "dpo"]) -> list[Source]:
        """The sources that a training stage learns from; pairs are made from those of SFT."""
        stages = ("dpo", "sft") if stage == "dpo" and self.pairs else (stage,)
        return [source for name in stages for source in self.data.learnt_by(name)]

    def stage_sections(self) -> tuple[str, ...]:
        """Names of the stage sections that the recipe has."""
        return tuple(name for name in STAGE_SECTIONS if getattr(self, name) is not None)

    def without_unused_sources(self) -> Recipe:
        """The same release without sources that only an absent stage would learn from; they need not be there."""
        used = tuple(s for s in self.data.mixture if s.use == "all" or getattr(self, s.use))
        return self.model_copy(update={"data": self.data.model_copy(update={"mixture": used})})

    @property
    def base_id(self) -> str | None:
        """The Hub id that a published adapter names as its base; None for a local base without `base.hub_id`."""
        return self.base.hub_id or (None if is_local(self.base.model) else self.base.model)


NOTHING_TO_LEARN = {
    "sft": "data: every source is for `dpo` alone; `sft` needs one with use: all or sft",
    "dpo": "data.columns.rejected: missing; `dpo` needs `chosen` and `rejected` columns, answers with a `score`, or a "
    "`pairs` section that makes them",
}
# measures that are taken of held-out rows -> the stage that rows of this kind are for
OF_HELD_OUT = {
    "loss": "sft", "perplexity": "sft", "bert_score": "sft", "label_accuracy": "sft", "label_macro_f1": "sft",
    "preference_accuracy": "dpo", "reward_margin": "dpo",
}  # fmt: skip
HELD_OUT = "data.test_size or data.test_split"
DATA_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")  # a Hub id does not end so
STAGE_SECTIONS = ("augment", "sft", "pairs", "dpo", "merge", "gguf", "verify", "evaluate", "card", "push")


def is_local(source: str) -> bool:
    """Whether a base or a data source names a path on this machine rather than the Hub or an address."""
    if source.startswith(("http://", "https://")):
        return False
    return (
        source.startswith((".", "/", "~"))
        or source.endswith(DATA_SUFFIXES)
        or os.path.exists(os.path.expanduser(source))
    )


def json_schema() -> dict:
    """The JSON Schema of a recipe, for editors. Of a stage's section, nothing means defaults and false none.

    A recipe that extends another need only name itself.
    """
    schema = Recipe.model_json_schema()
    for name in STAGE_SECTIONS:
        stage = schema["properties"][name]
        stage["anyOf"].append({"const": False})
        stage["description"] = "runs if it is there, with its defaults if it is empty; absent or false: it does not run"
        del stage["default"]
    extends = "a file beside this one, a recipe that ships with the package, or hf://USER/REPO[@REVISION]"
    schema["properties"] = {"extends": {"type": "string", "description": extends}, **schema["properties"]}
    alone = {
        "required": schema["required"],
        "properties": {"base": {"required": schema["$defs"]["Base"].pop("required")}},
    }
    schema |= {"required": ["name"], "if": {"required": ["extends"]}, "else": alone}
    return schema
