"""llama-server, really started: it says what transformers says, and is gone with its block; vLLM's launcher by a stand-in."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from transformers import AutoModelForCausalLM

from localpsych_recipes import conversion
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Answer, Request, Sampling, Writer, slots
from localpsych_recipes.generation.in_process import InProcess
from localpsych_recipes.generation.on_server import ends
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.generation.starting import LlamaCpp, Vllm, context_for
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.llama_cpp import fallbacks
from localpsych_recipes.recipe import Base, Judge, Pairs
from tests import tiny_models
from tests.families import bases
from tests.families.rows import ROWS

GREEDY = Sampling(temperature=0.0, max_tokens=16, seed=0)
HOT = replace(GREEDY, temperature=1.5, min_p=0.05, repetition_penalty=1.1)
BYTES = slice(3, 3 + 256)  # their ids in Llama 2's vocabulary
SCORES = {
    "type": "object",
    "properties": {"warmth": {"type": "integer", "minimum": 1, "maximum": 10}, "unsafe": {"type": "boolean"}},
    "required": ["warmth", "unsafe"],
    "additionalProperties": False,
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A family whose template writes no <s>, in float32, with an adapter that changes what it says."""
    folder = bases.make("tinyllama", tmp_path_factory.mktemp("tinyllama") / "base")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.lm_head.weight.data[BYTES] = 0.0  # single bytes, which the two write differently where they are no text
    model.save_pretrained(folder)
    adapter = tiny_models.adapter(folder, folder.parent / "adapter", targets=["q_proj", "v_proj", "down_proj"], r=8)
    return Weights(Base(model=str(folder), quantization="none", dtype="float32"), folder, adapter, "tiny", "0123")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def llama_server(weights: Weights, work: Path, **knobs: Any) -> LlamaCpp:
    asked = Pairs(server="llama.cpp", **{"slots": 2, **knobs})
    return LlamaCpp("pairs", asked, weights, work, lambda text: None, as_trained=True)


def requests(sampling: Sampling, schema: dict[str, Any] | None = None) -> list[Request]:
    return [Request([{"role": "user", "content": question}], sampling, schema) for question, *_ in ROWS[:4]]


def answers(writer: Writer, asked: list[Request]) -> list[Answer | None]:
    found: dict[int, Answer | None] = {}
    with writer.open(asked) as engine:
        for some in engine.write(asked, range(len(asked))):
            found |= some
    return [found[number] for number in range(len(asked))]


def is_gone(url: Any) -> bool:
    try:
        urllib.request.urlopen(str(url).replace("/v1/", "/health"), timeout=5)
    except urllib.error.URLError:
        return True
    return False


def test_llama_server_says_what_transformers_says_of_base_and_adapter(llama, policy, work):
    asked = requests(GREEDY)
    expected = answers(InProcess(policy, 4, print), asked)
    bare = answers(InProcess(replace(policy, adapter=None), 4, print), asked)
    found = answers(llama_server(policy, work), asked)
    # transformers takes the blank away that a Llama 2 vocabulary puts before a text
    assert [(a.text.strip(), a.cut) for a in found] == [(a.text.strip(), a.cut) for a in expected]
    assert [a.text for a in expected] != [a.text for a in bare]
    assert len({a.text for a in found}) > 1 and all(a.tokens for a in found)
    assert [file.suffix for file in work.iterdir()] == [".gguf"]  # no merged folder, nothing half made


def test_what_is_sampled_does_not_depend_on_the_company_or_the_order(llama, policy, work):
    if llama.origin != "the user's cache":
        pytest.skip("another build of llama.cpp than ours, whose source is changed for this")
    asked = [replace(request, sampling=replace(HOT, seed=seed)) for seed in range(3) for request in requests(HOT)]
    alone = answers(llama_server(policy, work, slots=1), asked)
    assert len({answer.text for answer in alone}) > len(ROWS)
    assert answers(llama_server(policy, work, slots=8), asked) == alone
    assert answers(llama_server(policy, work, slots=5), asked[::-1]) == alone[::-1]


def test_a_run_that_was_killed_before_serving_finds_its_gguf_again(llama, policy, work, monkeypatch):
    llama_server(policy, work).gguf(llama)
    monkeypatch.setattr(conversion, "to_gguf", lambda *a, **k: pytest.fail("converted twice"))
    first = answers(llama_server(policy, work, slots=1), requests(HOT))
    again = answers(llama_server(policy, work, slots=1), requests(HOT)[::-1])[::-1]
    other = answers(llama_server(policy, work, slots=1), requests(replace(HOT, seed=1)))
    assert first == again != other


def test_one_that_was_killed_on_the_way_to_it_begins_anew(llama, policy, tmp_path):
    writer = llama_server(policy, tmp_path)
    (writer.place.with_suffix(".gguf.raw")).write_bytes(b"GG")
    writer.merged()
    assert writer.gguf(llama).stat().st_size > 100_000
    assert [file.suffix for file in tmp_path.iterdir()] == [".gguf"]


def test_the_server_is_gone_behind_its_block_and_behind_an_error_in_it(llama, policy, work):
    for error in (None, UserError("given", "expected", "do")):
        try:
            with llama_server(policy, work).open(requests(GREEDY)) as engine:
                address = engine.server.client.base_url
                assert not is_gone(address)
                if error:
                    raise error
        except UserError as caught:
            assert caught is error
        assert is_gone(address)


def test_a_prompt_that_is_too_long_is_refused_alone(llama, policy, work):
    with llama_server(policy, work, slots=1).open(requests(GREEDY)[:1]) as engine:
        long = Request([{"role": "user", "content": "a b c " * 400}], GREEDY)
        assert {
            n: a is None for some in engine.write([long, *requests(GREEDY)[:1]], [0, 1]) for n, a in some.items()
        } == {
            0: True,
            1: False,
        }


def test_a_judge_without_an_adapter_is_packed_and_keeps_to_its_schema(llama, policy, tmp_path):
    writer = LlamaCpp(
        "judge", Judge(server="llama.cpp", slots=2), replace(policy, adapter=None), tmp_path, print, False
    )
    found = answers(writer, requests(replace(GREEDY, temperature=1.0, max_tokens=64), SCORES))
    for answer in found:
        said = json.loads(answer.text)
        assert list(said) == ["warmth", "unsafe"] and 1 <= said["warmth"] <= 10 and isinstance(said["unsafe"], bool)
    assert [file.suffix for file in tmp_path.iterdir()] == [".gguf"]
    assert not fallbacks(next(tmp_path.iterdir()), "Q8_0")


def test_our_own_base_is_served_in_its_own_dtype(llama, policy, tmp_path):
    file = llama_server(replace(policy, adapter=None), tmp_path).gguf(llama)
    assert {tensor.tensor_type.name for tensor in GGUFReader(file).tensors} == {"F32"}


def test_our_own_model_keeps_to_a_schema_behind_its_own_prompt(llama, policy, work):
    found = answers(llama_server(policy, work), requests(replace(GREEDY, temperature=1.0, max_tokens=64), SCORES))
    assert all(list(json.loads(answer.text)) == ["warmth", "unsafe"] for answer in found)


def test_the_marks_of_reasoning_outlive_llama_server_so_that_it_can_be_kept_out(llama, tmp_path):
    """Gemma 4's are special tokens, which servers leave out of a text; the thoughts alone would look like an answer."""
    folder = bases.make("gemma4", tmp_path / "base")
    weights = Weights(Base(model=str(folder)), folder, None, "tiny", "4567")
    with llama_server(weights, tmp_path).open(requests(GREEDY)) as engine:
        for mark, kept in (("<|channel>", "<|channel>"), ("<channel|>", "<channel|>"), ("<|image>", "")):
            said = {"max_tokens": 1, "logit_bias": [[engine.renderer.tokenizer.convert_tokens_to_ids(mark), 1000]]}
            body = {"model": "default", "prompt": [2, 5, 6], **said, **ends(engine.server, engine.renderer)}
            assert engine.server.complete(body, 3).text == kept


# How many slots


def test_slots_are_what_fits_beside_the_weights(tmp_path):
    config = {"num_hidden_layers": 28, "num_key_value_heads": 8, "num_attention_heads": 16, "head_dim": 128}
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 1024}))
    assert slots.bytes_per_token(tmp_path) == 114_688  # Qwen3-0.6B: 28 layers x 8 heads x 128 wide x 2 x 2 bytes
    # 0.9 x 4 GB - 1.2 GB - 0.537 GB = 1.863 GB; a slot of 2,048 tokens takes 0.2349 GB
    assert slots.fitting(tmp_path, 1_200_000_000, 2048, 4_000_000_000) == 7
    assert slots.fitting(tmp_path, 1_200_000_000, 2048, 1_000_000_000) == 1
    assert slots.fitting(tmp_path, 1_200_000_000, 2048, 10**12) == 16


def test_a_slot_is_no_longer_than_what_the_model_reads(llama, policy, work):
    asked = [Request([{"role": "user", "content": "Why? " * 5_000}], GREEDY), *requests(GREEDY)]
    assert slots.longest(policy.folder) == slots.longest(llama_server(policy, work).gguf(llama)) == 1024
    assert context_for(asked, policy, Renderer(policy.folder)) == 1024
    assert context_for(asked[1:], policy, Renderer(policy.folder)) < 1024


def test_prompts_to_a_gguf_are_measured_by_the_tokenizer_where_there_is_one(llama, policy, work):
    file = llama_server(policy, work).gguf(llama)
    (asked,) = [Request([{"role": "user", "content": "§" * 300}], GREEDY)]  # two tokens each, one for each byte
    needed = Renderer(policy.folder).longest([asked.messages]) + GREEDY.max_tokens
    bare, known = (replace(policy, folder=file, tokenizer=place) for place in (None, policy.folder))
    assert context_for([asked], bare, None) < needed <= context_for([asked], known, None)


def test_a_gguf_needs_what_its_folder_needs(llama, policy, work):
    file = llama_server(policy, work).gguf(llama)
    config = json.loads((policy.folder / "config.json").read_text())
    assert slots.bytes_per_token(file) == slots.bytes_per_token(policy.folder)
    assert slots.bytes_per_token(file) == 2 * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * 64


# vLLM, by a program of its name that takes the same arguments

STAND_IN = """#!{python}
import http.server, json, os, pathlib, sys
given = dict(zip(sys.argv[3::2], sys.argv[4::2]))
pathlib.Path({seen!r}).write_text(json.dumps([sys.argv[1:3], given, {{k: v for k, v in os.environ.items() if "VLLM" in k}}]))
class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, body):
        allowed = self.path == "/health" or self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def do_GET(self):
        self.reply({{"data": [{{"id": given["--served-model-name"], "owned_by": "vllm"}}]}})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pathlib.Path({seen!r} + ".asked").write_text(json.dumps(asked))
        usage = {{"prompt_tokens": len(asked["prompt"]), "completion_tokens": 1, "total_tokens": 0}}
        self.reply({{"id": "1", "choices": [{{"index": 0, "text": "Yes.", "finish_reason": "stop"}}], "usage": usage}})
http.server.ThreadingHTTPServer((given["--host"], int(given["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def stand_in(clean_path: Path, tmp_path: Path) -> Path:
    """Where it writes what it was given."""
    program, seen = clean_path / "vllm", tmp_path / "seen.json"
    program.write_text(STAND_IN.format(python=sys.executable, seen=str(seen)))
    program.chmod(0o755)
    return seen


def test_vllm_serves_the_merged_model_behind_a_key_and_without_tracking(policy, stand_in, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    writer = Vllm("pairs", Pairs(server="vllm", slots=3), policy, tmp_path / "work", lambda text: None, True)
    found = answers(writer, requests(HOT))
    assert found == [Answer("Yes.", cut=False, tokens=1)] * 4
    (verb, folder), given, env = json.loads(stand_in.read_text())
    assert verb == "serve" and (Path(folder) / "model.safetensors").is_file() and Path(folder) != policy.folder
    assert (given["--host"], given["--max-num-seqs"], given["--dtype"]) == ("127.0.0.1", "3", "float32")
    assert int(given["--max-model-len"]) % 256 == 0
    assert (
        env["VLLM_NO_USAGE_STATS"] == "1" and env["VLLM_LOGGING_LEVEL"] == "WARNING" and len(env["VLLM_API_KEY"]) > 20
    )
    sent = json.loads(stand_in.with_name("seen.json.asked").read_text())
    assert (sent["top_k"], sent["min_p"], sent["repetition_penalty"]) == (-1, 0.05, 1.1)
    assert is_gone(f"http://127.0.0.1:{given['--port']}/v1/")


def test_vllm_that_is_not_installed_is_said_to(policy, clean_path, tmp_path):
    asked = pytest.raises(UserError, match="no `vllm` on the PATH[^\0]*llama.cpp")
    with asked, Vllm("pairs", Pairs(server="vllm"), policy, tmp_path, print, True).open(requests(GREEDY)):
        pass


def test_vllm_that_ends_at_once_shows_its_last_lines(policy, clean_path, tmp_path):
    (clean_path / "vllm").write_text(f"#!{sys.executable}\nprint('no GPU here'); raise SystemExit(3)")
    os.chmod(clean_path / "vllm", 0o755)
    asked = pytest.raises(UserError, match="vllm ended with status 3: *\n *no GPU here")
    with asked, Vllm("pairs", Pairs(server="vllm"), policy, tmp_path, print, True).open(requests(GREEDY)):
        pass
