"""Answers by transformers in this process: left-padded batches of prompts of much the same length, on every rank."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from localpsych_recipes import machine, models
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation.decoding import Decoder
from localpsych_recipes.generation.requests import Answer, Request, Sampling
from localpsych_recipes.generation.weights import OnThisMachine, Weights

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel

    from localpsych_recipes.generation.rendering import Prompt


@dataclass(frozen=True)
class InProcess(OnThisMachine):
    """The Writer that loads the weights here. batch_size: answers at once, on each rank; say: told of a smaller one; ranks:
    that share the work."""

    weights: Weights
    batch_size: int
    say: Callable[[str], None]
    ranks: machine.Ranks = field(default_factory=machine.ranks)
    name: ClassVar[str] = "transformers"
    every_rank: ClassVar[bool] = True

    @contextmanager
    def open(self, requests: Sequence[Request]) -> Iterator[Batches]:
        """Loads the model for the block. UserError, later, where memory is too small for one answer."""
        engine = Batches(self)
        try:
            yield engine
        finally:
            engine.unload()


class Batches:
    """A loaded model that answers in batches. It refuses nothing: too long a prompt has an empty answer, cut off."""

    def __init__(self, writer: InProcess) -> None:
        from transformers import GenerationConfig

        self.name, self.say, self.ranks = writer.model, writer.say, writer.ranks
        self.batch_size = self.at_once = writer.batch_size
        self.model: Any = _loaded(writer.weights)
        own = self.model.generation_config
        self.model.generation_config = GenerationConfig()  # `generate` would take from it what is not set here
        self.never = getattr(own, "suppress_tokens", None)  # Gemma 4's own: beginnings of images and sound
        named = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        self.decoder = Decoder(writer.weights.folder, [i for i in named if i is not None])
        self.context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
        self._vocabulary: Any = None

    def unload(self) -> None:
        """Gives the memory back: a judge may be as large as the model before it."""
        self.model = self._vocabulary = None
        models.forget()

    def write(self, requests: Sequence[Request], missing: Collection[int]) -> Iterator[Mapping[int, Answer]]:
        """This rank's batches, each answered as a whole. UserError where memory is too small for one answer."""
        prompts = [self.decoder.prompt(request) for request in requests]
        for number, batch in enumerate(batches(requests, [len(p.ids) for p in prompts], self.batch_size)):
            wanted = [i for i in batch if i in missing]
            if wanted and number % self.ranks.world == self.ranks.rank:
                fitting = [i for i in wanted if len(prompts[i].ids) < self.context]
                answers = self._answers([requests[i] for i in fitting], [prompts[i] for i in fitting])
                yield {i: Answer("", cut=True) for i in wanted} | dict(zip(fitting, answers, strict=True))

    def _answers(self, requests: Sequence[Request], prompts: Sequence[Prompt]) -> list[Answer]:
        answers: list[Answer] = []
        while len(answers) < len(prompts):
            part = slice(len(answers), len(answers) + self.at_once)
            rows = self._generated(requests[part], [prompt.ids for prompt in prompts[part]])
            if rows is None:
                self._take_fewer(len(prompts[part]))
            else:
                answers += [self.decoder.answer(prompt, row) for prompt, row in zip(prompts[part], rows, strict=True)]
        return answers

    def _generated(self, requests: Sequence[Request], prompts: Sequence[list[int]]) -> list[list[int]] | None:
        """Ids of the new tokens, of all rows equally many; None where memory ran out."""
        import torch
        from accelerate.utils.memory import should_reduce_batch_size

        inputs = self._padded(prompts)
        begin = inputs["input_ids"].shape[1]
        options = {
            "generation_config": self._settings(requests[0].sampling, self.context - begin),
            "logits_processor": self._processors(requests[0].schema, len(requests)),
            "synced_gpus": False,  # each rank has the whole model and batches of its own
        }
        try:
            with seeded(requests, self.model.device), torch.inference_mode():
                return self.model.generate(**inputs, **options)[:, begin:].tolist()
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        return None

    def _take_fewer(self, tried: int) -> None:
        if tried == 1:
            raise UserError(
                f"{self.name}: memory ran out while it wrote a single answer",
                "memory for the model and one answer",
                "lower max_tokens, or take a smaller model or `server: llama.cpp`",
            )
        models.forget()
        if self.at_once == self.batch_size:
            self.say(
                f"      memory ran out with {tried} answers at once: fewer from here on (batch_size says how many)"
            )
        self.at_once = tried // 2

    def _padded(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        import torch

        width = max(map(len, rows))
        ids = [[self.decoder.pad] * (width - len(row)) + list(row) for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        made = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        return {name: tensor.to(self.model.device) for name, tensor in made.items()}

    def _settings(self, sampling: Sampling, room: int) -> GenerationConfig:
        """The request's own settings; none of those that the model's repository recommends."""
        from transformers import GenerationConfig

        knobs = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        knobs["min_p"] = sampling.min_p or None
        return GenerationConfig(
            do_sample=sampling.temperature > 0,
            max_new_tokens=min(sampling.max_tokens, room),
            repetition_penalty=sampling.repetition_penalty,
            suppress_tokens=self.never,
            eos_token_id=sorted(self.decoder.ends),
            pad_token_id=self.decoder.pad,
            use_cache=True,
            **(knobs if sampling.temperature > 0 else {}),
        )

    def _processors(self, schema: Mapping[str, Any] | None, rows: int) -> list[Any]:
        if schema is None:
            return []
        from localpsych_recipes.generation import constrained

        self._vocabulary = self._vocabulary or constrained.vocabulary(self.decoder.tokenizer, self.decoder.ends)
        return [constrained.FollowSchema(self._vocabulary, schema, rows)]


def batches(requests: Sequence[Request], lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Numbers of the requests that are answered together: of the same settings and much the same length.

    lengths: of the prompts, in tokens; the longest come first, so that memory runs out early or never. First answers
    to every conversation come before any second one, so that more candidates later leave these batches as they are.
    """
    times: Counter[tuple] = Counter()
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        conversation = tuple((message["role"], message["content"]) for message in request.messages)
        groups[times[conversation], _settings(request)].append(number)
        times[conversation] += 1
    for _, numbers in sorted(groups.items()):
        numbers.sort(key=lambda i: (-lengths[i], requests[i].key("")))
        yield from (numbers[i : i + size] for i in range(0, len(numbers), size))


def _settings(request: Request) -> str:
    return json.dumps([{**asdict(request.sampling), "seed": None}, request.schema])


@contextmanager
def seeded(requests: Sequence[Request], device: torch.device) -> Iterator[None]:
    """Random numbers that follow from these requests alone; those of before go on behind the block."""
    import torch

    together = hashlib.sha256("".join(request.key("") for request in requests).encode()).digest()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int.from_bytes(together[:8]) >> 1)
        yield


def _loaded(weights: Weights) -> PreTrainedModel:
    base = models.load_base(weights.base, weights.folder)
    base.config.use_cache = True
    return (models.load_adapter(base, weights.adapter) if weights.adapter else base).eval()
