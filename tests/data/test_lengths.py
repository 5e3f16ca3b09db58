"""Tokens are counted as TRL's trainers make them, and the summary says what max_length does to the same rows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from localpsych_recipes.data import lengths
from localpsych_recipes.demo import tiny_gemma4

QUESTIONS = [
    "I cannot sleep.",
    "My dog died last week and nobody asks me how I am. " * 3,
    "Why?",
    "I am tired of work. " * 9,
]
ANSWERS = ["What keeps you awake?", "I am sorry. ", "Tell me more about it. " * 8, "That sounds hard."]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_gemma4.make_tokenizer(tiny_gemma4.shipped_text())


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def sft_rows() -> list[dict]:
    asked = [[turn("user", question)] for question in QUESTIONS]
    longer = [turn("system", "Be calm."), *asked[0], turn("assistant", ANSWERS[0]), *asked[2]]
    rows = [{"prompt": prompt, "completion": [turn("assistant", answer)]} for prompt, answer in zip(asked, ANSWERS)]
    return [*rows, {"prompt": longer, "completion": [turn("assistant", ANSWERS[2])]}]


def pairs() -> list[dict]:
    worse = [[turn("assistant", answer)] for answer in reversed(ANSWERS)]
    return [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": w} for row, w in zip(sft_rows(), worse)]


def trainer(kind: str, rows: list[dict], tokenizer: PreTrainedTokenizerBase, folder, max_length: int | None):
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8}
    model, reference = (
        Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes)) for _ in range(2)
    )
    config, make = {"sft": (SFTConfig, SFTTrainer), "pairs": (DPOConfig, partial(DPOTrainer, ref_model=reference))}[
        kind
    ]
    arguments = config(output_dir=str(folder), max_length=max_length, use_cpu=True, bf16=False, report_to="none")
    return make(model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def sft_labels(tokenizer: PreTrainedTokenizerBase, folder, max_length: int | None) -> list[list[int]]:
    with torch.random.fork_rng():
        return trainer("sft", sft_rows(), tokenizer, folder, max_length).train_dataset[:]["labels"]


def test_prompt_and_answer_have_the_tokens_that_trl_masks_and_trains(tokenizer, tmp_path) -> None:
    made = sft_labels(tokenizer, tmp_path, None)
    expected = [(row.count(-100), len(row) - row.count(-100)) for row in made]
    assert lengths.count(sft_rows(), tokenizer, {}) == expected


@pytest.mark.parametrize("max_length", [16, 24, 40, 64])
def test_truncated_rows_and_trained_tokens_are_those_of_trls_trainer(tokenizer, tmp_path, max_length: int) -> None:
    whole, made = (sft_labels(tokenizer, tmp_path, limit) for limit in (None, max_length))
    found = lengths.summary(lengths.count(sft_rows(), tokenizer, {}), max_length)
    assert found["dropped"] == len(whole) - len(made)
    assert found["trained_tokens"] == sum(len(row) - row.count(-100) for row in made)
    longer = sum(len(row) > max_length for row in whole)
    assert longer > 0
    assert found["truncated"] == longer - found["dropped"]


def test_of_a_pair_the_longer_answer_counts_as_dpo_tokenises_it(tokenizer, tmp_path) -> None:
    with torch.random.fork_rng():
        made = trainer("pairs", pairs(), tokenizer, tmp_path, None).train_dataset
    expected = [(len(row["prompt_ids"]), max(len(row["chosen_ids"]), len(row["rejected_ids"]))) for row in made]
    assert lengths.count(pairs(), tokenizer, {}) == expected


def test_messages_are_counted_with_their_template(tokenizer) -> None:
    [row, *_] = sft_rows()
    said = row["prompt"] + row["completion"]
    assert lengths.token_counter(tokenizer, {})(said) == sum(lengths.count([row], tokenizer, {})[0])


def test_percentiles_are_lengths_of_rows() -> None:
    found = lengths.summary([(n, 2 * n) for n in range(1, 101)], None)
    assert found["percentiles"]["prompt"] == {5: 5, 50: 50, 95: 95, 99: 99, 100: 100}
    assert found["percentiles"]["total"][95] == 285
    assert (found["rows"], found["truncated"], found["dropped"], found["trained_tokens"]) == (100, 0, 0, 10100)
