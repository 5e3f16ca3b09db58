"""What a training leaves for its report and its curves: the logged numbers, how fast it went, and how much it took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Trainer, TrainerState


# what the trainers count or average from the last resume on, and not from the first step
SINCE_RESUMED = ("num_tokens", "train_loss")


def history(state: TrainerState) -> list[dict[str, float]]:
    """The numbers that the trainer logged at each step, those of before a resume among them; nothing else."""
    kept = ({k: v for k, v in entry.items() if k not in SINCE_RESUMED} for entry in state.log_history)
    return [{k: v for k, v in entry.items() if isinstance(v, int | float)} for entry in kept]


def results(trainer: Trainer, resumed: Path | None, seconds: float) -> dict[str, Any]:
    """Steps, epochs, best step and its metric, and speed. resumed: the checkpoint that was gone on from."""
    state, best = trainer.state, best_step(trainer)
    return {
        "steps": state.global_step,
        "epochs": round(state.epoch, 3),
        "best_step": best,
        "best_metric": state.best_metric if best else None,
        "resumed": bool(resumed),
        **speed(trainer, resumed, seconds),
    }


def best_step(trainer: Trainer) -> int | None:
    """The step whose adapter is kept because its held-out loss was the lowest; None where the last is kept."""
    return trainer.state.best_global_step if trainer.args.load_best_model_at_end else None


def speed(trainer: Trainer, resumed: Path | None, seconds: float) -> dict[str, float | None]:
    """Rows per second of the steps that this process took, evaluations included, and the FLOPs of the whole training.

    The FLOPs are the Trainer's estimate, 6 x parameters x tokens (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361,
    section 2.1): forward and backward, frozen parameters included. Its own speed divides all rows by the time since a
    resume.
    """
    args, before = trainer.args, int(resumed.name.rsplit("-", 1)[-1]) if resumed else 0
    a_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    steps = trainer.state.global_step - before
    return {
        "samples_per_second": round(steps * a_step / seconds, 3) if steps > 0 else None,
        "total_flos": float(trainer.state.total_flos),
    }
