"""How long rows are in tokens, counted as TRL 1.16 tokenises them, and what a maximum length makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import TemplateError

from localpsych_recipes.data import storage
from localpsych_recipes.data.conversations import Row
from localpsych_recipes.data.prepared import KINDS, SPLITS, Prepared
from localpsych_recipes.errors import UserError
from localpsych_recipes.progress import Progress
from localpsych_recipes.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Lengths = list[tuple[int, int]]  # tokens of prompt and answer of each row
PERCENTILES = (5, 50, 95, 99, 100)


def token_counter(
    tokenizer: PreTrainedTokenizerBase, chat_template_kwargs: dict[str, Any]
) -> Callable[[list[dict[str, str]]], int]:
    """Counts the tokens of messages, the chat template's own included."""
    return lambda messages: len(_ids(messages, tokenizer, chat_template_kwargs))


def count(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, chat_template_kwargs: dict[str, Any]) -> Lengths:
    """For each row the tokens of its prompt with the generation prompt, and those of its answer with the terminator.

    As in SFTTrainer and DPOTrainer (TRL 1.16, `tokenize_fn`) the answer begins where prompt alone and conversation
    part. Of a pair the longer answer counts.
    """
    return list(_counted(rows, tokenizer, chat_template_kwargs))


def count_lengths(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    chat_template_kwargs: dict[str, Any],
    say: Callable[[str], object] = print,
) -> dict[str, Lengths]:
    """`count` for each file that `write` made, by its name without the suffix: "sft_train" and so on."""
    found: dict[str, Lengths] = {}
    for kind in KINDS:
        for split in SPLITS:
            if (path := folder / f"{kind}_{split}.jsonl").exists():
                rows = _counted(storage.rows(folder, kind, split), tokenizer, chat_template_kwargs)
                found[path.stem] = _aloud(
                    rows, _lines(path), Progress(say, f"{path.stem}: counted the tokens of", "rows")
                )
    return found


def lengths_of(
    prepared: Prepared, tokenizer: PreTrainedTokenizerBase, chat_template_kwargs: dict[str, Any]
) -> dict[str, Lengths]:
    """`count` for each kind and split of rows that are not written yet."""
    found = {f"{k}_{s}": count(prepared.rows(k, s), tokenizer, chat_template_kwargs) for k in KINDS for s in SPLITS}
    return {name: lengths for name, lengths in found.items() if lengths}


def longest(recipe: Recipe) -> dict[str, int]:
    """Kind of rows -> max_length of the stage that trains on them."""
    stages = {"sft": recipe.sft, "pairs": recipe.dpo}
    return {kind: stage.max_length for kind, stage in stages.items() if stage}


def summary(lengths: Sequence[Sequence[int]], max_length: int | None) -> dict[str, Any]:
    """Percentiles of prompt, answer and both; rows longer than max_length that keep a part of their answer
    (truncated), rows that keep none and are left out (dropped), and tokens of answers that are trained on.

    TRL cuts the end of a row that is too long, and drops it if its prompt alone fills max_length.
    """
    table = np.array(lengths, np.int64).reshape(-1, 2)
    prompt, answer = table.T
    limit = np.iinfo(np.int64).max if max_length is None else max_length
    kept = np.clip(limit - prompt, 0, answer)
    return {
        "rows": len(table),
        "percentiles": {
            name: {share: int(_percentile(values, share)) for share in PERCENTILES}
            for name, values in (("prompt", prompt), ("answer", answer), ("total", prompt + answer))
            if len(table)
        },
        "truncated": int(((kept < answer) & (kept > 0)).sum()),
        "dropped": int((kept == 0).sum()),
        "trained_tokens": int(kept.sum()),
    }


def _percentile(values: np.ndarray, share: int) -> int:
    return np.percentile(values, share, method="inverted_cdf")  # the length of a row, none between two rows


def _counted(rows: Iterable[Row], tokenizer: Any, kwargs: dict[str, Any]) -> Iterator[tuple[int, int]]:
    for row in rows:
        prompt = _ids(row["prompt"], tokenizer, kwargs, add_generation_prompt=True)
        answers = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
        whole = [_ids(row["prompt"] + answer, tokenizer, kwargs) for answer in answers]
        shared = min(_common(prompt, ids) for ids in whole)
        yield shared, max(map(len, whole)) - shared


def _aloud(counted: Iterable[tuple[int, int]], total: int, progress: Progress) -> Lengths:
    found: Lengths = []
    for lengths in counted:
        found.append(lengths)
        progress(len(found), total)
    return found


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _ids(messages: list[dict[str, str]], tokenizer: Any, kwargs: dict[str, Any], **more: Any) -> list[int]:
    try:
        return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **more, **kwargs)["input_ids"]
    except TemplateError:  # its own words may quote a message
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
        raise UserError(
            f"the base's chat template refuses a conversation of {roles}",
            "turns in an order that it knows; some know no system turn, not even one that a row brings along",
            "set data.system_in: user, which puts the system prompt before the first question",
        ) from None


def _common(ids: Sequence[int], others: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next((at for at, (a, b) in enumerate(zip(ids, others)) if a != b), min(len(ids), len(others)))
