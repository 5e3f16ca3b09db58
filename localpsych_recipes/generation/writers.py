"""Which engine a recipe means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localpsych_recipes import llama_cpp, machine
from localpsych_recipes.generation import on_server, starting
from localpsych_recipes.generation.in_process import InProcess
from localpsych_recipes.generation.on_server import OnServer
from localpsych_recipes.generation.requests import Asked
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.generation.writing import Writer


def writer(
    section: str,
    asked: Asked,
    weights: Weights | None,
    work: Path,
    say: Callable[[str], object],
    *,
    as_trained: bool = False,
    ranks: machine.Ranks | None = None,
) -> Writer:
    """The engine of `asked.server`. Nothing is loaded or started yet.

    section: of the recipe, for messages; weights: None for a model of somebody else's at an address; work: a folder for
    what is made for a server that is started here, kept between runs; as_trained: our own model, in 16 bits, whose
    prompts are rendered here; ranks: that share the work of a model in this process; None: all.
    """
    if asked.server is None:
        return InProcess(weights, asked.batch_size, say, ranks or machine.ranks())
    if asked.server in starting.WRITERS:
        return starting.WRITERS[asked.server](section, asked, weights, work, say, as_trained)
    return OnServer(section, asked, weights if as_trained else None, say)


def check(section: str, asked: Asked) -> None:
    """For the preflight: UserError where the engine is not there, or an address may not be asked or lacks the model."""
    if asked.server == "llama.cpp":
        llama_cpp.check_available()
    elif asked.server == "vllm":
        starting.vllm_program(section)
    elif asked.server is not None:
        with on_server.connected(section, asked):
            pass
