"""Texts of known tokens -> how likely a model finds them, each token given those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from localpsych_recipes import models
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


def scored(columns: Sequence[Column], texts: Sequence[Text], say: Callable[[str], object]) -> Scores:
    """Of columns with weights here. The base is loaded once; the columns' adapters take turns on it."""
    adapters = {column.name: column.weights.adapter for column in columns if column.weights.adapter}
    model: Any = models.load_base(columns[0].weights.base, columns[0].weights.folder)
    for name, folder in adapters.items():
        model = models.add_adapter(model, folder, name)
    model.eval()
    progress, found = Progress(say, "scored", "texts"), {}
    for number, column in enumerate(columns):
        if column.name in adapters:
            model.set_adapter(column.name)
        with model.disable_adapter() if adapters and column.name not in adapters else nullcontext():
            found[column.name] = {}
            for done, text in enumerate(texts, number * len(texts) + 1):
                found[column.name][text.id] = score(model, text)
                progress(done, len(columns) * len(texts))
    return found


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
