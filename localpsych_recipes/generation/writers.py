"""Which engine a recipe means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localpsych_recipes import llama_cpp
from localpsych_recipes.generation import on_server, starting
from localpsych_recipes.generation.in_process import InProcess
from localpsych_recipes.generation.on_server import OnServer
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.generation.writing import Writer
from localpsych_recipes.recipe import Judge, Pairs


def writer(
    section: str, asked: Pairs | Judge, weights: Weights | None, work: Path, say: Callable[[str], object]
) -> Writer:
    """The engine of `asked.server`. Nothing is loaded or started yet.

    section: "pairs" or "judge", for messages; weights: None for a judge on an address; work: a folder for what is made
    for a server that is started here, kept between runs.
    """
    if asked.server is None:
        return InProcess(weights, asked.batch_size, say)
    if asked.server in starting.WRITERS:
        return starting.WRITERS[asked.server](section, asked, weights, work, say)
    return OnServer(section, asked, weights, say)


def check(section: str, asked: Pairs | Judge) -> None:
    """For the preflight: UserError where the engine is not there, or an address may not be asked or lacks the model."""
    if asked.server == "llama.cpp":
        llama_cpp.check_available()
    elif asked.server == "vllm":
        starting.vllm_program(section)
    elif asked.server is not None:
        with on_server.connected(section, asked):
            pass
