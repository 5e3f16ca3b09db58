"""Models that measure others' texts, an encoder or a classifier: found, named, and never in a format that can run code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes import hub, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import is_local

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")  # files of which a tokenizer has at least one
PADDING = 2  # RoBERTa's positions begin behind that of its padding token, so that it has two fewer than it says


@dataclass(frozen=True)
class MeasuringModel:
    """folder: in transformers' layout, with safetensors; where: its name, and its commit or the SHA-256 of its weights."""

    folder: Path
    where: str


def find(model: str, revision: str | None) -> MeasuringModel:
    """A local folder, or a model on the Hub at its commit. UserError where it cannot be had or lacks safetensors or its
    tokenizer."""
    if is_local(model):
        found = _local(Path(model).expanduser())
    else:
        commit = hub.pin(model, "model", revision).commit
        found = MeasuringModel(hub.snapshot(model, commit), f"{model} at {commit[:12]}")
    # without one transformers makes a tokenizer to which every word is unknown, and says nothing
    if not any(file for pattern in VOCABULARIES for file in found.folder.glob(pattern)):
        given = f"{Path(model).name}: no tokenizer is in it"
        raise UserError(given, f"one of {', '.join(VOCABULARIES)}", "save the tokenizer beside the model")
    return found


def _local(folder: Path) -> MeasuringModel:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder.name}: no model is there", "a folder with config.json", "correct its path")
    digests = [rundir.file_sha256(file) for file in sorted(folder.glob("*.safetensors"))]
    if not digests:
        expected = "weights as safetensors; other formats can run code when they are loaded"
        raise UserError(f"{folder.name}: no *.safetensors", expected, "save it with `save_pretrained`")
    digest = rundir.fingerprint(digests) if digests[1:] else digests[0]
    return MeasuringModel(folder, f"{folder.name} (SHA-256 {digest[:12]})")


@contextmanager
def readable(model: str) -> Iterator[None]:
    """Inside, files that transformers cannot make a model or a tokenizer of become a UserError."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        given = f"{Path(model).name}: transformers cannot load it ({type(error).__name__})"
        raise UserError(given, "a model with its tokenizer", "save both with `save_pretrained`") from None


def config(model: str, revision: str | None) -> Path:
    """The config.json of such a model, without its weights. UserError where it cannot be had."""
    folder = Path(model).expanduser() if is_local(model) else hub.files(model, revision, ("config.json",))
    if not (folder / "config.json").is_file():
        raise UserError(f"{model}: no config.json", "a model in transformers' layout", "correct its name or path")
    return folder / "config.json"


def longest(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> int:
    """Tokens of the longest text that a model takes: by its tokenizer, or where that does not say by its positions."""
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return tokenizer.model_max_length if tokenizer.model_max_length <= positions else positions - PADDING


def cut(tokenizer: PreTrainedTokenizerBase, limit: int, texts: Iterable[str]) -> str:
    """How many of the texts have more tokens than `limit`, in words; nothing where none has."""
    longer = sum(len(tokenizer(text, verbose=False)["input_ids"]) > limit for text in texts)
    return f"texts cut at {limit:,} tokens: {longer:,}" if longer else ""
