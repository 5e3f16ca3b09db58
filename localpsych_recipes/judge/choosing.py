"""Which model judges: the recipe's, or the one of two that this machine has memory for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from localpsych_recipes import hub, machine, models, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation.on_server import connected
from localpsych_recipes.generation.slots import free_memory
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.recipe import STARTED, Base, Judge, is_local

# of judge.model: auto, the first that fits: Apache-2.0, parameters by their cards
AUTO = (("Qwen/Qwen3-8B", 8.2e9), ("Qwen/Qwen3-4B", 4.0e9))
# of a parameter, with the scales of its block; in nf4 the embeddings of Qwen3-8B, 1.2e9 parameters, stay in 16 bit;
# llama.cpp's is Q8_0's 34 bytes for 32 weights
BYTES = {"nf4": 0.75, "int8": 1.1, "none": 2.0, "llama.cpp": 34 / 32, "vllm": 2.0}
BESIDE = 1.2  # weights, and a fifth of them for the cache of keys and values and for what is computed
ASKED = ("server", "model", "revision", "quantization")  # keys that decide which weights judge
DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Choice:
    """model: Hub id, local folder or file, or a name on a server; commit: of a model on the Hub."""

    model: str
    commit: str | None = None


def choose(asked: Judge, file: Path, ranks: machine.Ranks) -> Choice:
    """The judge as `file` has it while the recipe asks for the same, so that a run that goes on another day, with less
    memory free or after a new commit, asks the same judge; else chosen now and kept there. The main process calls it.
    """
    wanted, before = asked.model_dump(mode="json", include=set(ASKED)), rundir.read_json(file)
    if before and before["asked"] == wanted:
        return Choice(before["model"], before["commit"])
    choice = _chosen(asked, ranks)
    rundir.write_json(file, {"asked": wanted, **asdict(choice)})
    return choice


def weights(asked: Judge, choice: Choice, say: Callable[[str], object], fetch: bool = True) -> Weights | None:
    """The judge's weights on this machine; None for a judge on an address.

    fetch: where they lie on the Hub; else its configuration alone, for a judge that has nothing to judge.
    """
    if _elsewhere(asked):
        return None
    place = _folder(choice, say) if fetch else refuse_unusable(asked, choice)
    local = rundir.source_identity(place) if _is_here(choice.model) else None
    # a local judge is known by its content alone: its path is this machine's affair
    known = rundir.fingerprint(local or [choice.model, choice.commit], asked.quantization)
    base = Base(model=choice.model, revision=choice.commit, quantization=asked.quantization, dtype=_dtype(place))
    return Weights(base, place, None, place.name if local else choice.model, known)


def refuse_unusable(asked: Judge, choice: Choice | None = None) -> Path | None:
    """UserError for a judge that is not there, or that follows no instructions; before one is chosen too.

    Gives the folder of its configuration and tokenizer, which are fetched, or its .gguf file; None on an address. No
    weights are fetched.
    """
    if _elsewhere(asked):
        return None
    if choice is None:
        choice = Choice(AUTO[-1][0]) if asked.model == "auto" else Choice(asked.model, asked.revision)
    if choice.model.endswith(".gguf"):
        return _gguf(Path(choice.model).expanduser(), asked)
    with about_the_judge():
        found = models.tokenizer_folder(Base(model=choice.model, revision=choice.commit))
    if not _has_chat_template(found):
        raise UserError(
            f"judge.model: {Path(choice.model).name} has no chat template",
            "an instruction-tuned model, which follows what a rubric asks",
            "take the -it or -Instruct variant of the judge",
        )
    return found


def that_fits(asked: Judge, memory: float) -> str:
    """The first of AUTO with room in `memory` (bytes); the last one, where none has."""
    needed = BYTES[asked.server or asked.quantization] * BESIDE
    return next((model for model, parameters in AUTO if parameters * needed <= memory), AUTO[-1][0])


def name_there(asked: Judge) -> str:
    """The server's own name of the judge at an address. UserError where it is not there or may not be asked."""
    with connected("judge", asked) as server:
        return server.model


@contextmanager
def about_the_judge() -> Iterator[None]:
    """Inside, what is said of a base that cannot be had or used is said of the judge, which is loaded in the same way."""
    try:
        yield
    except UserError as error:
        given = error.given.replace("base.model", "judge.model").replace("base.revision", "judge.revision")
        expected, do = (re.sub(r"\bbase\b", "judge", part) for part in (error.expected, error.do))
        raise UserError(given, expected, do) from None


def _chosen(asked: Judge, ranks: machine.Ranks) -> Choice:
    if _elsewhere(asked):
        return Choice(name_there(asked))
    if _is_here(asked.model):
        return Choice(asked.model)
    auto = asked.model == "auto"
    model, revision = (that_fits(asked, _memory(asked, ranks)), None) if auto else (asked.model, asked.revision)
    with about_the_judge():
        return Choice(model, hub.pin(model, "model", revision).commit)


def _memory(asked: Judge, ranks: machine.Ranks) -> float:
    """Bytes that a judge may take: of this rank's GPU, else of main memory, which is shared by ranks that load one each."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what earlier stages had
        return torch.cuda.mem_get_info(ranks.local_rank)[0]
    return free_memory() / (1 if asked.server else ranks.world)


def _folder(choice: Choice, say: Callable[[str], object]) -> Path:
    """Where a judge's weights lie: a local folder or .gguf file, or the Hub's cache, which is filled first."""
    if _is_here(choice.model):
        return Path(choice.model).expanduser()
    with about_the_judge():
        return hub.snapshot(choice.model, choice.commit, say=say)


def _elsewhere(asked: Judge) -> bool:
    return asked.server is not None and asked.server not in STARTED


def _is_here(model: str) -> bool:
    return is_local(model) or model.endswith(".gguf")


def _gguf(file: Path, asked: Judge) -> Path:
    if asked.server != "llama.cpp" or not file.is_file():
        raise UserError(
            f"judge.model: {file.name} {'with judge.server other than llama.cpp' if file.is_file() else 'is not there'}",
            "a .gguf file on this machine, which llama.cpp alone reads",
            "set judge.server: llama.cpp, or judge.model to the model in safetensors"
            if file.is_file()
            else "check the path",
        )
    return file


def _has_chat_template(folder: Path) -> bool:
    files = ("chat_template.jinja", "chat_template.json")
    settings = rundir.read_json(folder / "tokenizer_config.json") or {}
    return bool(settings.get("chat_template")) or any((folder / name).is_file() for name in files)


def _dtype(place: Path) -> str:
    """The one that the weights are in by their own configuration, as far as a recipe may name it; else bfloat16."""
    config: dict[str, Any] = rundir.read_json(place / "config.json") or {}
    for part in (config, config.get("text_config") or {}):
        if (named := part.get("dtype") or part.get("torch_dtype")) in DTYPES:
            return named
    return "bfloat16"
