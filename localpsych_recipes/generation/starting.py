"""Servers that are started for the answers and stopped behind them: llama-server and vLLM.

On a CPU the answers of the llama-server that `llama_cpp` builds follow from the request alone, in any order and any
company: its source is changed for that (llama_cpp.build.PATCHES), and flash attention and repacked weights are off
(EXACT). Tried with float32, bfloat16 and Q8_0, in 1 and 8 slots, forwards and backwards, with and without cached
prompts. Of other builds and on GPUs that holds with `slots: 1` alone: among others a token's sums differ in their last
bits.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from localpsych_recipes import chat_templates, conversion, llama_cpp, machine, models, openai_server
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import slots
from localpsych_recipes.generation.on_server import Asking
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.generation.requests import Asked, Messages, Request
from localpsych_recipes.generation.weights import OnThisMachine, Weights
from localpsych_recipes.llama_cpp import EXACT
from localpsych_recipes.progress import Progress
from localpsych_recipes.serving import Running, running

QUIET = ("--reasoning", "off", "--no-webui", "--cache-ram", "0")  # the last: no copies of old prompts in memory
TEMPLATE = 64  # tokens that a server's own rendering may have more than ours
BYTES_OF_TOKEN = 2  # at least, of a text whose tokenizer is inside a .gguf file
VLLM_SLOTS = 32
VLLM_SECONDS = 10.0  # to end by itself: it has processes and shared memory of its own


@dataclass
class Started(OnThisMachine, ABC):
    """What both have in common. section: of the recipe, for messages; work: the folder for merged weights and GGUFs.

    as_trained: our own model, in 16 bits, its prompts rendered by the tokenizer that trained it. Else any model, in Q8_0
    unless it is a .gguf file, and with the chat template that it brings.
    """

    section: str
    asked: Asked
    weights: Weights
    work: Path
    say: Callable[[str], object]
    as_trained: bool
    every_rank: ClassVar[bool] = False

    @contextmanager
    def open(self, requests: Sequence[Request]) -> Iterator[Asking]:
        """Makes what the server needs, unless an earlier run has, and starts it for the block."""
        renderer, key = Renderer(self.weights.folder) if self.as_trained else None, secrets.token_urlsafe()
        context = context_for(requests, self.weights, renderer)
        with self.serve(context, key) as (server, at_once), self._connected(server, key) as connection:
            yield Asking(connection, renderer, at_once)

    @abstractmethod
    def serve(self, context: int, key: str) -> AbstractContextManager[tuple[Running, int]]:
        """The running server, and its slots of `context` tokens each. key: that it asks for."""

    def _connected(self, server: Running, key: str) -> AbstractContextManager[openai_server.Server]:
        return openai_server.connect(
            f"{server.url}/v1", "default", section=self.section, allow_remote=False, api_key_env="", api_key=key
        )

    @property
    def place(self) -> Path:
        """In `work`, a name that only these weights have."""
        return self.work / hashlib.sha256(self.weights.identity.encode()).hexdigest()[:12]

    def merged(self) -> Path:
        """The weights as one folder: the base's own, or a merged one in `work`, made unless it is there."""
        base, adapter, folder = self.weights.folder, self.weights.adapter, self.place
        if adapter is None:
            return base
        if not folder.is_dir():
            from localpsych_recipes import merging  # brings torch

            merging.merge_adapter(base, adapter, folder, progress=Progress(self.say, "merged", "bytes"))
        models.stop_at(folder, chat_templates.end_of_turn(models.load_tokenizer(base)))
        return folder


class LlamaCpp(Started):
    """llama-server with a GGUF of base and adapter, or with the one that is there."""

    name = "llama.cpp"

    @contextmanager
    def serve(self, context: int, key: str) -> Iterator[tuple[Running, int]]:
        tools = llama_cpp.tools(self.say)
        gguf, gpu = self.gguf(tools), tools.has_gpu()
        at_once = self.asked.slots or (slots.GPU_SLOTS if gpu else self._fitting(gguf, context))
        # said plainly, since its own default counts physical cores of the whole machine
        threads = ["--threads", str(machine.cores())]
        extra = [*QUIET, *threads, *(() if gpu else EXACT)]
        self.say(f"      llama-server with {at_once} slot{'s' if at_once > 1 else ''} of {context:,} tokens")
        with tools.serve(gguf, ctx=context, slots=at_once, api_key=key, extra=extra) as server:
            yield server, at_once

    def gguf(self, tools: llama_cpp.LlamaCpp) -> Path:
        """The file to serve; whole if it is there, so that one of an earlier run is taken."""
        if self.weights.folder.suffix == ".gguf":
            return self.weights.folder
        file = self.place.with_suffix(".gguf")
        if not file.exists():
            self.work.mkdir(parents=True, exist_ok=True)
            self._make(tools, file)
        shutil.rmtree(self.place, ignore_errors=True)  # the merged folder: from here on the GGUF is what is needed
        return file

    def _make(self, tools: llama_cpp.LlamaCpp, file: Path) -> None:
        name = Path(self.weights.name).name
        if self.as_trained:
            outtype = conversion.to_gguf(tools, self.merged(), file, name=name)
        else:
            sixteen_bit, outtype = file.with_name(f"{file.name}.16"), "Q8_0"
            try:
                conversion.to_gguf(tools, self.weights.folder, sixteen_bit, name=name)
                tools.quantize(sixteen_bit, file, "Q8_0")
            finally:
                sixteen_bit.unlink(missing_ok=True)
        self.say(f"      {name} converted in {outtype} for llama-server")

    def _fitting(self, gguf: Path, context: int) -> int:
        return slots.fitting(self.weights.folder, gguf.stat().st_size, context, slots.free_memory())


class Vllm(Started):
    """`vllm serve` with the merged folder. Written after its documentation and tried with a stand-in, never with vLLM."""

    name = "vllm"

    @contextmanager
    def serve(self, context: int, key: str) -> Iterator[tuple[Running, int]]:
        program, folder, at_once = vllm_program(self.section), self.merged(), self.asked.slots or VLLM_SLOTS
        port = free_port()
        command = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--served-model-name", self.section, "--dtype", self.weights.base.dtype]
        command += ["--max-num-seqs", str(at_once), "--max-model-len", str(context)]
        url = f"http://127.0.0.1:{port}"
        # requests, which old versions log unless told otherwise, are logged as INFO
        env = {**os.environ, "VLLM_API_KEY": key, "VLLM_LOGGING_LEVEL": "WARNING", **dict.fromkeys(NO_TRACKING, "1")}
        with running(command, env, lambda log: url, grace=VLLM_SECONDS) as server:
            yield server, at_once


NO_TRACKING = ("VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK", "DO_NOT_TRACK")
WRITERS: dict[str, type[Started]] = {"llama.cpp": LlamaCpp, "vllm": Vllm}  # by what a recipe's `server` says


def context_for(requests: Sequence[Request], weights: Weights, renderer: Renderer | None) -> int:
    """Tokens of the slot that the longest prompt and its answer need, no more than the model reads: what is longer is
    refused by the server, alone."""
    answer = max((request.sampling.max_tokens for request in requests), default=1)
    conversations, folder = [request.messages for request in requests], weights.folder
    if renderer:
        prompt = renderer.longest(conversations)
    elif folder.suffix == ".gguf" and not weights.tokenizer:
        prompt = TEMPLATE + max(map(_bytes, conversations), default=0) // BYTES_OF_TOKEN
    else:
        prompt = TEMPLATE + Renderer(weights.tokenizer or folder).longest(conversations)
    return slots.context(prompt + answer, folder)


def _bytes(messages: Messages) -> int:
    return sum(len(message["content"].encode("utf-8", "replace")) for message in messages)


def vllm_program(section: str) -> str:
    """Where `vllm` is on the PATH. UserError where it is not."""
    if program := shutil.which("vllm"):
        return program
    raise UserError(
        f"{section}.server: vllm, and no `vllm` on the PATH",
        "vLLM installed beside this project",
        f"install it (https://docs.vllm.ai, it wants a GPU), or set {section}.server: llama.cpp",
    )


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
