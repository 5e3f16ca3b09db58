"""The rows of a Parquet file, in a memory that its few compressed bytes cannot blow up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

BATCH = 64  # rows that are Python objects at once
LARGEST_BATCH = 2**28  # bytes of their values: four megabytes a row, as a column of pictures beside the texts may hold


class TooLarge(Exception):
    """More than a table of texts is; what says why in words."""


def rows(path: Path, most_columns: int) -> Iterator[dict[str, Any]]:
    """One dict a row. TooLarge for too many columns and for rows of more than four megabytes; pyarrow's own exceptions, and
    ValueError and OverflowError for dates that Python does not have."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        if len(file.schema) > most_columns:
            raise TooLarge(f"more than {most_columns:,} columns")
        texts = _texts(file)
    # a text that a million rows share stays one text until its length is known: kilobytes can mean terabytes of it
    with ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            if sum(map(size, batch.columns)) > LARGEST_BATCH:
                raise TooLarge(f"rows of more than {LARGEST_BATCH // BATCH:,} bytes each")
            yield from batch.to_pylist()


def size(array: pa.Array) -> int:
    """Bytes of an array's values, each counted as often as it occurs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary)
        return (pc.sum(lengths.take(array.indices)).as_py() or 0) + array.indices.nbytes
    if pa.types.is_struct(array.type):
        return sum(map(size, array.flatten()))
    if pa.types.is_map(array.type):
        return size(array.keys) + size(array.items)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return size(array.flatten())
    return array.nbytes


def _texts(file: ParquetFile) -> list[str]:
    columns = (file.schema.column(number) for number in range(len(file.schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
