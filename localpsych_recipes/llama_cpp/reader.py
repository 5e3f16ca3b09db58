"""The gguf package's reader without what makes it slow: a vocabulary is one piece of bytes here."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType, ReaderField

COUNTED = struct.Struct("<IQ")  # of an array: the type of its items, and how many follow
LENGTH = struct.Struct("<Q")  # of a string
FEW = 1_024  # items: what is told of each layer stays as it is, what is told of each token is more


class Reader(GGUFReader):
    """GGUFReader, whose long arrays are not taken apart: `parts` of such a field ends in their bytes, `data` is empty.

    The original makes two numpy arrays of each token, seconds for a large vocabulary, each time a file is opened
    (benchmarks/quants.py). Everything else, tensors too, is as there. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type == GGUFValueType.ARRAY and self.byte_order != "S":
            try:
                kind, count = COUNTED.unpack_from(self.data, orig_offs)
                if count > FEW:
                    return self._whole(GGUFValueType(kind), count, orig_offs)
            except struct.error:
                raise ValueError("the file ends inside an array") from None
        return super()._get_field_parts(orig_offs, raw_type)

    def _whole(self, kind: GGUFValueType, count: int, offset: int) -> tuple[int, list[Any], list[int], list]:
        start = offset + COUNTED.size
        end = self._end_of_items(kind, count, start)
        parts = [
            self._get(offset, np.uint32),
            self._get(offset + 4, np.uint64),
            self._get(start, np.uint8, end - start),
        ]
        return end - offset, parts, [], [GGUFValueType.ARRAY, kind]

    def _end_of_items(self, kind: GGUFValueType, count: int, start: int) -> int:
        if kind in self.gguf_scalar_to_np:
            return start + count * np.dtype(self.gguf_scalar_to_np[kind]).itemsize
        if kind != GGUFValueType.STRING:
            raise ValueError(f"an array of {kind.name}, which no GGUF of a model has")
        read, data = LENGTH.unpack_from, memoryview(self.data)
        for _ in range(count):
            start += LENGTH.size + read(data, start)[0]
        return start


def items(field: ReaderField) -> int:
    """How many items a field's array has."""
    return len(field.data) or int(field.parts[-2][0])
