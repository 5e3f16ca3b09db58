"""Whoever follows a card's commands asks the model exactly as it was trained, whatever its chat template does by itself."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from finished_run import OWNER, cards, finished_run, write
from test_llama_cpp import request, tiny_llama

from localpsych_recipes import families, models
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.stages import card
from tests.families import bases

TYPES = {"qwen3": "qwen3", "llama3.2": "llama", "qwen2.5": "qwen2"}  # base -> model_type
SERVED = {"qwen3": "<|im_start|>assistant\n<think>\n\n</think>\n\n", "llama": "Today Date: 26 Jul 2024\n"}


def cards_of(folder, model_type: str) -> dict[str, str]:
    run = finished_run(folder, OWNER)
    write(run.dir.release("merged"), {"config.json": json.dumps({"model_type": model_type})})
    return cards(run)


@pytest.mark.parametrize("family", TYPES)
def test_the_python_of_a_card_makes_the_prompt_of_training(tmp_path, family) -> None:
    """Qwen 3's template asks for thinking by itself, and Llama 3's writes today's date."""
    texts = cards_of(tmp_path, TYPES[family])
    bases.make_tokenizer(family, tmp_path / "base")
    write(tmp_path / "base", {"config.json": json.dumps({"model_type": TYPES[family]})})
    for kind in ("adapter", "merged"):
        code = re.search(r"```python\n.*?(?=^question)(.*?)^output", texts[kind], re.DOTALL | re.MULTILINE)[1]
        known = {"tokenizer": models.load_tokenizer(tmp_path / "base"), "system": "Be calm."}
        exec(code, known)
        prompt = Renderer(tmp_path / "base").prompt(known["messages"])
        assert known["inputs"]["input_ids"][0].tolist() == prompt.ids, kind


@pytest.mark.parametrize(("model_type", "template"), [("qwen3", "qwen3"), ("llama", "llama3_2")])
def test_the_server_of_a_card_makes_the_prompt_of_training(tmp_path, llama, model_type, template) -> None:
    text = cards_of(tmp_path / "run", model_type)["gguf"]
    commands = re.findall(r"llama-server (?:-hf|-m) \S+ (.*)", text)
    assert len(commands) == 2 and len(set(commands)) == 1
    folder = tiny_llama(tmp_path / "tiny", width=64)
    write(folder, {"chat_template.jinja": bases.published(template)})
    gguf = llama.convert(folder, tmp_path / "tiny.gguf", outtype="bf16", name="Tiny")
    with llama.serve(gguf, ctx=256, extra=shlex.split(commands[0])) as server:
        messages = [{"role": "user", "content": "?"}]
        assert SERVED[model_type] in request(server.url + "/apply-template", {"messages": messages})["prompt"]


def test_ollama_and_llama_rn_are_told_the_same_where_they_can_be(tmp_path) -> None:
    texts = {name: cards_of(tmp_path / name, name)["gguf"] for name in ("qwen3", "llama", "gemma4")}
    assert "ollama run --think=false hf.co/alice/calm-GGUF:Q4_K_M" in texts["qwen3"]
    assert 'chat_template_kwargs: {"date_string": "26 Jul 2024"},' in texts["llama"]
    assert "kwargs" not in texts["gemma4"] and "--think" not in texts["gemma4"]


def test_without_a_merged_model_the_base_says_what_its_template_is_given(tmp_path) -> None:
    base = tmp_path / "mine"
    write(base, {"config.json": '{"model_type": "qwen3"}', "tokenizer_config.json": "{}"})
    over = ("merge=false", "gguf=false", f"base.model={base}", "base.hub_id=alice/base", "evaluate=false", "gates=[]")
    run = finished_run(tmp_path / "root", OWNER, *over)
    (run.dir.release("merged") / "config.json").unlink()
    assert card.run(run)["cards"] == ["adapter"]
    text = (run.dir.release("adapter") / "README.md").read_text()
    assert "enable_thinking=False" in text and families.of("qwen3").chat_template_kwargs == {"enable_thinking": False}
