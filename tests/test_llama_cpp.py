"""llama.cpp's tools, found and used for real, on a random Llama of two layers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import QUANTS, LlamaCpp, ToolError, bits_per_weight, fallbacks, tensor_types, tools
from localpsych_recipes.llama_cpp.quants import TYPES

CARD = {"license": "gemma", "base_model": "google/gemma-4-E4B-it", "datasets": ["someone/rows"], "language": ["en"]}
TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("wide"), width=256)


@pytest.fixture(scope="module")
def gguf(llama: LlamaCpp, model: Path) -> Path:
    return llama.convert(model, model / "gguf" / "tiny.gguf", outtype="auto", name="Tiny Friend", metadata=CARD)


@pytest.fixture(scope="module")
def narrow_gguf(llama: LlamaCpp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_llama(tmp_path_factory.mktemp("narrow"), width=128)
    return llama.convert(folder, folder / "narrow.gguf", outtype="bf16", name="Narrow")


@pytest.fixture(scope="module")
def imatrix(llama: LlamaCpp, gguf: Path) -> Path:
    text, out = gguf.with_name("text.txt"), gguf.with_name("imatrix.gguf")
    text.write_text("a quiet evening by the sea " * 60)
    # bare names and a working directory: the tool writes the names into the matrix, and so into each quant
    command = [llama.paths["llama-imatrix"], "-m", gguf.name, "-f", text.name, "-o", out.name, "-c", "64", "-t", "2"]
    subprocess.run(command, cwd=gguf.parent, check=True, capture_output=True)
    return out


def tiny_llama(folder: Path, *, width: int) -> Path:
    """A random Llama of that width with a tokenizer of Llama's kind: BPE with byte fallback and ▁ for the space."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    tiny_models.build("llama", folder, hidden_size=width, intermediate_size=width)
    letters = "abcdefghijklmnopqrstuvwxyz"
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    tokens = [*special.values(), *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters]
    merges = [(a, b) for a in "▁" + letters for b in letters][: tiny_models.DENSE["vocab_size"] - len(tokens)]
    vocabulary = {token: i for i, token in enumerate([*tokens, *map("".join, merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE, **special).save_pretrained(folder)
    return folder


def linked(folder: Path, files: Iterable[Path]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).symlink_to(file)
    return folder


def header(gguf: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(gguf).fields.items()}


def request(url: str, body: dict[str, Any] | None = None, key: str | None = None) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return json.load(answer)


def ask(url: str, text: str, key: str | None = None) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return request(f"{url}/v1/chat/completions", {"messages": messages, "max_tokens": 8, "temperature": 0}, key)


def until(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true; a minute is far more than any of them needs."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


# Where the tools are


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No LLAMA_CPP_HOME, and an empty cache."""
    monkeypatch.delenv("LLAMA_CPP_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("layout", [".", "bin", "build/bin"])
def test_a_named_home_is_used_in_each_of_its_layouts(llama, layout, monkeypatch, tmp_path):
    scripts = [path for name, path in llama.paths.items() if name.endswith(".py")]
    binaries = [path for name, path in llama.paths.items() if not name.endswith(".py")]
    linked(tmp_path / "home", scripts)
    linked(tmp_path / "home" / layout, binaries)
    monkeypatch.setenv("LLAMA_CPP_HOME", str(tmp_path / "home"))
    found = tools()
    assert (found.origin, found.version) == ("LLAMA_CPP_HOME", llama.version)
    assert {path.resolve() for path in found.paths.values()} == {path.resolve() for path in llama.paths.values()}


def test_a_named_home_that_lacks_a_tool_is_refused_by_name(llama, monkeypatch, tmp_path):
    linked(tmp_path / "home", [path for name, path in llama.paths.items() if name != "llama-imatrix"])
    monkeypatch.setenv("LLAMA_CPP_HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match="without llama-imatrix\n"):
        tools()


def test_tools_on_the_path_are_used_and_nothing_is_fetched(llama, no_home, clean_path):
    linked(clean_path, llama.paths.values())
    said = []
    assert tools(said.append).origin == "the PATH"
    assert not said and not no_home.exists()


def test_scripts_that_are_not_on_the_path_come_from_the_source(llama, no_home, clean_path):
    from localpsych_recipes.llama_cpp import build

    linked(clean_path, [path for name, path in llama.paths.items() if not name.endswith(".py")])
    linked(build.place(binaries=False), [path for name, path in llama.paths.items() if name.endswith(".py")])
    found = tools()
    assert found.paths["convert_hf_to_gguf.py"].parent == build.place(binaries=False)
    assert found.paths["llama-server"].parent == clean_path


def test_an_incomplete_path_is_passed_over_for_the_cache(llama, no_home, clean_path):
    from localpsych_recipes.llama_cpp import build

    linked(clean_path, [llama.paths["llama-server"]])
    linked(build.place(binaries=True), llama.paths.values())
    found = tools()
    assert found.origin == "the user's cache" and clean_path not in {path.parent for path in found.paths.values()}


def test_a_server_that_does_not_start_is_said_to(llama, no_home, clean_path):
    linked(clean_path, [path for name, path in llama.paths.items() if name != "llama-server"])
    (clean_path / "llama-server").write_text("#!/bin/sh\necho libfoo.so.1: cannot open >&2; exit 127\n")
    (clean_path / "llama-server").chmod(0o755)
    with pytest.raises(UserError, match="does not start: libfoo.so.1: cannot open"):
        tools()


# Conversion


def test_a_conversion_carries_name_licence_origin_and_chat_template(gguf):
    fields = header(gguf)
    assert fields["general.name"] == "Tiny Friend"
    assert fields["general.license"] == "gemma"
    assert fields["general.base_model.0.repo_url"].endswith("/google/gemma-4-E4B-it")
    assert fields["general.dataset.0.repo_url"].endswith("/someone/rows")
    assert fields["tokenizer.chat_template"] == TEMPLATE
    assert set(tensor_types(gguf).values()) == {"BF16", "F32"}


def test_what_is_converted_depends_on_the_model_and_not_on_where_it_lies(llama, model, gguf, tmp_path):
    elsewhere = linked(tmp_path / "another-name-7B", filter(Path.is_file, model.iterdir()))
    (elsewhere / "README.md").write_text("---\nlicense: mit\nauthor: nobody\n---\n")
    again = llama.convert(elsewhere, tmp_path / "again.gguf", outtype="auto", name="Tiny Friend", metadata=CARD)
    assert again.read_bytes() == gguf.read_bytes()
    assert str(tmp_path.parent).encode() not in gguf.read_bytes()


def test_an_adapter_becomes_a_lora_gguf_and_changes_what_is_answered(llama, model, gguf, tmp_path):
    adapter = tiny_models.adapter(model, tmp_path / "adapter", targets=["q_proj", "v_proj"], lora_alpha=64)
    lora = llama.convert_lora(model, adapter, tmp_path / "lora.gguf", outtype="f32", name="Tiny Voice", metadata=CARD)
    fields = header(lora)
    assert (fields["general.type"], fields["general.name"]) == ("adapter", "Tiny Voice")
    assert (fields["general.license"], fields["adapter.lora.alpha"]) == ("gemma", 64)
    assert len(tensor_types(lora)) == 2 * 2 * 2  # layers, targets, A and B
    with llama.serve(gguf, ctx=128) as plain, llama.serve(gguf, lora=lora, ctx=128) as adapted:
        assert plain.url != adapted.url
        assert ask(plain.url, "hello")["choices"] != ask(adapted.url, "hello")["choices"]


# Quants


def test_the_quants_are_those_that_llama_quantize_lists(llama):
    usage = subprocess.run([llama.paths["llama-quantize"], "--help"], capture_output=True, text=True)
    listed = re.findall(r"^\s+\d+  or  (\w+)\s+:(?! alias)", usage.stdout + usage.stderr, re.MULTILINE)
    assert sorted(listed) == sorted([*QUANTS, "Q2_0"])


# without those of about one and two bits that no recipe may ask for: their grids take up to ten CPU seconds each
@pytest.mark.parametrize("quant", [quant for quant in QUANTS if not re.match("IQ1_|IQ2_X", quant)])
def test_a_model_of_width_256_holds_the_types_of_each_quant_and_no_others(llama, gguf, imatrix, quant, tmp_path):
    out = tmp_path / f"{quant}.gguf"
    assert llama.quantize(gguf, out, quant, imatrix=imatrix) == []
    assert fallbacks(out, quant) == {}
    assert os.listdir(tmp_path) == [out.name]
    assert str(imatrix.parent).encode() not in out.read_bytes()


def test_falling_back_is_seen_even_where_llama_quantize_is_silent(llama, narrow_gguf, tmp_path):
    out = tmp_path / "narrow-Q4_K_M.gguf"
    warned = {line.split()[1] for line in llama.quantize(narrow_gguf, out, "Q4_K_M")}
    changed = fallbacks(out, "Q4_K_M").keys()
    assert changed == {name for name in tensor_types(out) if "norm" not in name}
    assert changed - warned == {"output.weight"}


@pytest.mark.parametrize("quant", [quant for quant in QUANTS if re.match(r"Q\d_K", quant)])
def test_every_k_quant_of_width_128_is_refused(llama, narrow_gguf, quant, tmp_path):
    llama.quantize(narrow_gguf, tmp_path / "narrow.gguf", quant)
    assert "token_embd.weight" in fallbacks(tmp_path / "narrow.gguf", quant)


def test_no_quant_may_hold_what_its_own_types_fall_back_to():
    replaced = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "IQ4_XS": "IQ4_NL"}
    replaced |= dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), "IQ4_NL")
    replaced |= dict.fromkeys(("TQ1_0", "TQ2_0"), "Q4_0")
    assert not [(quant, kind) for quant, kinds in TYPES.items() for kind in kinds if replaced.get(kind) in kinds]


def test_a_tool_that_fails_ends_in_one_message_with_its_last_lines_and_leaves_no_file(llama, tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing else")
    with pytest.raises(ToolError, match=r"llama-quantize ended with status 1: [^\0]*failed to quantize"):
        llama.quantize(tmp_path / "broken.gguf", tmp_path / "out" / "x.gguf", "Q8_0")
    assert not list((tmp_path / "out").iterdir())


def test_a_quant_that_does_not_exist_is_refused_with_those_that_do(llama, gguf, tmp_path):
    with pytest.raises(UserError, match="quant Q4_KM\n.*Q4_K_M"):
        llama.quantize(gguf, tmp_path / "x.gguf", "Q4_KM")


# Serving


def test_a_server_answers_within_its_block_and_writes_no_prompt_to_its_log(llama, gguf, tmp_path):
    with llama.serve(gguf, ctx=256, slots=2, api_key="a-key", log=tmp_path / "server.log") as server:
        answer = ask(server.url, "heartache", key="a-key")
        assert 1 <= answer["usage"]["completion_tokens"] <= 8
        properties = request(f"{server.url}/props", key="a-key")
        assert properties["total_slots"] == 2 and properties["default_generation_settings"]["n_ctx"] == 256
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(server.url, "heartache")
    with pytest.raises(urllib.error.URLError):
        request(f"{server.url}/health")
    assert "heartache" not in server.log.read_text()


def test_a_file_that_is_no_model_ends_in_one_message(llama, tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing else")
    with pytest.raises(UserError, match="llama-server ended with status"), llama.serve(tmp_path / "broken.gguf"):
        pass


@pytest.mark.parametrize("write", ["convert", "quantize", "reference", "imatrix"])
def test_a_disk_that_fills_up_while_a_tool_writes_is_told_as_that(llama, model, gguf, tmp_path, write):
    """Linux's /dev/full, which no byte can be written to, stands where the tool writes."""
    text, out = tmp_path / "text.txt", tmp_path / "out"
    text.write_text("a quiet evening by the sea " * 60)
    out.with_name("out.partial").symlink_to("/dev/full")
    calls = {
        "convert": lambda: llama.convert(model, out, outtype="auto", name="Tiny"),
        "quantize": lambda: llama.quantize(gguf, out, "Q8_0"),
        "reference": lambda: llama.reference(gguf, text, out, context=64, chunks=2),
        "imatrix": lambda: llama.imatrix(gguf, text, out, context=64),
    }
    with pytest.raises(OSError, match="No space left on device"):
        calls[write]()
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_server_does_not_outlive_a_parent_that_is_killed(llama, gguf):
    program = (
        "import sys, time; from pathlib import Path; from localpsych_recipes.llama_cpp import tools\n"
        "with tools().serve(Path(sys.argv[1]), ctx=64) as server: print(server.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, gguf], stdout=subprocess.PIPE, text=True)
    server = Path("/proc") / parent.stdout.readline().strip()
    assert server.exists()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert until(lambda: not (server / "exe").exists())


def test_a_q8_0_tensor_has_eight_and_a_half_bits_per_weight(tmp_path) -> None:
    """ggml-common.h, block_q8_0: 32 weights of 8 bits and one 16-bit scale; beside as many in 16 bits."""
    import numpy
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    weights, writer = numpy.ones((4, 32), numpy.float32), GGUFWriter(tmp_path / "a.gguf", "llama")
    q8_0 = GGMLQuantizationType.Q8_0
    writer.add_tensor("a.weight", quantize(weights, q8_0), raw_dtype=q8_0)
    writer.add_tensor("b.weight", weights.astype(numpy.float16))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    assert bits_per_weight(tmp_path / "a.gguf") == (8.5 + 16) / 2
