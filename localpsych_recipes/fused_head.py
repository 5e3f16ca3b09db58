"""TRL's fused language-model head on a CPU: the same numbers from the positions that carry loss, in tiles that fit a cache.

TRL never makes whole logits ([tokens, 262144] for Gemma), but tiles of them. With Triton it projects the positions that
carry loss alone; without it every position, prompts and padding too, in tiles of up to 4,096 x 32,768 numbers, which on a
CPU come from memory that the system has to clear for each of some ten passes over them.
"""

from __future__ import annotations

import torch

TILE_VOCABULARY = 4096  # entries: with some hundred positions a few megabytes; benchmarks/training.py shows the gain


def fit_to_cpu() -> None:
    """For every model of this process; nothing is changed where there is an accelerator."""
    from trl.trainer import utils

    if torch.accelerator.is_available():
        return
    # asked for one thing only there: whether positions without loss are left out of the projection
    utils._use_triton = lambda device: True
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = TILE_VOCABULARY
