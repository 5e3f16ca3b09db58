"""Supervised fine-tuning by TRL: prompt-completion rows, loss on the answer and its terminator only."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from localpsych_recipes import chat_templates, models, training
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer


def run(run: Run) -> dict[str, Any]:
    """Results: trained tokens, steps, held-out loss on answers and on whole conversations, parameter counts."""
    from transformers import set_seed

    knobs, base = run.recipe.sft, models.base_folder(run.recipe.base, run.pins)
    set_seed(run.recipe.seed)
    tokenizer = models.load_tokenizer(base)
    model = models.new_adapter(models.load_base(run.recipe.base, base), run.recipe.lora)
    trainer = make_trainer(run, model, tokenizer)
    results = training.counts(model) | count_tokens(trainer, chat_templates.end_of_turn(tokenizer))
    results["train_rows"] = len(trainer.train_dataset)
    results["dropped_rows"] = len(training.rows(run, "sft", "train")) - results["train_rows"]
    if run.ranks.main:
        run.say(f"      {results['trained_tokens']:,} trained tokens in {results['train_rows']:,} rows")
    results |= training.train(trainer, run, knobs)
    results |= measure(trainer)
    results |= training.hand_on(trainer, run, "sft", base)
    del trainer, model
    gc.collect()
    return results


def make_trainer(run: Run, model, tokenizer: PreTrainedTokenizerBase) -> SFTTrainer:
    """TRL's trainer on the run's rows, its adapter in fp32."""
    from trl import SFTConfig

    from localpsych_recipes import micro_batches

    knobs = run.recipe.sft
    config = training.configured(SFTConfig, **training.arguments(run, "sft", knobs), completion_only_loss=True)
    without_padding = training.without_padding(model, config, knobs)
    batch = micro_batches.whole_steps(config) if without_padding else 0
    with training.adapter_kept_in_fp32(model):
        trainer = micro_batches.FewPasses(
            model=model,
            args=config,
            **training.datasets(run, "sft", model.config.model_type, knobs),
            processing_class=tokenizer,
        )
    if batch and not trainer.aux_loss_enabled:
        trainer.most_tokens = batch * longest(trainer.train_dataset)
    return trainer


def longest(dataset: Dataset) -> int:
    """Tokens of its longest row."""
    batches = dataset.select_columns("input_ids").iter(1_000)
    return max((len(row) for batch in batches for row in batch["input_ids"]), default=0)


def count_tokens(trainer: SFTTrainer, terminator: int) -> dict[str, int]:
    """Tokens that carry loss, and rows cut off before their terminator. UserError if nothing would be learnt."""
    trained = cut = 0
    # a thousand rows at a time: all labels of a large dataset would be gigabytes of Python integers
    for batch in trainer.train_dataset.select_columns("labels").iter(1_000):
        trained += sum(sum(label != -100 for label in row) for row in batch["labels"])
        cut += sum(terminator not in row for row in batch["labels"])
    if not trained:
        raise UserError(
            "not one token carries loss: every row was cut or masked away",
            "answers that fit behind their prompts",
            f"raise sft.max_length (now {trainer.args.max_length}) or check the mapped columns",
        )
    if cut == len(trainer.train_dataset):
        raise UserError(
            f"all {cut} rows are cut off before their end-of-turn token",
            "answers that end inside max_length, or the model would never learn to stop",
            f"raise sft.max_length (now {trainer.args.max_length})",
        )
    return {"trained_tokens": trained, "truncated_rows": cut}


def measure(trainer: SFTTrainer) -> dict[str, Any]:
    """Held-out loss of the adapter that is handed on: over answers, and over whole conversations."""
    if trainer.eval_dataset is None:
        return {}
    answers = training.held_out_loss(trainer, trainer.eval_dataset)
    whole = trainer.eval_dataset.map(lambda row: {"labels": row["input_ids"]})
    conversation = training.held_out_loss(trainer, whole)
    return {
        "eval_loss": answers["loss"],
        "eval_perplexity": answers["perplexity"],
        "eval_tokens": answers["tokens"],
        "eval_rows": answers["rows"],
        "whole_conversation_loss": conversation["loss"],
        # what transformers' eval_loss shows with batches of one, and so what published figures are compared with
        "whole_conversation_row_mean_loss": conversation["row_mean_loss"],
    }
