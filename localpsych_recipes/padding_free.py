"""A padded batch computed without its padding: the same loss and gradients, for the cost of the real tokens alone.

The rows of a batch run through the model one behind the other, each at its own positions and attending to itself alone,
and what comes out is laid where the padded batch would have had it. Whoever calls the model (TRL's SFT, its DPO, an
evaluation) sees a padded batch.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BY_ROW = "sdpa_by_row"
# which attention of a model serves a batch without padding; eager attention would need one mask over all rows
WITHOUT_PADDING = {"sdpa": BY_ROW, "flash_attention_2": "flash_attention_2"}


def enable(model: PreTrainedModel) -> bool:
    """From now on `model` computes the real tokens of its batches only; for training and scoring, not for generation.

    False, and nothing is changed, where its attention cannot keep rows apart without a mask over all of them.
    """
    config = model.config.get_text_config()
    if config._attn_implementation not in WITHOUT_PADDING:
        return False
    AttentionInterface.register(BY_ROW, attention_by_row)
    config._attn_implementation = WITHOUT_PADDING[config._attn_implementation]
    backbone = model.base_model
    backbone.forward = MethodType(_without_padding(backbone.forward), backbone)
    return True


def enabled(model: PreTrainedModel) -> bool:
    """Whether `enable` has changed this model."""
    return "forward" in vars(model.base_model)


def _without_padding(padded: Callable) -> Callable:
    """A backbone's forward for rows padded on the right: `last_hidden_state` is zero where padding stood."""

    def forward(self: torch.nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs):
        if attention_mask is None:
            return padded(input_ids=input_ids, **kwargs)
        real = attention_mask.bool()
        lengths = real.sum(1).tolist()
        if min(lengths) == real.shape[1]:
            return padded(input_ids=input_ids, **kwargs)
        out = padded(input_ids=input_ids[real][None], **kwargs, **_rows(lengths, input_ids.device))
        found = out.last_hidden_state
        out.last_hidden_state = found.new_zeros(*real.shape, found.shape[-1]).masked_scatter(real[..., None], found)
        return out

    return forward


def _rows(lengths: list[int], device: torch.device) -> dict[str, Any]:
    """Where each row begins, in the words of transformers' attention functions; `row_lengths` is attention_by_row's."""
    position_ids = torch.cat([torch.arange(length, device=device) for length in lengths])[None]
    ends = pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0)).to(device)
    longest = max(lengths)
    return {
        "position_ids": position_ids,
        "row_lengths": tuple(lengths),
        **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), ends),
        **dict.fromkeys(("max_length_q", "max_length_k"), longest),
    }


def attention_by_row(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    row_lengths: tuple[int, ...] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each row with itself: query, key and value are [batch, heads, tokens, head_dim].

    row_lengths: tokens of the rows that stand one behind the other (batch 1); None: every sequence is one row. One call
    of torch's kernel for each row costs the sum of their squares; a mask over all of them would cost the square of the
    sum.
    """
    lengths = list(row_lengths or (query.shape[2],))
    found = [
        sdpa_attention_forward(module, *row, _window(row[0], sliding_window), dropout=dropout, scaling=scaling)[0]
        for row in zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    return torch.cat(found, dim=1), None


def _window(query: torch.Tensor, width: int | None) -> torch.Tensor | None:
    """None for plain causal attention; for a row longer than a sliding window, the mask of what is in it."""
    length = query.shape[2]
    if not width or length <= width:
        return None
    position = torch.arange(length, device=query.device)
    behind = position[:, None] - position
    return ((behind >= 0) & (behind < width))[None, None]
