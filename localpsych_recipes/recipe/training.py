"""The stages that train, in transformers' and TRL's words."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import Field

from localpsych_recipes import trainer_keys
from localpsych_recipes.recipe.section import Section
from localpsych_recipes.recipe.server import Server

DPO_LOSSES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip


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
    warmup_steps: Annotated[
        Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)],
        Field(description="optimiser steps; below 1 a share of all steps, so 0.03 is 3 %"),
    ] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, description="gradients are clipped to this norm")] = 1.0
    max_length: Annotated[int, Field(gt=0, description="tokens of prompt and answer together")] = 2048
    gradient_checkpointing: Annotated[bool, Field(description="non-reentrant; less memory, about 30 % slower")] = True
    padding_free: Annotated[
        bool, Field(description="padding is not computed, and a step takes few passes: same rows, same loss")
    ] = True
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


class Augment(Server):
    """A teacher model writes each reference answer from the conversation and the answer that the template made."""

    server: Annotated[str, Field(description="address of an OpenAI-compatible server, with its /v1")] = (
        "http://127.0.0.1:8080/v1"
    )
    model: Annotated[str, Field(min_length=1, description="the teacher's name on that server")] = "default"
    prompt: Annotated[
        str, Field(min_length=1, description="what the teacher is asked, with {prompt} and {response} in it")
    ] = (
        "Here is a message and the conclusion of an experienced psychiatrist.\n\nMessage: {prompt}\n\nConclusion: "
        "{response}\n\nExplain in two or three sentences which words of the message lead to this conclusion. Do not "
        "repeat the conclusion."
    )
    answer: Annotated[
        str, Field(min_length=1, description="the new reference answer, with {response} and {teacher} in it")
    ] = "{response} {teacher}"
    temperature: Annotated[float, Field(ge=0)] = 0.7
    max_tokens: Annotated[int, Field(gt=0, description="tokens of one of the teacher's texts")] = 256
    concurrency: Annotated[int, Field(gt=0, description="requests at once")] = 4

    def rules(self):
        for key, names in {"prompt": ("prompt", "response"), "answer": ("response", "teacher")}.items():
            if missing := [f"{{{name}}}" for name in names if f"{{{name}}}" not in getattr(self, key)]:
                yield f"{key}: {' and '.join(missing)} missing in it; without them rows and labels are lost"
