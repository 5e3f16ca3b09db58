"""The quick reader of GGUFs says what the gguf package's own says, of files with every kind of array in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from localpsych_recipes import llama_cpp
from localpsych_recipes.llama_cpp.reader import Reader, items

LONG = 5_000


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_token_list([f"token {n} ä" * (n % 3) for n in range(LONG)])  # empty ones too
    writer.add_token_scores([n / 7 for n in range(LONG)])
    writer.add_token_types([n % 5 for n in range(LONG)])
    writer.add_array("llama.attention.head_count", [4, 2, 4])
    writer.add_array("general.tags", ["calm", "kind"])
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("blk.0.weight", np.arange(512, dtype=np.float32).reshape(16, 32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def digests(reader: GGUFReader) -> dict[str, str]:
    return {
        name: hashlib.sha256(b"".join(part.tobytes() for part in field.parts)).hexdigest()
        for name, field in reader.fields.items()
    }


def test_every_field_and_tensor_is_the_same_bytes(gguf):
    quick, slow = Reader(gguf), GGUFReader(gguf)
    assert digests(quick) == digests(slow) and len(slow.fields) > 9
    assert [(t.name, t.data.tobytes()) for t in quick.tensors] == [(t.name, t.data.tobytes()) for t in slow.tensors]


def test_short_arrays_and_single_values_read_the_same(gguf):
    quick, slow = Reader(gguf), GGUFReader(gguf)
    short = [name for name in slow.fields if not name.startswith("tokenizer.ggml.to") and "score" not in name]
    assert {name: quick.fields[name].contents() for name in short} == {n: slow.fields[n].contents() for n in short}
    assert "llama.attention.head_count" in short and "general.tags" in short and "tokenizer.chat_template" in short


def test_the_length_of_a_vocabulary_is_known(gguf):
    assert llama_cpp.vocabulary(gguf) == LONG == items(Reader(gguf).fields["tokenizer.ggml.scores"])
    assert items(Reader(gguf).fields["general.tags"]) == 2


@pytest.mark.parametrize("size", [200, 40_000, 90_000])
def test_a_file_that_ends_inside_its_vocabulary_is_no_gguf(gguf, tmp_path, size):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:size])
    with pytest.raises((ValueError, IndexError)):
        Reader(cut)
