"""What a machine runs out of or refuses, whichever library noticed it, as one message that says what to do."""

from __future__ import annotations

import errno

from localpsych_recipes.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# what libraries say in errors of no class of their own: PyTorch (CPU, CUDA, ROCm, XPU), C++, fork(2), threads, oneDNN
NO_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "std::bad_alloc",
    "Cannot allocate memory",
    "start new thread",
    "could not create a primitive",
)
# safetensors; torch.save, whose writer says no more than that it failed
NO_ROOM = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed", "inline_container.cc")
DO_AGAIN = "then run the same command again: it goes on from here"


def explained(error: BaseException) -> UserError | None:
    """What to tell the user; None for an error that is none of the machine's."""
    told = _explained(error)
    return told or (explained(error.__cause__) if error.__cause__ else None)


def _explained(error: BaseException) -> UserError | None:
    number, said = getattr(error, "errno", None), str(error)
    name, foreign = type(error).__name__, isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
    if number in FULL or (foreign and any(words in said for words in NO_ROOM)):
        return _full(getattr(error, "filename", None))
    if isinstance(error, MemoryError) or number == errno.ENOMEM or (foreign and any(w in said for w in NO_MEMORY)):
        return _no_memory("OutOfMemoryError" in name)
    if isinstance(error, OSError) and number in REFUSED and error.filename:
        return _refused(error)
    if name == "SafetensorError":
        return UserError(
            f"damaged weights: {said.splitlines()[0]}",
            "whole safetensors files",
            f"fetch or make them again, {DO_AGAIN}",
        )
    return None


def _full(file: str | None) -> UserError:
    return UserError(
        f"no space left on the disk{f' of {file}' if file else ''}",
        "room for what `localpsych plan RECIPE` adds up",
        "make room, then run the same command again: it goes on from here",
    )


def _no_memory(device: bool) -> UserError:
    return UserError(
        f"memory ran out{' on the GPU' if device else ''}",
        "memory for what `localpsych plan RECIPE` adds up, beside whatever else runs here",
        "lower per_device_train_batch_size or max_length, quantize the base, or end other programs, " + DO_AGAIN,
    )


def _refused(error: OSError) -> UserError:
    return UserError(
        f"{error.filename}: {error.strerror}",
        "files and folders that can be read and written",
        f"change whose it is or how it is mounted, {DO_AGAIN}",
    )
