"""What every section has that asks a model on a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from localpsych_recipes.recipe.section import Place, Section

STARTED = ("llama.cpp", "vllm")  # servers that are started and stopped by us
ADDRESS = ("http://", "https://")
SERVER = "null: in this process, by transformers; llama.cpp or vllm: started here; or an OpenAI-compatible address"


class Server(Section):
    """Whom texts may be sent to."""

    allow_remote: Annotated[
        bool, Field(description="a server on another machine: the dataset's texts leave this one")
    ] = False
    api_key_env: Annotated[
        str,
        Field(
            pattern=r"^[A-Z][A-Z0-9_]*_API_KEY$",
            description="environment variable that holds the server's key, if it wants one: its name ends in _API_KEY",
        ),
    ] = "LOCALPSYCH_API_KEY"


def answers_here(server: str | None) -> bool:
    """Whether the model answers in this process or on a server that is started here, and not at an address."""
    return server is None or server in STARTED


def server_problems(server: str | None) -> Iterator[str]:
    if not answers_here(server) and not server.startswith(ADDRESS):
        yield f"server: {server!r} is neither {' nor '.join(STARTED)} nor an address such as http://127.0.0.1:8080/v1"


class Judge(Server):
    """The model that scores answers: for `pairs` and `evaluate`."""

    server: Annotated[str | None, Field(min_length=1, description=SERVER)] = None
    model: Annotated[
        Place,
        Field(
            description="Hub id, local folder, .gguf file for llama.cpp, or its name on the server; auto: Qwen/Qwen3-8B "
            "where this machine has memory for it, else Qwen/Qwen3-4B; on an address the only one there",
        ),
    ] = "auto"
    revision: Annotated[str | None, Field(description="commit, branch or tag of a judge on the Hub")] = None
    quantization: Annotated[
        Literal["nf4", "int8", "none"], Field(description="of its weights in this process; llama.cpp takes Q8_0")
    ] = "nf4"
    allow_same_family: Annotated[
        bool, Field(description="a judge of the base's own family, which favours answers like its own")
    ] = False
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: Annotated[int, Field(gt=0, description="tokens of one verdict")] = 256
    batch_size: Annotated[int, Field(gt=0, description="verdicts at once in this process")] = 8
    slots: Annotated[int | None, Field(gt=0, description="requests at once of a server; null: as many as fit")] = None

    def rules(self):
        yield from server_problems(self.server)
        if self.revision and (self.model == "auto" or not answers_here(self.server)):
            what = "at an address" if self.model != "auto" else "that `model: auto` chooses"
            yield f"revision: not of a judge {what}; name `model` on the Hub, or drop it"
