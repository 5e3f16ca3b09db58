"""Bases, adapters, checkpoints and templates of strangers: refused in one message, and none of their code runs."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest
import tiny_models
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from localpsych_recipes import chat_templates, models, training
from localpsych_recipes.errors import UserError
from localpsych_recipes.merging import merge_adapter
from localpsych_recipes.merging.adapter import read_adapter
from localpsych_recipes.merging.names import names_of
from localpsych_recipes.merging.shards import INDEX, SINGLE, read_header, weight_files
from localpsych_recipes.recipe import Base


class Runs:
    """Unpickled, it leaves a file behind."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


def written(path: Path, header: object, content: bytes = bytes(64)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


def entry(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


HEADERS = {
    "no mapping": [1],
    "no JSON": b"{",
    "brackets": b"[" * 100_000,
    "no offsets": {"a": {"dtype": "F32", "shape": [16]}},
    "an overlap": {"a": entry(0, 64, [16]), "b": entry(32, 64, [8])},
    "a gap": {"a": entry(0, 16, [4]), "b": entry(32, 64, [8])},
    "a name twice": b'{"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}, "a": '
    b'{"dtype": "F32", "shape": [8], "data_offsets": [32, 64]}}',
    "more than there is": {"a": entry(0, 64, [1 << 40])},
    "a negative offset": {"a": entry(-64, 64, [32])},
    "a negative shape": {"a": entry(0, 64, [-4, -4])},
    "a type of another size": {"a": entry(0, 64, [16], "BF16")},
    "texts for numbers": {"a": {"dtype": "F32", "shape": ["16"], "data_offsets": ["0", "64"]}},
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_lies_is_no_safetensors_file(tmp_path, header) -> None:
    with pytest.raises(UserError, match="not a whole safetensors file"):
        read_header(written(tmp_path / "a.safetensors", HEADERS[header]))


def test_a_header_may_not_be_longer_than_the_format_allows(tmp_path) -> None:
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(1 << 30)  # a hole, which costs no disk
    with pytest.raises(UserError, match="not a whole"):
        read_header(tmp_path / "a.safetensors")


@given(header=st.binary(max_size=80) | st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.integers(), st.fixed_dictionaries(
    {"dtype": st.sampled_from(("F32", "BF16", "X")), "shape": st.lists(st.integers(-2, 9), max_size=2),
     "data_offsets": st.lists(st.integers(-1, 65), max_size=3)})), max_size=2))  # fmt: skip
@example(header={"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 64, 3]}})
def test_any_header_is_read_as_the_format_has_it_or_refused(tmp_path_factory, header) -> None:
    path = written(tmp_path_factory.getbasetemp() / "any.safetensors", header)
    try:
        tensors = read_header(path)
    except UserError:
        return
    assert sum(tensor.stop - tensor.start for tensor in tensors.values()) == 64
    assert tensors.keys() == (
        load_file(path).keys() if {t.dtype for t in tensors.values()} <= {"F32", "BF16"} else tensors.keys()
    )


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/etc/passwd", "a.bin", 3, None])
def test_an_index_names_shards_beside_it_alone(tmp_path, shard) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UserError, match="no index of shards"):
        weight_files(tmp_path)


@pytest.fixture
def base(tmp_path) -> Path:
    return tiny_models.build("qwen3", tmp_path / "base")


def test_a_base_with_code_of_its_own_runs_none_and_asks_nobody(base, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail("asked whether to run code"))
    (base / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((base / "config.json").read_text())
    config["auto_map"] = {name: "evil.Evil" for name in ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")}
    for known in (config["model_type"], "evil"):
        (base / "config.json").write_text(json.dumps(config | {"model_type": known}))
        for load in (
            lambda: names_of(base, []),
            lambda: models.load_base(Base(model=str(base), quantization="none"), base),
        ):
            try:
                load()
            except (ValueError, UserError):
                pass
    assert not (tmp_path / "ran").exists()


def test_weights_in_pickles_are_never_loaded(base, tmp_path) -> None:
    (base / SINGLE).unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(UserError, match="neither"):
        weight_files(base)
    with pytest.raises((OSError, UserError)):
        models.load_base(Base(model=str(base), quantization="none"), base)
    tiny = tmp_path / "adapter"
    tiny.mkdir()
    (tiny / "adapter_config.json").write_text("{}")
    (tiny / "adapter_model.bin").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(UserError, match="safetensors"):
        read_adapter(tiny)
    assert not (tmp_path / "ran").exists()


def test_a_link_out_of_a_base_is_not_followed_into_the_release(base, tmp_path) -> None:
    tiny_models.adapter(base, tmp_path / "adapter", targets=["q_proj"])
    (tmp_path / "secret").write_text("canary")
    (base / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="a link out of the base"):
        merge_adapter(base, tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("linked", ["checkpoint", "folder"])
def test_a_checkpoint_that_lies_elsewhere_is_not_gone_on_from(tmp_path, linked) -> None:
    run, folder = tmp_path / "run", tmp_path / "run" / "sft" / "checkpoints-abc"
    for place in (folder / "checkpoint-1", tmp_path / "theirs" / "checkpoint-2"):
        place.mkdir(parents=True)
        (place / training.COMPLETE).write_text("{}")
    assert training.last_complete(folder) == folder / "checkpoint-1"
    if linked == "checkpoint":
        (folder / "checkpoint-2").symlink_to(tmp_path / "theirs" / "checkpoint-2")
        assert training.last_complete(folder) == folder / "checkpoint-1"
    else:
        (run / "sft" / "checkpoints-def").symlink_to(tmp_path / "theirs")
        assert training.last_complete(run / "sft" / "checkpoints-def") is None
    (tmp_path / "disk").symlink_to(run)  # where a run lies is its owner's affair
    found = training.last_complete(tmp_path / "disk" / "sft" / "checkpoints-abc")
    assert found and found.name == "checkpoint-1"


ATTACKS = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
    "{% for a in range(10**9) %}x{% endfor %}",
    "{{ raise_exception('no') }}",
    "{{ messages | attr('__class__') }}{{ 1 / 0 }}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{{ messages[7].content }}",
    "{% include '/etc/passwd' %}",
    "{{ undefined.undefined }}",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_chat_template_reaches_nothing_and_ends_in_one_message(attack, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"?": 0}, "?")))
    tokenizer.chat_template = attack + "{{ messages[0].content }}"
    with pytest.raises(UserError, match="chat template"):
        chat_templates.fit(tokenizer, {})
    assert not Path("ran").exists()
