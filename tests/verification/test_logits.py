"""Pieces of conversations, and what tiny models of the real architectures say of each next token in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM

from localpsych_recipes import models
from localpsych_recipes.verification import chunks, logits
from tests.families import bases

pytestmark = pytest.mark.usefixtures("one_thread")
CHAT = [{"role": "user", "content": "I am tired."}, {"role": "assistant", "content": "Rest now."}]
PIECES = np.random.default_rng(0).integers(3, 500, (5, 16), np.int32)


@pytest.mark.parametrize("family", ["llama3.2", "gemma3", "phi3"])
def test_pieces_are_conversations_as_trained_one_behind_the_other_each_begun_with_bos(family, tmp_path):
    bases.make_tokenizer(family, tmp_path / "base")
    tokenizer = tokenizer_in(tmp_path / "base", bases.BASES[family].architecture)
    rendered = tokenizer(tokenizer.apply_chat_template(CHAT, tokenize=False), add_special_tokens=False)["input_ids"]
    pieces = chunks.make([CHAT] * 9, tokenizer, {}, 16, 4)
    assert (pieces.dtype, pieces.shape) == (np.int32, (4, 16))
    assert set(pieces[:, 0]) == {tokenizer.bos_token_id}
    assert pieces[:, 1:].tolist() == np.reshape((rendered * 9)[:64], (4, 16))[:, 1:].tolist()


def test_without_a_bos_nothing_is_changed_and_short_text_makes_fewer_pieces(tmp_path):
    bases.make_tokenizer(bases.SMALL_QWEN3, tmp_path / "base")
    tokenizer = tokenizer_in(tmp_path / "base", "qwen3")
    rendered = tokenizer.apply_chat_template(CHAT, return_dict=False, enable_thinking=False)
    pieces = chunks.make([CHAT], tokenizer, {"enable_thinking": False}, 8, 100)
    assert pieces.ravel().tolist() == rendered[: len(rendered) // 8 * 8]
    assert chunks.make([CHAT], tokenizer, {}, 4096, 2).shape == (0, 4096)
    assert chunks.make([], tokenizer, {}, 64, 2).shape == (0, 64)


def tokenizer_in(folder: Path, model_type: str) -> Any:
    (folder / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    return models.load_tokenizer(folder)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_rows_are_what_the_model_says_before_each_token_of_the_second_half(family, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_models.build(family, tmp_path / "model", dtype=torch.float32))
    found = logits.of_model(model, PIECES, tmp_path / "logits", no_word)
    assert (found.n, found.vocab) == (5 * 7, 512)
    assert found.targets.tolist() == PIECES[:, 9:].ravel().tolist()
    with torch.no_grad():
        whole = model(torch.tensor(PIECES, dtype=torch.long)).logits
    expected = whole[:, 8:15].reshape(35, 512).numpy()
    np.testing.assert_allclose(found.values, expected, atol=1e-4)


def test_logits_of_a_model_in_half_precision_are_not_rounded_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(logits, "HEAD_ROWS", 100)
    model = AutoModelForCausalLM.from_pretrained(tiny_models.build("llama", tmp_path / "model"), dtype="auto")
    found = logits.of_model(model, PIECES, tmp_path / "logits", no_word).values
    with torch.no_grad():
        hidden = model.model(torch.tensor(PIECES, dtype=torch.long)).last_hidden_state[:, 8:15].reshape(35, -1)
        exact = hidden.double() @ model.lm_head.weight.double().T
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
    assert model(torch.tensor([[5]])).logits.dtype == torch.bfloat16  # afterwards it is as before


def test_an_adapter_in_half_precision_is_read_in_evaluation_mode(tmp_path):
    base = tiny_models.build("llama", tmp_path / "model")
    adapter = tiny_models.adapter(base, tmp_path / "adapter", targets=["q_proj"], lora_dropout=0.5)
    model = models.load_adapter(AutoModelForCausalLM.from_pretrained(base, dtype="auto"), adapter).train()
    once = logits.of_model(model, PIECES, tmp_path / "once", no_word)
    again = logits.of_model(model, PIECES, tmp_path / "again", no_word)
    assert once.values.dtype == np.float32 and np.array_equal(once.values, again.values)


def test_where_memory_runs_out_fewer_pieces_are_computed_at_once(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_models.build("llama", tmp_path / "model", dtype=torch.float32))
    plenty = logits.of_model(model, PIECES, tmp_path / "plenty", no_word)
    tried = []

    def little_memory(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        tried.append(len(named["input_ids"]))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(little_memory, with_kwargs=True)
    scarce = logits.of_model(model, PIECES, tmp_path / "scarce", no_word)
    assert tried[0] == 5 and max(tried[-3:]) == 2
    np.testing.assert_allclose(scarce.values, plenty.values, atol=1e-5)


def no_word(text: str) -> None:
    raise AssertionError(text)  # work this short says nothing
