"""What SFT and DPO hang on the Trainer: lines of progress, the last step's evaluation, and which checkpoints are whole."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from localpsych_recipes import rundir, signals
from localpsych_recipes.errors import UserError
from localpsych_recipes.progress import SECONDS_BETWEEN, Progress, duration

COMPLETE = "complete"  # written into a checkpoint when all of it is on disk
EXPLODED = 100.0  # pre-clip gradient norm, in multiples of max_grad_norm, that is worth a warning


class Ticker(TrainerCallback):
    """A line of progress every ten seconds with an estimate of what is left; stops a run that has diverged."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.last, self.began, self.first_step, self.warned = say, 0.0, time.monotonic(), 0, False
        self.scored = 0  # batches of the evaluation that goes on

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.began, self.first_step = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if logs and "loss" in logs:
            self._refuse_nan(logs["loss"], state.global_step)
            self._warn_of_explosion(logs.get("grad_norm"), args.max_grad_norm, state.global_step)
            now = time.monotonic()
            if now - self.last >= SECONDS_BETWEEN:
                self.last = now
                self.say(f"      {self._line(logs, state, now)}")

    def on_prediction_step(self, args, state, control, eval_dataloader, **kwargs) -> None:
        if not self.scored:
            self.scoring = Progress(self.say, "held out: scored", "batches")
        self.scored = (self.scored + 1) % len(eval_dataloader)
        self.scoring(self.scored, len(eval_dataloader))

    def _line(self, logs: dict[str, float], state: Any, now: float) -> str:
        done = state.global_step - self.first_step
        left = (now - self.began) / max(done, 1) * (state.max_steps - state.global_step)
        return f"step {state.global_step}/{state.max_steps}, loss {logs['loss']:.3f}, about {duration(left)} left"

    def _refuse_nan(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step}",
                "a finite loss",
                "lower the learning rate, or train in bfloat16 or float32; the last checkpoint is kept",
            )

    def _warn_of_explosion(self, norm: float | None, limit: float, step: int) -> None:
        if norm and norm > EXPLODED * limit and not self.warned:
            self.warned = True
            self.say(f"      warning: gradient norm {norm:.0f} before clipping to {limit} at step {step}")


class EvaluateAtTheEnd(TrainerCallback):
    """The last step is evaluated and saved even where it is no multiple of eval_steps: it may be the best."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True
        return control


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once every rank has written its part."""

    def on_save(self, args, state, control, **kwargs) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / COMPLETE).unlink(missing_ok=True)  # of one that was damaged and is written again
            rundir.flush(folder)
            rundir.write_json(folder / COMPLETE, contents(folder))


def contents(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint but its mark."""
    files = [p for p in sorted(checkpoint.rglob("*")) if p.is_file() and not p.name.startswith(COMPLETE)]
    return {p.relative_to(checkpoint).as_posix(): rundir.file_sha256(p) for p in files}


class SaveWhenAsked(TrainerCallback):
    """After a signal: a checkpoint at the end of the step, then Interrupted. Behind MarkComplete.

    Ranks save together or not at all: each tells the others at every step whether it has had a signal, and all hear it
    at the next, when nobody has to wait for the answer any more. The Trainer's own should_training_stop would be read
    from the checkpoint as the end of the training.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._told: tuple[torch.Tensor, Any] | None = None
        self._asked = 0  # the signal's number

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if args.world_size > 1:
            # of its own and on the CPU: asking a GPU would make it wait for the step
            self._group = torch.distributed.new_group(backend="gloo")

    def on_step_end(self, args, state, control, **kwargs):
        self._asked = self._known_to_all() if self._group else signals.pending()
        control.should_save |= bool(self._asked)
        return control

    def on_evaluate(self, args, state, control, **kwargs):
        return self.on_step_end(args, state, control)  # it may have taken minutes, and the step has still to be saved

    def on_save(self, args, state, control, **kwargs) -> None:
        if self._asked:
            signals.share(self._asked)
            if self._group:  # one that left now would be missed, and end the main process before it has set its mark
                torch.distributed.barrier(self._group)
            raise signals.Interrupted

    def _known_to_all(self) -> int:
        number = torch.tensor([signals.pending()], dtype=torch.int32)
        before, most = self._told, torch.distributed.ReduceOp.MAX
        self._told = number, torch.distributed.all_reduce(number, most, self._group, async_op=True)
        if before is None:
            return 0
        before[1].wait()
        return int(before[0])
