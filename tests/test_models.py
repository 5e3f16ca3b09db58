"""Tokenizers as training needs them: an answer is learnt behind the very prompt that is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2 import TemplateError
from transformers import AutoTokenizer

from localpsych_recipes import chat_templates, families, models
from localpsych_recipes.errors import UserError
from tests.families import bases

QUESTION = {"role": "user", "content": "I failed again."}
ANSWER = {"role": "assistant", "content": "That stings."}
TURNS = [{"role": "system", "content": "Be calm."}, QUESTION, ANSWER, QUESTION]


@pytest.fixture
def deepseek(tmp_path: Path) -> Path:
    return tokenizer_alone(tmp_path / "base", "deepseek-r1", "qwen2")


def tokenizer_alone(folder: Path, name: str, model_type: str) -> Path:
    bases.make_tokenizer(name, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def test_deepseek_learns_to_close_the_reasoning_that_its_prompt_has_opened(deepseek):
    tokenizer = models.load_tokenizer(deepseek)
    prompt = tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("<think>\n")
    whole = tokenizer.apply_chat_template([*TURNS, ANSWER], tokenize=False)
    assert whole == prompt + "</think>\n\nThat stings.<｜end▁of▁sentence｜>"
    reasoned = {"role": "assistant", "content": "<think>\nAgain?\n</think>\n\nThat stings."}
    whole = tokenizer.apply_chat_template([*TURNS, reasoned], tokenize=False)
    assert whole == prompt + "Again?\n</think>\n\nThat stings.<｜end▁of▁sentence｜>"
    assert tokenizer.convert_ids_to_tokens(chat_templates.end_of_turn(tokenizer)) == "<｜end▁of▁sentence｜>"


def test_deepseeks_prompts_and_files_stay_its_own(deepseek, tmp_path):
    before = {file.name: file.read_bytes() for file in deepseek.iterdir()}
    own, ours = AutoTokenizer.from_pretrained(deepseek), models.load_tokenizer(deepseek)
    for options in ({"add_generation_prompt": True}, {}):
        assert ours.apply_chat_template(TURNS, **options) == own.apply_chat_template(TURNS, **options)
    assert {file.name: file.read_bytes() for file in deepseek.iterdir()} == before


@pytest.mark.parametrize("name", sorted(bases.BASES.keys() - {"deepseek-r1"}))
def test_other_templates_are_left_as_they_are(tmp_path, name):
    folder = tokenizer_alone(tmp_path / "base", name, bases.BASES[name].architecture)
    template = (folder / "chat_template.jinja").read_text()
    assert models.load_tokenizer(folder).chat_template.rstrip() == template.rstrip()


@pytest.mark.parametrize("name", bases.BASES)
def test_the_families_without_a_system_turn_are_those_whose_template_refuses_it(tmp_path, name):
    model_type = bases.BASES[name].architecture
    tokenizer = models.load_tokenizer(tokenizer_alone(tmp_path / "base", name, model_type))
    if families.of(model_type).system_turn:
        assert "Be calm." in tokenizer.apply_chat_template(TURNS, tokenize=False)
    else:
        with pytest.raises(TemplateError, match="System role not supported"):
            tokenizer.apply_chat_template(TURNS, tokenize=False)


def test_a_row_of_llama_3_is_the_same_on_every_day(tmp_path):
    tokenizer = models.load_tokenizer(tokenizer_alone(tmp_path / "base", "llama3.2", "llama"))
    arguments = families.of("llama").chat_template_kwargs
    assert "Today Date: 26 Jul 2024\n" in tokenizer.apply_chat_template(TURNS, tokenize=False, **arguments)


@pytest.mark.parametrize(
    "answer",
    [
        "assistant: {{ message.content }}",  # behind another word than the prompt's
        "Answer:\n\n{{ message.content }}",  # the same words, but two newlines are another token than one
        "{{ message.content }}",
    ],
)
def test_a_template_that_answers_behind_another_prompt_is_refused(deepseek, answer):
    (deepseek / "chat_template.jinja").write_text(
        "{% for message in messages %}{% if message.role == 'assistant' %}"
        + answer
        + "{% else %}{{ message.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}Answer:\n{% endif %}"
    )
    with pytest.raises(UserError, match="the prompt that asks for it"):
        models.load_tokenizer(deepseek)


@pytest.mark.parametrize(
    ("settings", "config", "expected"),
    [
        ({"eos_token_id": 1, "top_k": 64}, {}, {"eos_token_id": [1, 107], "top_k": 64}),  # Gemma 1
        (None, {"eos_token_id": 1}, {"eos_token_id": [1, 107]}),
        (None, {}, {"eos_token_id": [107]}),
        ({"eos_token_id": [1, 107]}, {}, {"eos_token_id": [1, 107]}),
    ],
)
def test_a_model_is_made_to_stop_at_the_end_of_its_turn(tmp_path, settings, config, expected):
    file = tmp_path / "generation_config.json"
    (tmp_path / "config.json").write_text(json.dumps(config))
    if settings:
        file.write_text(json.dumps(settings))
    models.stop_at(tmp_path, 107)
    assert json.loads(file.read_text()) == expected
