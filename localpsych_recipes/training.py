"""What SFT and DPO share: knobs -> TRL's arguments, fp32 adapters, exact resuming, held-out loss, the result."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerState

from localpsych_recipes import (
    data,
    families,
    fused_head,
    machine,
    models,
    padding_free,
    rundir,
    signals,
    training_log,
)
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Training
from localpsych_recipes.training_callbacks import (
    COMPLETE,
    EvaluateAtTheEnd,
    MarkComplete,
    SaveWhenAsked,
    Ticker,
    contents,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments


def arguments(run: Run, stage: str, knobs: Training) -> dict[str, Any]:
    """The recipe's knobs as keyword arguments of SFTConfig and DPOConfig. A renaming in TRL touches this function."""
    evaluates = bool(knobs.eval_steps)
    # read when the trainer is made; its own default is a folder named after this machine
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.dir.logs(stage))
    same_name = (
        "learning_rate num_train_epochs per_device_train_batch_size per_device_eval_batch_size "
        "gradient_accumulation_steps optim lr_scheduler_type warmup_steps weight_decay max_grad_norm max_length "
        "gradient_checkpointing eval_steps logging_steps report_to"
    )
    return {
        **{name: getattr(knobs, name) for name in same_name.split()},
        "max_steps": knobs.max_steps or -1,
        "eval_strategy": "steps" if evaluates else "no",
        "save_strategy": "steps",
        "save_steps": knobs.checkpoint_steps,
        # one more than asked for: an old checkpoint goes before the new one is known to be complete
        "save_total_limit": knobs.save_total_limit + 1,
        "load_best_model_at_end": evaluates and knobs.load_best_model_at_end,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        # reentrant checkpointing gives wrong gradients where layers share K and V (Gemma 4)
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "output_dir": str(run.dir.checkpoints(stage, run.fingerprint)),
        "seed": run.recipe.seed,
        "bf16": run.recipe.base.dtype == "bfloat16",
        "fp16": run.recipe.base.dtype == "float16",
        "use_cpu": not torch.accelerator.is_available(),
        "disable_tqdm": True,
        # a NaN shows as such instead of the average of what came before, so that Ticker can stop the run
        "logging_nan_inf_filter": False,
        "restore_callback_states_from_checkpoint": bool(knobs.early_stopping_patience),
        "push_to_hub": False,
        "ddp_find_unused_parameters": False,
        "ddp_timeout": machine.COLLECTIVE_SECONDS,
        **knobs.trainer,
    }


def datasets(run: Run, kind: str, model_type: str, knobs: Training) -> dict[str, Dataset | None]:
    """The trainer's two arguments. UserError where there is nothing to train on, or nothing to evaluate as asked."""
    splits = {"train_dataset": "train", "eval_dataset": "test"}
    found = {name: rows(run, kind, split, model_type) for name, split in splits.items()}
    for name, wanted in (("train_dataset", True), ("eval_dataset", bool(knobs.eval_steps))):
        if wanted and found[name] is None:
            what = {"sft": "answer", "pairs": "pair of a better and a worse answer"}[kind]
            side = "to train on" if name == "train_dataset" else "held out, and eval_steps is set"
            made = kind == "pairs" and run.recipe.pairs
            report = "pairs/report.txt in the run directory" if made else "the data report (`localpsych data RECIPE`)"
            do = f"look at {report}; mend data, or drop the stage or its eval_steps"
            raise UserError(f"not one {what} {side}", "at least one", do)
    return found


def rows(run: Run, kind: str, split: str, model_type: str = "") -> Dataset | None:
    """Rows that prepare wrote or a later stage made, with this family's template arguments; None for an empty split.

    Kept as Arrow inside the run: there every rank finds what the main process has tokenised, and no other run does.
    """
    from datasets import disable_progress_bars, load_from_disk

    disable_progress_bars()
    source = run.rows_of(kind)
    # by its source: a recipe whose augment section was taken out must not find the teacher's answers there
    folder = run.dir.cache / source.name / f"{kind}_{split}"
    if run.ranks.main and not folder.exists() and (dataset := data.read(source, kind, split)):
        with rundir.replacing(folder) as beside:
            dataset.save_to_disk(beside)
    machine.barrier(run.ranks)
    if not folder.exists():
        return None
    dataset = load_from_disk(folder)
    if arguments := families.of(model_type).chat_template_kwargs:
        dataset = dataset.map(lambda row: {"chat_template_kwargs": dict(arguments)})
    return dataset


@contextmanager
def adapter_kept_in_fp32(model: torch.nn.Module) -> Iterator[None]:
    """Around the making of a TRL trainer, which casts QLoRA adapters to bf16.

    A resumed run goes on in fp32, so that the cast would make resuming change the result (by 2e-3, TRL 1.16.0); and
    it would round the SFT adapter that DPO starts from.
    """
    trained = {name: p.detach().float().clone() for name, p in model.named_parameters() if p.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in trained:
            parameter.data = trained[name]


def configured(config: type, **arguments: Any) -> Any:
    """One of TRL's configs. UserError for values that it refuses, in the library's own words."""
    try:
        return config(**arguments)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{config.__name__} refuses the recipe's values: {str(error).splitlines()[0]}",
            "values that the installed library accepts",
            "mend the section, or its trainer: mapping",
        ) from None


def without_padding(model: torch.nn.Module, config: TrainingArguments, knobs: Training) -> bool:
    """Whether the model computes its batches without padding from now on; the loss is the same with and without."""
    fused_head.fit_to_cpu()
    # a family that no test compares may mix neighbouring rows; NEFTune's noise depends on how long a batch is
    if not knobs.padding_free or model.config.model_type not in families.FAMILIES or config.neftune_noise_alpha:
        return False
    return padding_free.enable(model.get_base_model())


def train(trainer: Trainer, run: Run, knobs: Training) -> dict[str, Any]:
    """Trains from the last complete checkpoint or from the start. Results: see training_log."""
    folder = Path(trainer.args.output_dir)
    if run.ranks.main:
        run.dir.forget_checkpoints(folder.parent.name, but=run.fingerprint)
        report_rows(run)
    trainer.remove_callback(PrinterCallback)
    say = run.say if run.ranks.main else lambda text: None
    for callback in (Ticker(say), EvaluateAtTheEnd(), MarkComplete(), SaveWhenAsked()):
        trainer.add_callback(callback)
    if knobs.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(knobs.early_stopping_patience))
    checkpoint, began = last_complete(folder, say), time.monotonic()
    if checkpoint and run.ranks.main:
        run.say(f"      going on from {checkpoint.name}")
    if checkpoint and (state := finished_state(checkpoint)):
        # Trainer would take one step more: it looks at max_steps only after a step
        trainer.state = state
        trainer.model.load_adapter(
            str(folder / f"checkpoint-{training_log.best_step(trainer) or state.global_step}"), "default"
        )
    else:
        with signals.deferred():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if run.ranks.main:
        rundir.write_json(run.dir.history(folder.parent.name), {"entries": training_log.history(trainer.state)})
    without = padding_free.enabled(trainer.accelerator.unwrap_model(trainer.model).get_base_model())
    return training_log.results(trainer, checkpoint, time.monotonic() - began) | {"padding_free": without}


def report_rows(run: Run) -> None:
    """The data report once more: what it says of cut rows and trained tokens follows from this recipe's max_length."""
    lengths = rundir.read_json(run.dir.data / "lengths.json")
    if lengths and (prepared := run.report("prepare")):
        data.write_report(run.dir.data, run.recipe, prepared["results"]["counts"], lengths)


def finished_state(checkpoint: Path) -> TrainerState | None:
    """The state of a training that had ended with this checkpoint; None if steps are left."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    stopped = state.stateful_callbacks.get("TrainerControl", {}).get("args", {}).get("should_training_stop")
    return state if stopped or state.global_step >= state.max_steps else None


def last_complete(folder: Path, say: Callable[[str], None] = lambda text: None) -> Path | None:
    """The checkpoint to go on from; those that a kill left half-written, or that were damaged since, are passed over."""
    found = [p.parent for p in folder.glob(f"checkpoint-*/{COMPLETE}") if _own(p.parent, folder)]
    for checkpoint in sorted(found, key=lambda p: int(p.name.rsplit("-", 1)[-1]), reverse=True):
        if machine.sharded() and finished_state(checkpoint):
            continue  # in parts, which nothing reads but a training that goes on
        if not (harmed := damaged(checkpoint)):
            return checkpoint
        say(f"      {checkpoint.name} is passed over: {', '.join(harmed)} changed since it was written")
    return None


def damaged(checkpoint: Path) -> list[str]:
    """Names of the files of a checkpoint that are not what was written."""
    written, found = rundir.read_json(checkpoint / COMPLETE), contents(checkpoint)
    if written is None:
        return [COMPLETE]
    return [name for name, digest in written.items() if found.get(name) != digest]


def _own(checkpoint: Path, folder: Path) -> bool:
    """Whether a checkpoint lies in RUN/STAGE/checkpoints-* itself: a link may lead to somebody else's."""
    stage = folder.parent.parent.resolve() / folder.parent.name
    return checkpoint.resolve() == stage / folder.name / checkpoint.name


def hand_on(trainer: Trainer, run: Run, stage: str, base: Path) -> dict[str, str]:
    """Writes the trained adapter with the base's own tokenizer files; main process only, whole or not at all.

    Results: SHA-256 of its weights and its settings, by which they are known again before they are published.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    # PEFT has noted the path that the base was loaded from, and the Hub refuses it after hours of training
    model.peft_config["default"].base_model_name_or_path = run.recipe.base_id or base.name
    tensors = whole_adapter(model)
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"{stage}: {len(broken)} tensors of the trained adapter are not finite",
            "finite weights",
            "lower the learning rate and run the same command again",
        )
    if run.ranks.main:
        with rundir.replacing(run.dir.adapter(stage)) as folder:
            model.save_pretrained(
                folder, selected_adapters=["default"], save_embedding_layers=False, state_dict=tensors
            )
            (folder / "README.md").unlink(missing_ok=True)  # PEFT's own card; ours is made from what was measured
            models.copy_tokenizer(base, folder)
    trainer.accelerator.wait_for_everyone()
    return trained_sha256(run.dir.adapter(stage)) if run.ranks.main else {}


def whole_adapter(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of the adapter "default" by PEFT's names. Every rank calls it: FSDP2 and ZeRO-3 leave a part on each."""
    from peft.utils.integrations import gather_params_ctx

    named = {name: p for name, p in model.named_parameters() if ".default." in name}
    with gather_params_ctx(list(named.values())):  # does nothing without ZeRO-3, whose tensors are whole inside only
        return {name: p.full_tensor() if hasattr(p, "full_tensor") else p.detach().clone() for name, p in named.items()}


def trained_sha256(adapter: Path) -> dict[str, str]:
    weights, settings = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    return {"adapter_sha256": rundir.file_sha256(weights), "adapter_settings": models.settings_sha256(settings)}


def counts(model: torch.nn.Module) -> dict[str, int]:
    """Trainable and total parameters of a PEFT model, quantised ones counted as what they stand for."""
    trainable, total = model.get_nb_trainable_parameters()
    return {"trainable_parameters": trainable, "all_parameters": total}


def held_out_loss(trainer: Trainer, dataset: Dataset) -> dict[str, float | int]:
    """Mean negative log-likelihood (nats) of a tokenised dataset's labels, over tokens and as the mean of rows' means.

    `dataset` has `input_ids` and `labels` (-100: not counted). Every rank calls it; rows are scored one at a time, so
    that the mean over rows is exact.
    """
    trainer.args.per_device_eval_batch_size = 1
    model = trainer.model
    model.eval()
    sums, tokens = [], []
    told, batches = trainer.callback_handler, trainer.get_eval_dataloader(dataset)
    told.eval_dataloader = batches
    for batch in batches:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            out = model(**batch, use_cache=False, fused_lm_head=True)
        log_probs = trainer.accelerator.gather_for_metrics(-out.log_probs.double().sum().reshape(1))
        count = trainer.accelerator.gather_for_metrics(out.label_mask.sum().reshape(1))
        sums += log_probs.tolist()
        tokens += count.tolist()
        told.on_prediction_step(trainer.args, trainer.state, trainer.control)
    per_token = sum(sums) / sum(tokens)
    per_row = sum(s / n for s, n in zip(sums, tokens, strict=True) if n) / sum(1 for n in tokens if n)
    return {
        "loss": per_token,
        "perplexity": math.exp(min(per_token, 700.0)),
        "row_mean_loss": per_row,
        "tokens": int(sum(tokens)),
        "rows": len(tokens),
    }
