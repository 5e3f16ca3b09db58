"""Answers by an OpenAI-compatible server: token ids or messages go there, texts come back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from localpsych_recipes import openai_server
from localpsych_recipes.generation.at_once import each
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.generation.requests import Answer, Asked, Request, Sampling
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.openai_server import Refused, Server

SLOTS = 8  # requests at once to an address that says nothing of itself
# what of Sampling only some servers take, with the value that is none
OPTIONAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass
class OnServer:
    """The Writer for a server with an address. section: of the recipe, for messages; weights: of our own model, whose
    prompts are rendered by the tokenizer that trained it; None: anybody else's, whose prompts are the server's affair."""

    section: str
    asked: Asked
    weights: Weights | None
    say: Callable[[str], object]
    name: ClassVar[str] = "server"
    every_rank: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.model = name_there(self.asked)

    @property
    def where(self) -> Literal["local", "remote"]:
        return openai_server.where(self.asked.server, self.section)

    @property
    def identity(self) -> str:
        known = [self.weights.identity] if self.weights else []
        return " ".join([self.name, name_there(self.asked), *known])

    @contextmanager
    def open(self, requests: Sequence[Request]) -> Iterator[Asking]:
        """Connects. UserError, before anything is sent, for an address that may not be asked; or no server there."""
        renderer = Renderer(self.weights.folder) if self.weights else None
        with connected(self.section, self.asked) as server:
            self.model = server.model
            asking = Asking(server, renderer, self.asked.slots or SLOTS)
            if ignored := asking.ignored(requests):
                self.say(f"      {self.section}.server is not known to take {', '.join(ignored)}: its own hold")
            yield asking


def connected(section: str, asked: Asked) -> AbstractContextManager[Server]:
    """The connection to the address that the recipe names."""
    return openai_server.connect(
        asked.server,
        name_there(asked),
        section=section,
        allow_remote=asked.allow_remote,
        api_key_env=asked.api_key_env,
    )


def name_there(asked: Asked) -> str:
    """The model's name on a server with an address; "default" for the only one there."""
    return "default" if asked.model == "auto" else asked.model


@dataclass(frozen=True)
class Asking:
    """The Engine: a server that has answered. slots: requests at once."""

    server: Server
    renderer: Renderer | None
    slots: int

    def ignored(self, requests: Sequence[Request]) -> list[str]:
        """The settings that these requests ask for and the server may not know."""
        asked = [asdict(request.sampling) for request in requests if not self.server.native]
        return [name for name, off in OPTIONAL.items() if any(sampling[name] != off for sampling in asked)]

    def write(self, requests: Sequence[Request], missing: Collection[int]) -> Iterator[Mapping[int, Answer | None]]:
        """Each answer as it comes. UserError for a server that is of no more use."""
        ask = self._rendered if self.renderer else self._chat
        for number, answer in each(ask, {number: requests[number] for number in sorted(missing)}, self.slots):
            yield {number: answer}

    def _chat(self, request: Request) -> Answer | None:
        messages = [dict(message) for message in request.messages]
        body = self.server.chat(messages, request.schema, **settings(self.server, request.sampling, self.slots))
        try:
            found = self.server.ask(body)
        except Refused:
            return None
        return Answer(found.text, found.cut, found.tokens)

    def _rendered(self, request: Request) -> Answer | None:
        prompt = self.renderer.prompt(request.messages, schema=request.schema is not None)
        size = request.sampling.max_tokens
        body = {
            "model": self.server.model,
            "prompt": prompt.ids if self.server.native else prompt.text,
            **settings(self.server, request.sampling, self.slots, window=len(prompt.ids) + size),
            **ends(self.server, self.renderer),
            **({"json_schema": request.schema} if request.schema is not None else {}),  # llama-server's own key
        }
        try:
            found = self.server.complete(body, len(prompt.ids))
        except Refused:
            return None
        return Answer(self.renderer.answer(prompt, found.text), found.cut, found.tokens)


def settings(server: Server, sampling: Sampling, slots: int, window: int = 0) -> dict[str, Any]:
    """The sampling in the server's own names, and its own defaults switched off.

    window: tokens over which repetition is penalised, prompt and answer; needed where it is.
    """
    own = {"llamacpp": _of_llama_cpp, "vllm": _of_vllm, "sglang": _of_vllm}.get(server.maker)
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed % 2**31,
        "max_tokens": sampling.max_tokens,
        **(own(sampling, slots, window) if own else {}),
    }


def _of_llama_cpp(sampling: Sampling, slots: int, window: int) -> dict[str, Any]:
    return {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        # transformers and vLLM look at all of the prompt and the answer; llama-server takes no -1 for that
        "repeat_last_n": (window or sampling.max_tokens) if sampling.repetition_penalty != 1.0 else 0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        # the order of transformers and vLLM, so that the same settings mean the same distribution; what is not named
        # (DRY, XTC, typical_p, top_n_sigma) is off, whatever the server was started with
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
        # with one slot answers do not depend on what was asked before, whatever the build (generation/starting.py)
        "cache_prompt": slots > 1,
    }


def _of_vllm(sampling: Sampling, slots: int, window: int) -> dict[str, Any]:
    return {
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
    }


def ends(server: Server, renderer: Renderer) -> dict[str, Any]:
    """Where a rendered prompt's answer ends, and which special tokens its text keeps: those around reasoning."""
    if server.maker == "llamacpp":  # it knows the ends of turns from the GGUF
        return {"preserved_tokens": renderer.marks}
    if server.native:
        return {"stop_token_ids": [renderer.end], "skip_special_tokens": not renderer.marks}
    return {"stop": [renderer.end_text]}
