"""Direct preference optimisation by TRL: goes on training the SFT adapter, a frozen copy as reference."""

from __future__ import annotations

import gc
import math
from typing import TYPE_CHECKING, Any

from localpsych_recipes import models, training
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import DPOTrainer


# nats per token that the held-out chosen answers may lose on average; more is what Razin et al., Unintentional
# Unalignment (https://arxiv.org/abs/2410.08847), call likelihood displacement. The bound itself is a judgement.
CHOSEN_MAY_FALL = 0.1


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
    results["warnings"] = warnings(results)
    for warning in results["warnings"] if run.ranks.main else ():
        run.say(f"      warning: {warning}")
    results |= training.hand_on(trainer, run, "dpo", base)
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
    from trl import DPOConfig

    knobs = run.recipe.dpo
    own = {
        "beta": knobs.beta,
        "loss_type": list(knobs.loss_type),
        "loss_weights": list(knobs.loss_weights),
        "precompute_ref_log_probs": knobs.precompute_ref_log_probs,
    }
    config = training.configured(DPOConfig, **own, **training.arguments(run, "dpo", knobs))
    training.without_padding(model, config, knobs)
    with training.adapter_kept_in_fp32(model):
        return _trainer_class(run)(
            model=model,
            args=config,
            **training.datasets(run, "pairs", model.config.model_type, run.recipe.dpo),
            processing_class=tokenizer,
        )


def _trainer_class(run: Run) -> type[DPOTrainer]:
    """TRL's, which says how far it is with the reference's log-probabilities: a pass over all pairs before step 1.

    TRL keeps them beside the rows, by the rows and the model's weights, so that a resumed run reads them.
    """
    from trl import DPOTrainer

    class Told(DPOTrainer):
        def _precompute_ref_logps(self, dataset, name, batch_size):
            self.scored, self.pairs = 0, len(dataset)
            self.told = Progress(run.say if run.ranks.main else lambda text: None, "reference: scored", "pairs")
            return super()._precompute_ref_logps(dataset, name, batch_size)

        def compute_ref_log_probs(self, model, inputs):
            found = super().compute_ref_log_probs(model, inputs)
            self.scored += len(found[0]) * self.accelerator.num_processes
            self.told(min(self.scored, self.pairs), self.pairs)
            return found

    return Told


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
    # reward = beta * (log p - log p_ref); below zero the chosen answers became less likely than before DPO
    change = found["eval_rewards/chosen"] / trainer.beta
    return {
        "eval_pairs": len(trainer.eval_dataset),
        "eval_loss": found["eval_loss"],
        "eval_accuracy": found["eval_rewards/accuracies"],
        "eval_margin": found["eval_rewards/margins"],
        "chosen_logps_change": change,
        "chosen_logps_change_per_token": change * len(trainer.eval_dataset) / _chosen_tokens(trainer),
    }


def _chosen_tokens(trainer: DPOTrainer) -> int:
    """Tokens of the held-out chosen answers, as far as they fit behind their prompts."""
    rows = trainer.eval_dataset.select_columns(["prompt_ids", "chosen_ids"])
    room = trainer.args.max_length or math.inf
    return sum(min(len(row["chosen_ids"]), room - len(row["prompt_ids"])) for row in rows)


def warnings(results: dict[str, Any]) -> list[str]:
    """What of the held-out figures says that DPO has not done what it is for."""
    found = []
    if (change := results.get("chosen_logps_change_per_token", 0.0)) < -CHOSEN_MAY_FALL:
        found.append(
            f"chosen answers became less likely, by {-change:.2f} nats per token (up to {CHOSEN_MAY_FALL} is usual): lower "
            "dpo.learning_rate, raise dpo.beta, or keep them up with loss_type: [sigmoid, sft]"
        )
    if results.get("eval_margin", 1.0) <= 0:
        found.append(
            f"the margin on {results['eval_pairs']} held-out pairs is {results['eval_margin']:.3f}, not above 0: nothing "
            "of what the pairs teach was learnt; look at them, train longer, or raise dpo.learning_rate"
        )
    return found


def _refuse_none(kept: int, given: int, max_length: int) -> None:
    if not kept:
        raise UserError(
            f"none of {given} pairs is left: every prompt alone fills dpo.max_length ({max_length} tokens)",
            "prompts shorter than max_length",
            "raise dpo.max_length",
        )
