"""What a model says of each next token as llama-perplexity's own file, so that llama.cpp is compared with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import append_loss
from localpsych_recipes.verification.logits import Logits, blocks

DEPTH = 16.0  # nats below the likeliest token at which probabilities end, and
STEPS = 65535  # in how many steps, in llama.cpp's tools/perplexity/perplexity.cpp


def write(logits: Logits, pieces: np.ndarray, file: Path, vocab: int | None = None) -> None:
    """Writes what `llama-perplexity --kl-divergence-base` reads: exact token ids, special tokens included.

    pieces: those that the logits are of. vocab: how many tokens the GGUF has (`llama_cpp.vocabulary`), where that are
    fewer than the model has logits. Takes 2 x vocab + 8 bytes for each scored token.

    Log-probabilities are rounded to 16 bits between the likeliest token and 16 nats below it: each is off by at most
    1.2e-4, and whatever is less likely counts as 16 nats below, which llama-perplexity leaves out of the KL (at most
    vocab x exp(-16) of the probability: 0.03 for 262,144 tokens). The loss is kept as it is.
    UserError where the text has tokens that the GGUF does not have.
    """
    vocab = min(vocab or logits.vocab, logits.vocab)
    if (highest := max(pieces.max(), logits.targets.max())) >= vocab:
        given = f"token {highest} of the text in a vocabulary of {vocab}"
        raise UserError(given, "a GGUF with the training tokenizer's vocabulary", "convert the merged model again")
    count, context = pieces.shape
    values = logits.values
    surprise = 0.0
    with file.open("wb") as out:
        out.write(b"_logits_" + np.array([context, vocab, count], np.int32).tobytes())
        out.write(np.ascontiguousarray(pieces, np.int32).tobytes())
        for rows in blocks(logits.n, vocab):
            block = values[rows, :vocab]
            sums = _log_sum_exp(block)
            out.write(_packed(block, sums).tobytes())
            surprise += float((sums - block[np.arange(len(block)), logits.targets[rows]]).sum())
    append_loss(file, surprise / logits.n)


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    top = logits.max(1)
    return top + np.log(np.exp(logits - top[:, None], dtype=np.float64).sum(1))


def _packed(logits: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """uint16 [rows, 4 + vocab rounded up to even]: the step and the floor as two floats, then each token's steps."""
    top = logits.max(1, keepdims=True)
    floor = np.maximum(logits.min(1, keepdims=True), top - np.float32(DEPTH))
    step = (top - floor) / np.float32(STEPS)
    packed = np.zeros((len(logits), 4 + logits.shape[1] + logits.shape[1] % 2), np.uint16)
    packed[:, :4] = np.hstack([step, floor - sums[:, None]]).astype(np.float32).view(np.uint16)
    steps = np.divide(logits - floor, step, out=np.zeros_like(logits), where=step > 0)
    packed[:, 4 : 4 + logits.shape[1]] = np.rint(np.clip(steps, 0, STEPS))
    return packed
