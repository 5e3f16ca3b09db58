"""The demo's base is a real Gemma 4 in small: class, towers, tokenizer, template, and widths that quantise cleanly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoTokenizer, Gemma4ForConditionalGeneration

from localpsych_recipes.demo import tiny_gemma4
from localpsych_recipes.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    tiny_gemma4.make(folder, steps=2, say=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return AutoTokenizer.from_pretrained(folder)


def test_it_loads_as_gemma4_with_three_towers_in_bfloat16(folder):
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(model) is Gemma4ForConditionalGeneration
    assert all(list(tower.parameters()) for tower in (model.model.vision_tower, model.model.audio_tower))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert 3e6 < sum(p.numel() for p in model.parameters()) < 10e6
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_the_last_layers_share_keys_and_values_and_own_none(shapes):
    own = {
        name.split(".layers.")[1].split(".")[0] for name in shapes if "language_model" in name and ".k_proj." in name
    }
    queries = {
        name.split(".layers.")[1].split(".")[0] for name in shapes if "language_model" in name and ".q_proj." in name
    }
    assert (own, queries) == ({"0", "1"}, {"0", "1", "2", "3"})


def test_every_matrix_of_the_language_model_has_rows_in_whole_blocks_of_256(shapes):
    matrices = {name: shape for name, shape in shapes.items() if "language_model" in name and len(shape) == 2}
    assert len(matrices) > 30
    assert {name: shape for name, shape in matrices.items() if shape[1] % 256} == {}
    projections = {name: shape for name, shape in matrices.items() if "embed_tokens" not in name}
    assert {name: shape for name, shape in projections.items() if shape[0] % 256} == {}


@pytest.mark.parametrize("text", ["I don't know.\n\n  Why?", "naïve café, 日本 🙂", "tab\there ▁ 12345"])
def test_any_text_survives_the_tokenizer(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text.replace("▁", " ")


def test_no_token_holds_two_words(tokenizer):
    assert [token for token in tokenizer.get_vocab() if "▁" in token[1:]] == []


def test_every_special_token_is_one_id_inside_a_text(tokenizer):
    ids = [tokenizer(token, add_special_tokens=False)["input_ids"] for token in tiny_gemma4.SPECIAL_TOKENS.values()]
    assert ids == [[index] for index in range(len(tiny_gemma4.SPECIAL_TOKENS))]


def test_a_turn_ends_with_a_token_that_ends_generation(folder, tokenizer):
    generation = json.loads((folder / "generation_config.json").read_text())
    assert [tokenizer.decode([i]) for i in generation["eos_token_id"]] == ["<eos>", "<turn|>", "<|tool_response>"]
    assert tokenizer.eos_token == "<eos>"


def test_the_prompt_is_a_prefix_of_the_conversation_and_the_answer_ends_its_turn(tokenizer):
    question, answer = {"role": "user", "content": "Is it late?"}, {"role": "assistant", "content": "Yes, it is."}
    prompt = tokenizer.apply_chat_template([question], add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template([question, answer], return_dict=False)
    assert whole[: len(prompt)] == prompt
    assert tokenizer.decode(whole[len(prompt) :]) == "Yes, it is.<turn|>\n"


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    tiny_gemma4.make(tmp_path / "again", steps=2, say=lambda line: None)
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert [name for name in files if (folder / name).read_bytes() != (tmp_path / "again" / name).read_bytes()] == []


def test_making_leaves_threads_and_random_numbers_as_they_were(tmp_path):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    tiny_gemma4.make(tmp_path / "tiny", steps=1, say=lambda line: None)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


def test_a_folder_that_exists_is_never_overwritten(folder):
    with pytest.raises(UserError, match="already"):
        tiny_gemma4.make(folder, steps=1)


def test_the_english_is_pairs_of_one_question_and_one_answer():
    exchanges = tiny_gemma4.read_english()
    assert 5_000 < sum(len(f"{question} {answer}".split()) for question, answer in exchanges) < 8_000
    assert len({question for question, _ in exchanges}) == len(exchanges)
