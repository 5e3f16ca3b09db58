"""One request to a server: what it wrote, or why there is nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from localpsych_recipes.errors import UserError

if TYPE_CHECKING:
    from openai import OpenAI

GOES_ON = "look after the server, then run the same command again: it goes on from here"
NATIVE = ("llamacpp", "vllm", "sglang")  # makers whose servers take token ids, arguments of the template, more settings
# keys of a request that the client knows; the rest are the server's own
STANDARD = {"model", "messages", "prompt", "temperature", "top_p", "seed", "max_tokens", "stop", "response_format"}


class Refused(Exception):
    """The server takes requests, but not this one (too long, or its output did not parse). Holds no text."""


@dataclass(frozen=True)
class Answer:
    """What the model wrote; cut: it came to the end of max_tokens or of its context; tokens: written ones, 0: unsaid."""

    text: str
    cut: bool
    tokens: int = 0


@dataclass(frozen=True)
class Server:
    """A server that has answered.

    section: of the recipe, for messages; model: the server's own name for it; maker: who the server says owns the model
    ("llamacpp", "vllm", "sglang", anything else); extra: put into every chat.
    """

    client: OpenAI
    section: str
    where: Literal["local", "remote"]
    model: str
    maker: str
    extra: Mapping[str, Any]

    @property
    def native(self) -> bool:
        """Whether it takes token ids and settings by names that are known here."""
        return self.maker in NATIVE

    def request(self, text: str, **settings: Any) -> dict[str, Any]:
        """One user turn as the body of /v1/chat/completions; settings: temperature, seed, max_tokens (tokens)."""
        return self.chat([{"role": "user", "content": text}], **settings)

    def chat(
        self, messages: list[dict[str, str]], schema: Mapping[str, Any] | None = None, **settings: Any
    ) -> dict[str, Any]:
        """A conversation as the body of /v1/chat/completions. schema: the JSON Schema that the answer must follow."""
        # of the forms that servers document, llama-server enforces this one; {"schema": ...} alone it ignores
        form = {"name": "answer", "strict": True, "schema": schema}
        follow = {"response_format": {"type": "json_schema", "json_schema": form}} if schema is not None else {}
        return {"model": self.model, "messages": messages, **settings, **follow, **self.extra}

    def ask(self, request: dict[str, Any]) -> Answer:
        """Refused for this request alone; UserError, after some retries, for a server that is of no more use."""
        answer, _ = self._reply(self.client.chat.completions.create, request, lambda choice: choice.message.content)
        return answer

    def complete(self, request: dict[str, Any], tokens: int) -> Answer:
        """Goes on from a prompt that is rendered already; request: the body of /v1/completions.

        tokens: of the prompt in training. UserError for a server that reads another number of them, or does not say
        how many: it would be asked something else than what the model was trained on. Else as `ask`.
        """
        answer, read = self._reply(self.client.completions.create, request, lambda choice: choice.text)
        if read != tokens:
            raise _other_prompt(self.section, read, tokens)
        return answer

    def _reply(
        self, create: Callable[..., Any], request: dict[str, Any], text: Callable[[Any], str | None]
    ) -> tuple[Answer, int | None]:
        """The answer, and how many tokens of prompt the server says it read."""
        import openai

        known = {key: value for key, value in request.items() if key in STANDARD}
        own = {key: value for key, value in request.items() if key not in STANDARD}
        try:
            reply = create(**known, extra_body=own)
            choice, usage = reply.choices[0], reply.usage
            said = (text(choice) or "").encode("utf-8", "replace").decode("utf-8")
            tokens = (usage.completion_tokens or 0) if usage else 0
            return Answer(said, choice.finish_reason == "length", tokens), usage.prompt_tokens if usage else None
        except openai.APIStatusError as error:
            if error.status_code in (400, 413, 422, 500):
                raise Refused(f"status {error.status_code}") from None
            raise status_error(error.status_code, self.section) from None
        except openai.APIConnectionError:
            raise UserError(f"{self.section}: the server does not answer any more", "an answer", GOES_ON) from None
        except (openai.OpenAIError, AttributeError, TypeError, IndexError, ValueError):
            raise Refused("no completion") from None


def digest(request: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a request, the same in any order of its keys."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _other_prompt(section: str, read: int | None, tokens: int) -> UserError:
    if read is None:
        given = f"{section}.server does not say how many tokens it reads (usage.prompt_tokens)"
    else:
        given = (
            f"{section}.server reads {read} tokens where training has {tokens}: it puts its own template or another "
            "beginning around the prompt"
        )
    return UserError(
        given,
        "the prompt as the model was trained on it, and no more",
        f"serve the model by llama.cpp or vLLM ({section}.server: llama.cpp starts one), or give Ollama a Modelfile "
        "with TEMPLATE {{ .Prompt }}",
    )


def status_error(status: int, section: str) -> UserError:
    """What an HTTP status says of the server as a whole."""
    if 300 <= status < 400:
        return UserError(
            f"{section}.server sends requests on to another address",
            "the address itself: redirects are not followed",
            f"set {section}.server to where it leads, if the texts may go there",
        )
    if status in (401, 403):
        do = f"put the key into the environment variable that {section}.api_key_env names"
        return UserError(f"{section}.server wants another key (status {status})", "the server's key", do)
    if status == 404:
        do = f"check that {section}.server ends in /v1, and {section}.model"
        return UserError(f"{section}.server has no such page or model (status 404)", "an OpenAI-compatible server", do)
    return UserError(f"{section}.server answers with status {status}", "success", GOES_ON)
