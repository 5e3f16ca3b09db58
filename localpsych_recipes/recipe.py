"""Every key of a recipe: its type, unit, default and the rules that tie it to others. One YAML file = one release.

A recipe says what is made; how a machine runs it (processes, GPUs, FSDP) is the launcher's and never stands here.
Names are those of TRL, PEFT, transformers and datasets wherever these have a settled one.
`python -m localpsych_recipes.recipe` prints the JSON Schema.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from localpsych_recipes import trainer_keys

QUANTS = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_NL", "IQ4_XS",
    "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S", "IQ2_M", "IQ2_S",
)  # fmt: skip
DPO_LOSSES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip
Strings = Annotated[tuple[str, ...], Field(strict=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
RepoName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]{0,95}$")]
HubId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]


class Section(BaseModel):
    """Strict (no conversion between types), closed (no unknown key) and frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _rules(self):
        """Reports every contradiction of the section at once; `rules` yields "key: what is wrong" lines."""
        if problems := list(self.rules()):
            raise ValueError("\n".join(problems))
        return self

    def rules(self):
        """Cross-field rules as "key: message" strings. A section without any has this empty one."""
        return ()


class Base(Section):
    """The model that is fine-tuned."""

    model: Annotated[str, Field(min_length=1, description="Hub id, or a local folder that holds config.json")]
    revision: Annotated[str | None, Field(description="commit, branch or tag; pinned to a commit at the first run")] = (
        None
    )
    hub_id: Annotated[HubId | None, Field(description="Hub id of a local base; asked for before a push")] = None
    license: Annotated[str | None, Field(description="the base's licence, where its card on the Hub does not say")] = (
        None
    )
    quantization: Annotated[
        Literal["nf4", "int8", "none"],
        Field(description="of the frozen weights during training; the release is 16 bit"),
    ] = "nf4"
    double_quant: Annotated[
        bool, Field(description="nf4 only: the scales are quantised too, 0.4 bit a weight less")
    ] = True
    dtype: Annotated[Literal["bfloat16", "float16", "float32"], Field(description="compute and loading dtype")] = (
        "bfloat16"
    )
    attn_implementation: Annotated[
        Literal["auto", "flash_attention_2", "sdpa", "eager"],
        Field(description="auto: FlashAttention 2 where the GPU, the package and every head_dim allow it, else sdpa"),
    ] = "auto"
    trust_remote_code: Annotated[bool, Field(description="runs Python code from the base's repository")] = False


class Columns(Section):
    """Which column of the source plays which part."""

    prompt: Annotated[str | None, Field(description="what the person says")] = None
    response: Annotated[str | None, Field(description="the answer to learn in SFT; `chosen` where absent")] = None
    chosen: Annotated[str | None, Field(description="the preferred answer of a pair")] = None
    rejected: Annotated[str | None, Field(description="the worse answer of a pair; never a target of SFT")] = None
    messages: Annotated[str | None, Field(description="whole conversations: a list of {role, content}")] = None

    def rules(self):
        if self.messages and (self.prompt or self.response or self.chosen or self.rejected):
            yield "messages: stands alone; got other columns beside it: drop `messages` or the others"
        if not self.messages and not self.prompt:
            yield "prompt: missing; map `prompt` and an answer column (`response` or `chosen`), or `messages`"
        if self.prompt and not (self.response or self.chosen):
            yield "response: missing; map the answer column as `response`, or as `chosen` beside `rejected`"
        if self.rejected and not self.chosen:
            yield "chosen: missing beside `rejected`; a pair needs both"
        others = {"prompt": self.prompt, "response": self.response, "chosen": self.chosen}
        for part, column in others.items():
            if self.rejected and column == self.rejected:
                yield f"rejected: column {column!r} is also `{part}`; a rejected answer can never be trained on"


class Data(Section):
    """Where the rows come from and how they are split."""

    source: Annotated[str, Field(min_length=1, description="Hub dataset id, local file, or https address of a file")]
    revision: Annotated[
        str | None, Field(description="commit, branch or tag of a Hub dataset; pinned at the first run")
    ] = None
    name: Annotated[str | None, Field(description="configuration of a Hub dataset with several")] = None
    split: Annotated[str, Field(description="split of a Hub dataset to read")] = "train"
    license: Annotated[str | None, Field(description="the dataset's licence, where its card does not say")] = None
    columns: Columns
    system: Annotated[str | None, Field(description="system prompt of every conversation that has none of its own")] = (
        None
    )
    system_in: Annotated[
        Literal["system", "user"], Field(description="its place: a system turn, or before the first user turn's text")
    ] = "system"
    shuffle_seed: Annotated[int | None, Field(ge=0, description="null: rows stay in the source's order")] = None
    max_rows: Annotated[int | None, Field(gt=0, description="rows kept after the shuffle; null: all")] = None
    test_size: Annotated[float | None, Field(gt=0, lt=1, description="share held out, rounded up to whole rows")] = None
    test_split: Annotated[
        str | None, Field(description="the Hub dataset's own held-out split, instead of test_size")
    ] = None
    split_seed: Annotated[int, Field(ge=0, description="seed of the split by test_size")] = 42
    empty: Annotated[Literal["drop", "fail"], Field(description="rows with an empty field: counted, then this")] = (
        "drop"
    )
    duplicates: Annotated[Literal["keep", "drop"], Field(description="identical rows: counted, then this")] = "keep"

    def rules(self):
        if self.test_size is not None and self.test_split is not None:
            yield "test_split: contradicts test_size; keep one of them"
        if self.test_split is not None and self.test_split == self.split:
            yield f"test_split: {self.test_split!r} is also the training split; nothing would be held out"

    @property
    def held_out(self) -> bool:
        return self.test_size is not None or self.test_split is not None


class Lora(Section):
    """The adapter, in PEFT's words."""

    r: Annotated[int, Field(gt=0, description="rank")] = 16
    lora_alpha: Annotated[int, Field(gt=0, description="the update is scaled by lora_alpha / r")] = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        str | Strings,
        Field(description="attention, mlp, all, a list of names, or a regular expression on full module names"),
    ] = "attention"
    use_rslora: Annotated[bool, Field(description="scales by lora_alpha / sqrt(r) instead")] = False
    use_dora: bool = False

    def rules(self):
        if isinstance(self.target_modules, str):
            try:
                re.compile(self.target_modules)
            except re.error as error:
                yield f"target_modules: not a regular expression ({error})"
        elif not self.target_modules:
            yield "target_modules: an empty list adapts nothing"


class Training(Section):
    """What SFT and DPO share, in transformers' words. Steps are optimiser steps, lengths are tokens."""

    learning_rate: Annotated[float, Field(gt=0)]
    num_train_epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Annotated[int | None, Field(gt=0, description="optimiser steps; overrides num_train_epochs")] = None
    per_device_train_batch_size: Annotated[int, Field(gt=0, description="rows")] = 1
    per_device_eval_batch_size: Annotated[int, Field(gt=0, description="rows")] = 1
    gradient_accumulation_steps: Annotated[int, Field(gt=0, description="batches per optimiser step")] = 1
    optim: Annotated[str, Field(description="transformers' optimiser name")] = "adamw_torch"
    lr_scheduler_type: Annotated[
        Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"], Field()
    ] = "linear"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, description="gradients are clipped to this norm")] = 1.0
    max_length: Annotated[int, Field(gt=0, description="tokens of prompt and answer together")] = 2048
    gradient_checkpointing: Annotated[bool, Field(description="non-reentrant; less memory, about 30 % slower")] = True
    eval_steps: Annotated[int | None, Field(gt=0, description="null: evaluated once, at the end")] = None
    save_steps: Annotated[
        int | None, Field(gt=0, description="steps between checkpoints; null: as eval_steps, else 500")
    ] = None
    save_total_limit: Annotated[int, Field(ge=1, description="checkpoints kept beside the best")] = 2
    logging_steps: Annotated[int, Field(gt=0)] = 10
    load_best_model_at_end: Annotated[bool, Field(description="the adapter with the lowest eval loss is released")] = (
        True
    )
    early_stopping_patience: Annotated[
        int | None, Field(gt=0, description="evaluations without a gain; null: never")
    ] = None
    report_to: Annotated[Literal["tensorboard", "none"], Field(description="local curves; no text is logged")] = (
        "tensorboard"
    )
    trainer: Annotated[dict[str, Any], Field(description="anything else of TRL's config, checked by name")] = {}

    def rules(self):
        if self.early_stopping_patience and not (self.eval_steps and self.load_best_model_at_end):
            yield "early_stopping_patience: needs eval_steps and load_best_model_at_end: true"
        if self.load_best_model_at_end and self.eval_steps and self.checkpoint_steps != self.eval_steps:
            yield f"save_steps: {self.save_steps} is not eval_steps ({self.eval_steps}); the best step could be lost"
        if self.optim not in trainer_keys.optimizers():
            close = difflib.get_close_matches(self.optim, trainer_keys.optimizers(), 1)
            yield f"optim: {self.optim!r} is unknown to the installed transformers" + (
                f"; did you mean {close[0]}?" if close else ""
            )
        yield from trainer_keys.problems(type(self).__name__, self.trainer, own=type(self).model_fields)

    @property
    def checkpoint_steps(self) -> int:
        return self.save_steps or self.eval_steps or 500


class Sft(Training):
    """Supervised fine-tuning: loss on the answer and its terminator only."""

    learning_rate: Annotated[float, Field(gt=0)] = 2e-4


class Dpo(Training):
    """Direct preference optimisation, going on from the SFT adapter where there is one."""

    learning_rate: Annotated[float, Field(gt=0)] = 5e-6
    beta: Annotated[float, Field(gt=0, description="strength of the pull to the reference policy")] = 0.1
    loss_type: Annotated[
        tuple[Literal[DPO_LOSSES], ...],
        Field(strict=False, min_length=1, description="TRL's names; `sft` keeps the chosen answer's likelihood up"),
    ] = ("sigmoid", "sft")
    loss_weights: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False, description="one weight for each loss_type")
    ] = (1.0, 0.1)
    precompute_ref_log_probs: Annotated[bool, Field(description="one pass before training instead of one a step")] = (
        True
    )

    def rules(self):
        yield from super().rules()
        if len(self.loss_type) != len(self.loss_weights):
            yield f"loss_weights: {len(self.loss_weights)} weights for {len(self.loss_type)} losses; one for each"


class Merge(Section):
    """The adapter put into the base's own 16-bit weights. Nothing to choose."""


class Gguf(Section):
    """llama.cpp's files, made from the merged model."""

    quants: Annotated[tuple[Literal[QUANTS], ...], Field(strict=False, description="llama-quantize's types")] = (
        "Q4_K_M",
        "Q5_K_M",
        "Q8_0",
    )
    sixteen_bit: Annotated[bool, Field(description="publish the 16-bit GGUF beside the quants")] = False
    adapter: Annotated[bool, Field(description="the adapter as a LoRA GGUF too")] = True

    def rules(self):
        if repeated := {q for q in self.quants if self.quants.count(q) > 1}:
            yield f"quants: {', '.join(sorted(repeated))} twice"
        if not self.quants and not self.sixteen_bit:
            yield "quants: empty; name at least one, or set sixteen_bit: true"


class Card(Section):
    """What the cards say beyond what was measured."""

    title: Annotated[str | None, Field(description="heading; the recipe's name where absent")] = None
    language: Annotated[Strings, Field(description="ISO 639-1 codes")] = ("en",)
    tags: Annotated[Strings, Field(description="besides those that follow from the recipe")] = ()
    prose: Annotated[Name | None, Field(description="a file of model_cards/prose/ without .md; no numbers in it")] = (
        None
    )


class Push(Section):
    """The three repositories. Ids without a user get `namespace`, else the token's own user."""

    namespace: Annotated[Name | None, Field(description="user or organisation; null: the token's user")] = None
    private: Annotated[bool, Field(description="false publishes to everyone")] = True
    adapter: Annotated[RepoName | None, Field(description="default: NAME-LoRA")] = None
    merged: Annotated[RepoName | None, Field(description="default: NAME")] = None
    gguf: Annotated[RepoName | None, Field(description="default: NAME-GGUF")] = None


class Recipe(Section):
    """One release: what it is made from, and the stages that make it. A stage runs if its section is there."""

    name: Annotated[Name, Field(description="of the release; repositories and files are named after it")]
    version: Annotated[
        str, Field(pattern=r"^\d+\.\d+\.\d+$", description="of the release; the Hub tag is v + this")
    ] = "0.1.0"
    description: Annotated[str | None, Field(description="one sentence for the cards")] = None
    license: Annotated[str | None, Field(description="of the release; null: the base's")] = None
    seed: Annotated[int, Field(ge=0, description="of initialisation, order and dropout")] = 42
    base: Base
    data: Data
    lora: Lora = Lora()
    sft: Sft | None = None
    dpo: Dpo | None = None
    merge: Merge | None = None
    gguf: Gguf | None = None
    card: Card | None = None
    push: Push | None = None

    def rules(self):
        if not self.sft and not self.dpo:
            yield "sft: missing, and no `dpo` either; a recipe trains something"
        if self.dpo and not self.data.columns.rejected:
            yield "data.columns.rejected: missing; `dpo` needs `chosen` and `rejected` columns"
        if self.gguf and not self.merge:
            yield "merge: missing; `gguf` is made from the merged model"
        if self.push and not self.card:
            yield "card: missing; nothing is pushed without its card"
        for name in ("sft", "dpo"):
            stage = getattr(self, name)
            if stage and stage.eval_steps and not self.data.held_out:
                yield f"{name}.eval_steps: nothing is held out; set data.test_size or data.test_split, or drop it"

    def stage_sections(self) -> tuple[str, ...]:
        """Names of the stage sections that the recipe has."""
        return tuple(name for name in STAGE_SECTIONS if getattr(self, name) is not None)

    @property
    def base_id(self) -> str | None:
        """The Hub id that a published adapter names as its base; None for a local base without `base.hub_id`."""
        return self.base.hub_id or (None if is_local(self.base.model) else self.base.model)


DATA_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")  # a Hub id does not end so
STAGE_SECTIONS = ("sft", "dpo", "merge", "gguf", "card", "push")


def is_local(source: str) -> bool:
    """Whether a base or a data source names a path on this machine rather than the Hub or an address."""
    if source.startswith(("http://", "https://")):
        return False
    return source.startswith((".", "/", "~")) or source.endswith(DATA_SUFFIXES) or Path(source).expanduser().exists()


def json_schema() -> dict:
    """The JSON Schema of a recipe, for editors. Of a stage's section, nothing means defaults and false none."""
    schema = Recipe.model_json_schema()
    for name in STAGE_SECTIONS:
        stage = schema["properties"][name]
        stage["anyOf"].append({"const": False})
        stage["description"] = "runs if it is there, with its defaults if it is empty; absent or false: it does not run"
        del stage["default"]
    return schema


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
