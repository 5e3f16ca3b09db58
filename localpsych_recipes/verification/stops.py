"""Whether answers end: with the token that ends a turn, in transformers and in llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes import rundir
from localpsych_recipes.chat_templates import Messages
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.verification.hops import Found
from localpsych_recipes.verification.serving import Serving

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "use_cache": True}
TOGETHER = 8  # answers at once
CERTAIN = 1000.0  # added to a token's logit: it comes next, whatever the model thinks


def ended(
    model: PreTrainedModel, renderer: Renderer, prompts: Sequence[Messages], max_tokens: int, ends: Sequence[int] = ()
) -> list[Messages]:
    """Those of the prompts whose greedy answer ends within `max_tokens`.

    ends: ids that end an answer; without them the model's own generation settings say it, as for its users.
    """
    stopping, found = set(ends or settled_ends(model)), []
    for start in range(0, len(prompts), TOGETHER):
        batch = prompts[start : start + TOGETHER]
        rows = _greedy(model, renderer, [renderer.prompt(prompt).ids for prompt in batch], max_tokens, ends)
        found += [prompt for prompt, row in zip(batch, rows, strict=True) if stopping.intersection(row)]
    return found


def _greedy(
    model: PreTrainedModel, renderer: Renderer, prompts: Sequence[list[int]], max_tokens: int, ends: Sequence[int]
) -> list[list[int]]:
    """The new ids behind left-padded prompts, padding behind those that have ended."""
    import torch

    tokenizer, width = renderer.tokenizer, max(map(len, prompts))
    pad = renderer.end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    own = {"eos_token_id": list(ends)} if ends else {}
    knobs = {**GREEDY, **own, "max_new_tokens": max_tokens, "pad_token_id": pad}
    with torch.inference_mode():
        return model.generate(ids, attention_mask=mask, **knobs)[:, width:].tolist()


def settled_ends(model: PreTrainedModel) -> list[int]:
    """The ids that end an answer by a model's own generation settings."""
    named = model.generation_config.eos_token_id
    return [i for i in (named if isinstance(named, list) else [named]) if i is not None]


def in_folder(folder: Path, base: Path, renderer: Renderer) -> str | None:
    """What is wrong with the ends that a model's folder names; None if nothing is."""
    settings, config = (rundir.read_json(folder / f"{name}.json") or {} for name in ("generation_config", "config"))
    named = settings.get("eos_token_id", config.get("eos_token_id"))
    if renderer.end not in (named if isinstance(named, list) else [named]):
        return f"generation_config.json does not end answers at {renderer.end_text}, which ends a turn"
    eos, expected = written_eos(folder), written_eos(base)
    return None if eos == expected else f"eos_token is {eos}, the base's is {expected}"


def written_eos(folder: Path) -> str | None:
    """The eos_token that a folder's tokenizer is configured with."""
    named = (rundir.read_json(folder / "tokenizer_config.json") or {}).get("eos_token")
    return named.get("content") if isinstance(named, dict) else named


def in_server(server: Serving, renderer: Renderer) -> str | None:
    """What is wrong with the ends as llama.cpp reads them from a GGUF; None if nothing is."""
    eos, expected = server.get("/props")["eos_token"], renderer.tokenizer.eos_token
    if eos != expected:
        return f"llama.cpp reads {eos or 'no token'} as eos_token, the base's is {expected}"
    forced = {"prompt": "?", "n_predict": 2, "logit_bias": [[renderer.end, CERTAIN]]}
    if server.post("/completion", **forced)["stop_type"] != "eos":
        return f"llama.cpp does not end answers at {renderer.end_text}, which ends a turn"
    return None


def ended_by_server(server: Serving, renderer: Renderer, prompts: Sequence[Messages], max_tokens: int) -> int:
    """How many of the prompts' greedy answers end within `max_tokens`, asked as a chat client asks."""
    knobs = {"max_tokens": max_tokens, "temperature": 0, "chat_template_kwargs": dict(renderer.arguments)}
    answers = (server.post("/v1/chat/completions", messages=prompt, **knobs) for prompt in prompts)
    return sum(answer["choices"][0]["finish_reason"] == "stop" for answer in answers)


def judged(count: int, asked: int, stopping: float, wrong: str | None) -> Found:
    """The hop: `count` of `asked` answers ended; wrong: what the settings are found to say already."""
    if not asked:
        note = "no answer of the model as trained is known to end, so that only the settings were looked at"
        return Found({"answers": 0}, wrong=wrong, note=note)
    needed = max(
        1, math.floor(stopping * asked)
    )  # one of eight may run on: a near-tie early in it, and it is another one
    if not wrong and count < needed:
        wrong = f"{count} of {asked} answers end that the model as trained ended"
    return Found({"answers": asked, "ended": count, "share": count / asked}, {"ended": needed}, wrong)
