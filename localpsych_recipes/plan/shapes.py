"""What a training step keeps in memory, found by running the model's own code on shapes: no weights, no arithmetic.

The forward and backward pass of transformers and PEFT run on the meta device, where tensors have shapes and no memory,
and the bytes that would be alive are counted at every operation. Of equal layers one is run and the others are counted.
Stand-ins take the place of the kernels that only exist on a GPU, with the memory that these take.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from peft import PeftModel

GROUPED_HEAD_DIM = 256  # transformers/integrations/sdpa_attention.py: use_gqa_in_sdpa
FUSED = (
    "localpsych_fused_attention"  # in transformers' table of attention functions: SDPA's and FlashAttention's memory
)


@dataclass(frozen=True)
class Activations:
    """Bytes. kept: alive when the forward pass ends; working: what one layer needs on top of that, at its worst."""

    kept: int
    working: int
    layers: int


class Live(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, while they are alive."""

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}  # weights count elsewhere

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._born(tensor.untyped_storage())
        return out

    def _born(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._died, storage._cdata)

    def _died(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)


class Shapes:
    """An adapted model on the meta device, ready to be run on batches of any size."""

    def __init__(self, model: PeftModel, frozen: Iterable[nn.Linear], dtype: str, implementation: str) -> None:
        """frozen: the layers that can be quantised; dtype: of the loaded weights; implementation: of attention."""
        # autocast computes the adapter's products in the model's dtype
        self.model, self.base = model.to(getattr(torch, dtype)), model.get_base_model()
        self.quantization = "none"
        self.counts: dict[str, int] = {}  # signature of a layer -> how many equal ones are not run
        self.kept: dict[str, int] = {}
        self.live: Live | None = None
        _use_attention(self.base, implementation)
        self.hidden_size = self.base.config.get_text_config().hidden_size
        self.layers = self.base.get_decoder().layers
        self._run_one_of_each()
        for module in frozen:
            module.forward = _Frozen(self, module)

    def training(self, rows: int, length: int, *, checkpointing: bool, quantization: str, dropout: bool) -> Activations:
        """One step's activations, without the output head."""
        self._prepare(checkpointing, quantization, dropout)
        with self._counted() as live:
            hidden = self._forward(rows, length)
            after = live.now
            hidden.sum().backward()
        more = sum(self.kept[signature] * count for signature, count in self.counts.items())
        self.model.zero_grad(set_to_none=True)
        return Activations(after + more, live.peak - after, len(self.layers))

    def forward(self, rows: int, length: int, *, quantization: str) -> int:
        """Peak bytes of a forward pass without gradients, as in an evaluation."""
        self._prepare(False, quantization, False)
        with self._counted() as live, torch.no_grad():
            self._forward(rows, length)
        return live.peak

    def _prepare(self, checkpointing: bool, quantization: str, dropout: bool) -> None:
        self.quantization = quantization
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.train(dropout)
        self.base.disable_input_require_grads()
        if checkpointing:
            self.base.gradient_checkpointing_enable({"use_reentrant": False})
            self.base.enable_input_require_grads()  # TRL does so with checkpointing alone
        else:
            self.base.gradient_checkpointing_disable()

    @contextmanager
    def _counted(self) -> Iterator[Live]:
        self.live = Live([*self.model.parameters(), *self.model.buffers()])
        with self.live:
            yield self.live

    def _forward(self, rows: int, length: int) -> torch.Tensor:
        ids = torch.zeros(rows, length, dtype=torch.long, device="meta")
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
        if self.base.config.model_type == "gemma3":
            inputs["token_type_ids"] = torch.zeros_like(ids)
        return self.base.base_model(**inputs).last_hidden_state

    def _run_one_of_each(self) -> None:
        for layer in self.layers:
            signature = _signature(layer)
            if signature in self.counts:
                self.counts[signature] += 1
                layer.forward = _passed_by
            else:
                self.counts[signature] = 0
                layer.forward = _Measured(self, layer, signature)


class _Measured:
    """A layer's forward that notes what it leaves alive."""

    def __init__(self, shapes: Shapes, layer: nn.Module, signature: str) -> None:
        self.shapes, self.signature, self.run = shapes, signature, layer.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = self.shapes.live.now
        out = self.run(*args, **kwargs)
        self.shapes.kept[self.signature] = self.shapes.live.now - before
        return out


def _passed_by(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return hidden_states


def _signature(layer: nn.Module) -> str:
    """Equal for layers that compute alike: the same modules, sizes and switches; only their number differs."""
    switches = [
        (name, key, value)
        for name, module in layer.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, bool | int | str) and key not in ("layer_idx", "layer_index", "training")
    ]
    return re.sub(r"0x[0-9a-f]+", "", f"{layer}{switches}")


class _Frozen:
    """A frozen linear layer's forward, as bitsandbytes computes it."""

    def __init__(self, shapes: Shapes, module: nn.Linear) -> None:
        self.shapes, self.module = shapes, module

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        kind, module = self.shapes.quantization, self.module
        if kind == "none":
            return nn.functional.linear(x, module.weight, module.bias)
        return _Dequantized.apply(x, module.weight, kind == "int8")


class _Dequantized(torch.autograd.Function):
    """bitsandbytes' products (MatMul4Bit, MatMul8bitLt): the weight in 16 bit, made for each product and dropped.

    LLM.int8() keeps its input for the backward pass, and a byte of it for each number while it multiplies.
    """

    @staticmethod
    def forward(ctx, x, weight, keeps_input):
        ctx.weight, ctx.x = weight, x if keeps_input else None
        wide = torch.empty_like(x, dtype=torch.int8) if keeps_input else torch.empty_like(weight)
        out = x.new_empty(*x.shape[:-1], weight.shape[0])
        del wide
        return out

    @staticmethod
    def backward(ctx, grad):
        wide = torch.empty_like(ctx.weight)
        out = grad.new_empty(*grad.shape[:-1], ctx.weight.shape[1])
        del wide
        ctx.x = None
        return out, None, None


class _Fused(torch.autograd.Function):
    """FlashAttention and SDPA's fused kernels: kept are q, k, v, the output and one fp32 a head and token."""

    @staticmethod
    def forward(ctx, q, k, v):
        batch, heads, length, _ = (
            q.shape
        )  # the kernels write (batch, length, heads, dimension), as the next layer wants it
        out = q.new_empty(batch, length, heads, v.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(q, k, v, out, torch.empty(q.shape[:-1], dtype=torch.float32, device=q.device))
        return out

    @staticmethod
    def backward(ctx, grad):
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _fused(module, query, key, value, attention_mask=None, **kwargs):
    """Keys and values as transformers hands them to SDPA: repeated to the queries' heads where it cannot group them."""
    from transformers.integrations.sdpa_attention import repeat_kv

    padded = query.shape[0] > 1  # several rows need a mask, and with a mask or wide heads there are no groups
    if padded or query.shape[-1] > GROUPED_HEAD_DIM:
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return _Fused.apply(query, key, value).transpose(1, 2).contiguous(), None


def _use_attention(base: nn.Module, implementation: str) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(FUSED, _fused)
    base.config.get_text_config()._attn_implementation = "eager" if implementation == "eager" else FUSED
