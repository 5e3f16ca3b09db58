"""How far apart two models are, token by token under teacher forcing."""

from __future__ import annotations

import math

import numpy as np

from localpsych_recipes.llama_cpp import Divergence
from localpsych_recipes.verification.logits import Logits, blocks

__all__ = ["Divergence", "between"]


def between(one: Logits, other: Logits) -> Divergence:
    """KL(one || other), top-1 agreement and the rest, over the tokens that both have scored; float64, streamed.

    Where one vocabulary is wider (an embedding padded to a round height), the tokens that only it has are left out,
    and the probabilities of the others sum to 1 without them. The 99.9th percentile interpolates linearly between
    tokens, as llama-perplexity's does. ValueError where they have not scored the same tokens.
    """
    if not one.n or not np.array_equal(one.targets, other.targets):
        raise ValueError("logits of different tokens")
    vocab, ones, others = min(one.vocab, other.vocab), one.values, other.values
    parts = [_compared(ones[rows, :vocab], others[rows, :vocab], one.targets[rows]) for rows in blocks(one.n, vocab)]
    kl, same, loss, other_loss, largest, mean = map(np.concatenate, zip(*parts, strict=True))
    return Divergence(
        n=one.n,
        kl=float(kl.mean()),
        kl_999=float(np.quantile(kl, 0.999)),
        kl_max=float(kl.max()),
        top1=float(same.mean()),
        loss_from=float(loss.mean()),
        loss_to=float(other_loss.mean()),
        perplexity_ratio=math.exp(other_loss.mean() - loss.mean()),
        logit_max=float(largest.max()),
        logit_mean=float(mean.mean()),
    )


def _compared(ones: np.ndarray, others: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each row: KL, whether the likeliest token is the same, both losses, largest and mean difference of logits."""
    logs, other_logs = _log_softmax(ones), _log_softmax(others)
    kl = (np.exp(logs) * (logs - other_logs)).sum(1)
    same = ones.argmax(1) == others.argmax(1)
    at = np.arange(len(targets)), targets
    apart = np.abs(ones.astype(np.float64) - others)
    return kl, same, -logs[at], -other_logs[at], apart.max(1), apart.mean(1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    import torch

    return torch.from_numpy(logits.astype(np.float64)).log_softmax(1).numpy()
