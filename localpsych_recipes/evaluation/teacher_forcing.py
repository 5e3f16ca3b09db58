"""Texts of known tokens -> how likely a model finds them, each token given those before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from localpsych_recipes import models, rundir
from localpsych_recipes.evaluation.bench import Column
from localpsych_recipes.generation import Messages
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AT_ONCE = 256  # positions whose logits are made float32 together: 270 MB, with a vocabulary of 262,000 tokens


@dataclass(frozen=True)
class Text:
    """ids: of its tokens; begin: number of the first one that is scored, 1 at least; cut: it was longer."""

    id: str
    ids: list[int]
    begin: int
    cut: bool = False


@dataclass(frozen=True)
class Score:
    """log_prob: of the scored tokens together, nats; tokens: how many those are."""

    log_prob: float
    tokens: int

    @property
    def mean(self) -> float:
        return self.log_prob / self.tokens


Scores = Mapping[str, Mapping[str, Score]]  # column -> text's id -> score


class Kept:
    """Scores in a JSONL file, by what they follow from: whatever kills the run, no text is scored twice.

    A line is the key, the log-likelihood and the tokens of one text. Files only grow, but for the half line that a
    killed run may have left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scores: dict[str, Score] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        self.scores = {key: Score(*numbers) for key, *numbers in map(json.loads, whole)}
        rundir.write_text(self.path, "".join(whole))
        self._file = self.path.open("a", encoding="utf-8", newline="\n")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def get(self, column: Column, text: Text) -> Score | None:
        return self.scores.get(_key(column, text))

    def add(self, column: Column, text: Text, found: Score) -> None:
        """On disk when it returns."""
        key = _key(column, text)
        self._file.write(json.dumps([key, found.log_prob, found.tokens]) + "\n")
        self._file.flush()
        self.scores[key] = found


def _key(column: Column, text: Text) -> str:
    return rundir.fingerprint(column.weights.identity, text.ids, text.begin)


def answered(
    renderer: Renderer, id: str, prompt: Messages, answers: Mapping[str, Messages], max_length: int
) -> list[Text]:
    """A prompt with each of its answers, tokenised and cut as TRL does; none where the prompt alone is too long.

    answers: the end of a text's id -> its message; max_length: tokens of prompt and answer. An answer begins where the
    ids leave those of the bare prompt, which for some templates (Gemma 4 12B) is before its end: TRL's
    `common_prefix_length`. What the template writes behind the answer counts with it.
    """
    bare = _ids(renderer, prompt, add_generation_prompt=True)
    whole = {end: _ids(renderer, [*prompt, *answer]) for end, answer in answers.items()}
    begin = min(_in_common(bare, ids) for ids in whole.values())
    if begin >= max_length:
        return []
    return [Text(f"{id}{end}", ids[:max_length], begin, len(ids) > max_length) for end, ids in whole.items()]


def plain(renderer: Renderer, id: str, text: str, max_length: int) -> Text:
    """Without a chat template, behind the token that begins a text where the tokenizer has one."""
    ids = renderer.tokenizer(text)["input_ids"]
    return Text(id, ids[:max_length], 1, len(ids) > max_length)


def scored(columns: Sequence[Column], texts: Sequence[Text], kept: Kept, say: Callable[[str], object]) -> Scores:
    """Of columns with weights here: those that are kept, and the others, which are kept then too."""
    missing = [(column, [text for text in texts if not kept.get(column, text)]) for column in columns]
    if wanted := [(column, of_column) for column, of_column in missing if of_column]:
        _score_all(wanted, kept, say)
    return {column.name: {text.id: kept.get(column, text) for text in texts} for column in columns}


def _score_all(wanted: Sequence[tuple[Column, Sequence[Text]]], kept: Kept, say: Callable[[str], object]) -> None:
    """The base is loaded once; the columns' adapters take turns on it."""
    columns, done = [column for column, _ in wanted], 0
    adapters = {column.name: column.weights.adapter for column in columns if column.weights.adapter}
    model: Any = models.load_base(columns[0].weights.base, columns[0].weights.folder)
    for name, folder in adapters.items():
        model = models.add_adapter(model, folder, name)
    model.eval()
    progress, of = Progress(say, "scored", "texts"), sum(len(texts) for _, texts in wanted)
    for column, texts in wanted:
        if column.name in adapters:
            model.set_adapter(column.name)
        with model.disable_adapter() if adapters and column.name not in adapters else nullcontext():
            for text in texts:
                kept.add(column, text, score(model, text))
                progress(done := done + 1, of)


def score(model: PreTrainedModel, text: Text) -> Score:
    """The text alone in its batch, so that no padding touches it."""
    import torch
    from torch.nn.functional import cross_entropy

    ids = torch.tensor([text.ids], device=model.device)
    before = torch.arange(text.begin - 1, len(text.ids) - 1, device=model.device)  # each predicts the token behind it
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=before).logits[0]
        parts = zip(logits.split(AT_ONCE), ids[0, text.begin :].split(AT_ONCE), strict=True)
        lost = sum(cross_entropy(part.float(), said, reduction="none").double().sum().item() for part, said in parts)
    return Score(-lost, len(before))


def _ids(renderer: Renderer, messages: Messages, **options: bool) -> list[int]:
    turns = [dict(message) for message in messages]
    made = renderer.tokenizer.apply_chat_template(
        turns, tokenize=True, return_dict=True, **options, **renderer.arguments
    )
    return made["input_ids"]


def _in_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one, other)))
