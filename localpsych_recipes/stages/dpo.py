"""Direct preference optimisation by TRL: goes on training the SFT adapter, a frozen copy as reference."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from localpsych_recipes import models, training
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import DPOTrainer


def run(run: Run) -> dict[str, Any]:
    """Results: pairs, steps, held-out loss, preference accuracy and margin, and how far the chosen answers moved."""
    from transformers import set_seed

    base = models.base_folder(run.recipe.base, run.pins)
    set_seed(run.recipe.seed)
    tokenizer = models.load_tokenizer(base)
    model = policy(run, base)
    results = training.counts(model)  # before the trainer adds its frozen copy of the adapter
    trainer = make_trainer(run, model, tokenizer)
    given = len(training.rows(run, "pairs", "train"))
    results["pairs"] = len(trainer.train_dataset)
    results["dropped_pairs"] = given - results["pairs"]
    _refuse_none(results["pairs"], given, run.recipe.dpo.max_length)
    results |= training.train(trainer, run, run.recipe.dpo)
    results |= measure(trainer)
    training.hand_on(trainer, run, "dpo", base)
    del trainer, model
    gc.collect()
    return results


def policy(run: Run, base):
    """The SFT adapter on the one backbone that is in memory; without SFT, a fresh adapter and the base as reference."""
    model = models.load_base(run.recipe.base, base)
    if run.recipe.sft:
        return models.load_adapter(model, run.dir.adapter("sft"))
    return models.new_adapter(model, run.recipe.lora)


def make_trainer(run: Run, model, tokenizer: PreTrainedTokenizerBase) -> DPOTrainer:
    """TRL's trainer: it adds a frozen "ref" copy of the "default" adapter and loads no second backbone."""
    from trl import DPOConfig, DPOTrainer

    knobs = run.recipe.dpo
    own = {
        "beta": knobs.beta,
        "loss_type": list(knobs.loss_type),
        "loss_weights": list(knobs.loss_weights),
        "precompute_ref_log_probs": knobs.precompute_ref_log_probs,
    }
    with training.adapter_kept_in_fp32(model):
        return DPOTrainer(
            model=model,
            args=training.configured(DPOConfig, **own, **training.arguments(run, "dpo", knobs)),
            **training.datasets(run, "pairs", model.config.model_type, run.recipe.dpo),
            processing_class=tokenizer,
        )


def measure(trainer: DPOTrainer) -> dict[str, Any]:
    """Held-out figures of the adapter that is handed on; rows one at a time, so that means are over pairs.

    With several ranks the last pairs that do not fill a round are left out: TRL would count copies of others in their
    place.
    """
    if trainer.eval_dataset is None:
        return {}
    trainer.args.per_device_eval_batch_size = 1
    pairs, ranks = len(trainer.eval_dataset), trainer.accelerator.num_processes
    trainer.eval_dataset = trainer.eval_dataset.select(range(pairs - pairs % ranks or pairs))
    found = trainer.evaluate()
    return {
        "eval_pairs": len(trainer.eval_dataset),
        "eval_loss": found["eval_loss"],
        "eval_accuracy": found["eval_rewards/accuracies"],
        "eval_margin": found["eval_rewards/margins"],
        # reward = beta * (log p - log p_ref); below zero the chosen answers became less likely than before DPO
        "chosen_logps_change": found["eval_rewards/chosen"] / trainer.beta,
    }


def _refuse_none(kept: int, given: int, max_length: int) -> None:
    if not kept:
        raise UserError(
            f"none of {given} pairs is left: every prompt alone fills dpo.max_length ({max_length} tokens)",
            "prompts shorter than max_length",
            "raise dpo.max_length",
        )
