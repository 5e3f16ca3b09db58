"""An optimiser step's rows in as few passes through the model as its memory allows; the step itself is the recipe's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import DistributedType
from trl import SFTConfig, SFTTrainer


class FewPasses(SFTTrainer):
    """TRL's trainer on batches of a whole step's rows, each divided into parts of at most `most_tokens` real tokens.

    A recipe's micro-batch of B rows must fit into memory with B rows of the longest length. Most rows are shorter, so
    that more of them fit into the same memory once no padding is computed. The loss is a sum over the step's tokens
    divided by their number, however they are divided.
    """

    most_tokens = 0  # 0: batches stay as they are

    def floating_point_ops(self, inputs: dict[str, Any]) -> float:
        """Of real tokens, where no others are computed."""
        found = super().floating_point_ops(inputs)
        return found * inputs["attention_mask"].float().mean().item() if self.most_tokens else found

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        if not self.most_tokens or num_items_in_batch is None:
            return super().training_step(model, inputs, num_items_in_batch)
        losses = [super(FewPasses, self).training_step(model, p, num_items_in_batch) for p in self._parts(inputs)]
        return torch.stack(losses).sum()

    def _parts(self, inputs: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
        lengths = inputs["attention_mask"].sum(1).tolist()
        for rows in together(lengths, self.most_tokens):
            longest = max(lengths[row] for row in rows)
            yield {name: padded[rows, :longest] for name, padded in inputs.items()}


def together(lengths: list[int], most: int) -> list[list[int]]:
    """Numbers of the rows that share a pass: lengths sum up to at most `most`, but for a longer row, which is alone.

    Rows of like length share one: what leaves the last layer is laid out with padding once more, in at most twice the
    room of `most` tokens.
    """
    found: list[list[int]] = []
    taken = most
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[row]
        if taken + length > most or (len(found[-1]) + 1) * length > 2 * most:
            found.append([])
            taken = 0
        found[-1].append(row)
        taken += length
    return found


def whole_steps(config: SFTConfig) -> int:
    """Makes a step's rows one batch of the loader, where that changes no step; rows of the recipe's own batch, else 0.

    Several ranks share each batch out among themselves and must pass through the model equally often; of an epoch's last
    rows `dataloader_drop_last` would leave out more.
    """
    several = config.distributed_state.distributed_type is not DistributedType.NO
    if several or config.dataloader_drop_last or config.auto_find_batch_size:
        return 0
    rows = config.per_device_train_batch_size
    config.per_device_train_batch_size *= config.gradient_accumulation_steps
    config.gradient_accumulation_steps = 1
    return rows
