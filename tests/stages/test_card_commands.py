"""Every command of the cards runs as it stands, with a release of tiny models from the embedded Hub."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from embedded_hub import TOKENS, alice, hub  # noqa: F401  fixtures
from finished_run import FILES, KINDS, OWNER, described, finished_run, proven, report
from huggingface_hub import hf_hub_download

from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import card, push

TRY = """
import sys
for code in sys.argv[1:]:
    exec(code, {})
    print("answered")
"""


@pytest.fixture
def published(tmp_path: Path, hub, alice, llama) -> Run:
    """A tiny release that can be run, on the embedded Hub; Q8_0 is the one file of the width that it has."""
    from test_llama_cpp import tiny_llama

    run = finished_run(tmp_path, OWNER, "gguf.quants=[Q8_0]")
    base = tiny_release(run, tmp_path / "base")
    sixteen = llama.convert(tiny_llama(tmp_path / "llama", width=64), tmp_path / "16.gguf", outtype="bf16", name="Calm")
    shutil.rmtree(run.dir.release("gguf"))
    run.dir.release("gguf").mkdir()
    llama.quantize(sixteen, run.dir.release("gguf") / FILES["Q8_0"], "Q8_0")
    report(run, "gguf", {"files": [described(run.dir.release("gguf") / FILES["Q8_0"], "Q8_0")], "llama_cpp": "b1"})
    report(run, "verify", proven(run))  # these files, and not those that the finished run came with
    card.run(run)
    push.run(run)
    alice.create_repo("alice/base", private=True)
    alice.upload_folder(repo_id="alice/base", folder_path=base)
    return run


def fences(run: Run, kind: str, language: str) -> list[str]:
    """The fenced blocks of a card as it lies on the Hub, as they stand."""
    text = Path(hf_hub_download(hub_name(kind), "README.md")).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def hub_name(kind: str) -> str:
    return {"adapter": "alice/calm-LoRA", "merged": "alice/calm", "gguf": "alice/calm-GGUF"}[kind]


NOT_RUN = ("ollama ", "pip install ")  # no Ollama here; the recipe as a whole is run by tests/test_release.py


def test_every_command_of_the_cards_runs_as_it_stands(published, hub, llama, tmp_path) -> None:
    tools = (llama.paths["llama-server"].parent, Path(sys.executable).parent, "/usr/bin", "/bin")
    port = free_port()
    environment = {**hub.environment(TOKENS["alice"]), "HF_HOME": str(tmp_path / "home"),
                   "PATH": os.pathsep.join(map(str, tools)),
                   "LLAMA_ARG_PORT": str(port), "LLAMA_ARG_CTX_SIZE": "256", "LLAMA_ARG_N_PREDICT": "4",
                   "LLAMA_ARG_THREADS": "1"}  # fmt: skip
    python = [code.replace("max_new_tokens=300", "max_new_tokens=2") for kind in ("adapter", "merged")
              for code in fences(published, kind, "python")]  # fmt: skip
    shell = [code for kind in KINDS for code in fences(published, kind, "sh") if not code.startswith(NOT_RUN)]
    assert len(python) == 2 and len(shell) == 3
    done = subprocess.run([sys.executable, "-c", TRY, *python], env=environment, capture_output=True, text=True)
    assert done.stdout.count("answered") == 2, done.stderr
    *servers, question = shell
    question = question.replace("localhost:8080", f"localhost:{port}")
    for command in servers:
        answer = asked(command, question, port, environment, tmp_path)
        assert json.loads(answer)["choices"][0]["message"]["role"] == "assistant", command


def asked(command: str, question: str, port: int, environment: dict[str, str], folder: Path) -> str:
    """What the server that `command` starts says to `question`; both are shell."""
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, stdout=log, stderr=log,
                                  start_new_session=True)  # fmt: skip
        try:
            until_healthy(port, server, folder / "server.log")
            done = subprocess.run(["bash", "-c", question], env=environment, capture_output=True, text=True, check=True)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
    return done.stdout


def until_healthy(port: int, server: subprocess.Popen, log: Path) -> None:
    while True:
        assert server.poll() is None, log.read_text()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except OSError:
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def tiny_release(run: Run, base: Path) -> Path:
    """A tiny base with a tokenizer, an adapter of it in the run, and the base itself in the merged model's place."""
    import tiny_models
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tiny_models.build("qwen3", base)
    words = {word: i for i, word in enumerate(["<unk>", "</s>", "Be", "calm", "worrying"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(base)
    adapter = tiny_models.adapter(base, run.dir.adapter("dpo"), targets=["q_proj"])
    files = {p.name: p.read_bytes() for p in base.iterdir()}
    for folder in (adapter, run.dir.release("merged")):
        for name, content in files.items():
            if folder != adapter or "token" in name or "template" in name:
                (folder / name).write_bytes(content)
    return base
