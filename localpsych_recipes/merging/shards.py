"""Safetensors files read and rewritten by plain reads: a mapped page counts as memory used, a read block does not.

The layout (8 bytes of header length, a JSON header, then the tensors' bytes) is that of
https://huggingface.co/docs/safetensors/index#format.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from localpsych_recipes.errors import UserError

FLOAT_TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
IO_BLOCK = 256 << 10  # bytes per read and write: as fast as sendfile; 1 MB and 8 MB took two to four times the CPU time
# bits of an element; of types that the format may get later only that they are there
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64), **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16), "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class StoredTensor:
    """One tensor in a safetensors file; its bytes lie in file[start:stop]."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    def read(self, first: int = 0, last: int | None = None) -> torch.Tensor:
        """Rows first to last (exclusive; None: to the end), in the stored dtype, shape [last - first, ...]."""
        last = self.rows if last is None else last
        row_bytes = (self.stop - self.start) // max(self.rows, 1)
        buffer = bytearray((last - first) * row_bytes)
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.start + first * row_bytes)
            _read_exactly(file, memoryview(buffer))
        shape = (last - first, *self.shape[1:]) if self.shape else ()
        return torch.frombuffer(buffer, dtype=FLOAT_TYPES[self.dtype]).view(shape)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors shards that a model folder's own index names. Raises UserError if there are none."""
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if not (folder / INDEX).exists():
        raise UserError(
            f"{folder} holds neither {SINGLE} nor {INDEX}",
            "a base stored as safetensors",
            "use a revision of the base with safetensors, or load it and save it again with save_pretrained()",
        )
    shards = sorted(set(_index(folder / INDEX).values()))
    missing = [shard for shard in shards if not (folder / shard).exists()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}", f"every shard that {INDEX} names", "download it again")
    return [folder / shard for shard in shards]


def _index(file: Path) -> dict[str, str]:
    """Tensor -> the file beside the index that holds it."""
    try:
        found = dict(json.loads(file.read_text(encoding="utf-8"))["weight_map"])
        beside = all(Path(shard).name == shard and shard.endswith(".safetensors") for shard in found.values())
    except (ValueError, TypeError, LookupError, RecursionError):
        beside = False
    if not beside:
        expected = "a weight_map of tensors and the .safetensors files beside it"
        raise UserError(f"{file} is no index of shards", expected, "download it again")
    return found


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Every tensor of a safetensors file by its name, by position. Raises UserError if the file is cut short."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if 8 + length <= size and length <= LARGEST_HEADER else b"{}"
    try:
        tensors = _tensors(file, text)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise _not_whole(file, size, "a header as the format has it") from None
    if not tensors or tensors[-1].stop != size:
        expected = f"{tensors[-1].stop} bytes" if tensors else "a header and tensors (a Git LFS pointer has neither)"
        raise _not_whole(file, size, expected)
    return {tensor.name: tensor for tensor in tensors}


def _tensors(file: Path, header: bytes) -> list[StoredTensor]:
    """The tensors in the order of their bytes. ValueError and its like unless each has the bytes of its type and shape,
    and these follow each other without gap or overlap from the header's end on."""
    entries, place, tensors = json.loads(header, object_pairs_hook=_once), 8 + len(header), []
    entries.pop("__metadata__", None)
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        (start, stop), shape, dtype = entry["data_offsets"], tuple(entry["shape"]), str(entry["dtype"])
        if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)):
            raise ValueError(name)
        if 8 + len(header) + start != place or (stop - start) * 8 != math.prod(shape) * BITS.get(dtype, 8):
            raise ValueError(name)
        place = 8 + len(header) + stop
        tensors.append(StoredTensor(name, file, dtype, shape, 8 + len(header) + start, place))
    return tensors


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name that stands twice")
    return found


def _not_whole(file: Path, size: int, expected: str) -> UserError:
    return UserError(f"{file} of {size} bytes is not a whole safetensors file", expected, "download it again")


def rewrite(
    tensors: Iterable[StoredTensor],
    source: Path,
    target: Path,
    new_blocks: Mapping[str, Callable[[], Iterator[torch.Tensor]]],
    wrote: Callable[[int], None],
) -> None:
    """Copy the shard `source` to `target` in one sequential pass, with new bytes for the tensors in `new_blocks`.

    tensors: those of the shard, in the order of their bytes. new_blocks: name -> the tensor's new rows, block by block,
    in the stored dtype. wrote: called with the number of bytes of each block written.
    """
    with source.open("rb", buffering=0) as old, target.open("wb", buffering=0) as new:
        position = 0
        for tensor in (tensor for tensor in tensors if tensor.name in new_blocks):
            _copy(old, new, tensor.start - position, wrote)
            for block in new_blocks[tensor.name]():
                _write(new, memoryview(block.contiguous().view(-1).view(torch.uint8).numpy()), wrote)
            position = old.seek(tensor.stop)
        _copy(old, new, os.fstat(old.fileno()).st_size - position, wrote)


def _copy(old: BinaryIO, new: BinaryIO, size: int, wrote: Callable[[int], None]) -> None:
    buffer = memoryview(bytearray(min(size, IO_BLOCK)))
    while size:
        block = buffer[: min(size, IO_BLOCK)]
        _read_exactly(old, block)
        _write(new, block, wrote)
        size -= len(block)


def _read_exactly(file: BinaryIO, buffer: memoryview) -> None:
    """Fill the buffer: one raw read may return less than was asked for (Linux stops at 2 GiB)."""
    filled = 0
    while filled < len(buffer):
        read = file.readinto(buffer[filled:])
        if not read:
            raise EOFError(f"{file.name} ends before its header says it does")
        filled += read


def _write(file: BinaryIO, block: memoryview, wrote: Callable[[int], None]) -> None:
    written = 0
    while written < len(block):
        written += file.write(block[written : written + IO_BLOCK])
    wrote(written)
