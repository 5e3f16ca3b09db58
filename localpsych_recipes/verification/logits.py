"""What a model in this process says of each next token, kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from localpsych_recipes.progress import Progress
from localpsych_recipes.verification.chunks import scored

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

BATCH_BYTES = 256 << 20  # of logits that are computed at once
BATCH_PIECES = 16  # at most, whose activations are in memory beside them
HEAD_ROWS = 1 << 15  # of a head that are in float32 at once
BLOCK_VALUES = 1 << 23  # of logits that are looked at at once


@dataclass(frozen=True)
class Logits:
    """file: float32 [n, vocab], a row for each scored token; targets: int64 [n], the tokens that came."""

    file: Path
    n: int
    vocab: int
    targets: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The rows, mapped: in memory are those that are looked at."""
        return np.memmap(self.file, np.float32, "r", shape=(self.n, self.vocab))


def blocks(n: int, vocab: int) -> Iterator[slice]:
    """Rows to look at at once, so that the memory they take is bounded."""
    rows = max(1, BLOCK_VALUES // vocab)
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def of_model(model: PreTrainedModel, pieces: np.ndarray, file: Path, say: Callable[[str], None]) -> Logits:
    """Teacher forcing over `pieces` (int32 [count, context], at least one) by a model that loads as a causal one.

    pieces: as `chunks.make` gives them. Fewer are computed at once where memory runs out. OSError where the disk is full.
    """
    from accelerate.utils import find_executable_batch_size

    model.eval()
    width = scored(pieces.shape[1]) * model.config.get_text_config().vocab_size * 4  # bytes of one piece's logits
    at_once = max(1, min(BATCH_PIECES, BATCH_BYTES // width, len(pieces)))
    vocab = find_executable_batch_size(_write, starting_batch_size=at_once)(model, pieces, file, say)
    targets = pieces[:, -scored(pieces.shape[1]) :].astype(np.int64).ravel()
    return Logits(file, len(targets), vocab, targets)


def _write(at_once: int, model: PreTrainedModel, pieces: np.ndarray, file: Path, say: Callable[[str], None]) -> int:
    """Fills the file from its beginning; gives the width of a row."""
    progress = Progress(say, "compared on", "pieces")
    # by write(), since a full disk under a memory map is a signal that kills the process, not an error
    with file.open("wb") as out, precise_head(model):
        for start in range(0, len(pieces), at_once):
            rows = _rows(model, pieces[start : start + at_once])
            out.write(rows.float().cpu().numpy().data)
            progress(start + len(rows), len(pieces))
    return rows.shape[-1]


@contextmanager
def precise_head(model: PreTrainedModel) -> Iterator[None]:
    """For the block, the logits of a model in half precision are summed in float32, as llama.cpp sums them.

    bfloat16 keeps 8 bits: logits of 16 to 32 would be multiples of 0.125, and the likeliest token often one of several.
    A head that is quantised or has an adapter stays as it is.
    """
    import torch

    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.weight.dtype == torch.float32:
        yield
        return
    handle = head.register_forward_hook(_in_float32)
    try:
        yield
    finally:
        handle.remove()


def _in_float32(head: torch.nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    import torch

    hidden = inputs[0].float()
    parts = [hidden @ rows.float().T for rows in head.weight.split(HEAD_ROWS)]
    return torch.cat(parts, -1) if head.bias is None else torch.cat(parts, -1) + head.bias.float()


def _rows(model: PreTrainedModel, pieces: np.ndarray) -> torch.Tensor:
    """[pieces, scored, vocab]: what stands at a token is said of the one after it."""
    import torch

    keep = scored(pieces.shape[1]) + 1
    ids = torch.from_numpy(pieces.astype(np.int64)).to(model.device)
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[:, -keep:-1].contiguous()
