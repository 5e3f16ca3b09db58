"""Judge and policy of one family are known as such, by configuration, by a GGUF's own word and by name."""

from __future__ import annotations

import json

import pytest
from gguf import GGUFWriter

from localpsych_recipes.errors import UserError
from localpsych_recipes.judge import kind_of, refuse_same_family, same_family


@pytest.mark.parametrize(
    ("policy", "judge", "same"),
    [
        ("qwen2", "qwen3_moe", True),
        ("qwen3", "Qwen2.5-7B-Instruct-Q4_K_M.gguf", True),
        ("gemma3_text", "gemma4", True),
        ("gemma4", "medgemma:4b", True),
        ("llama", "TinyLlama-1.1B-Chat-v1.0", True),
        ("llama", "hermes-3-llama-3.1-8b", True),
        ("mistral", "Mixtral-8x7B", True),
        ("phi3", "Phi-4-mini-instruct", True),
        # a distilled model is of what it was distilled into, and of what it learnt from
        ("qwen2", "DeepSeek-R1-Distill-Qwen-7B", True),
        ("llama", "deepseek-r1-distill-llama-8b", True),
        ("deepseek_v3", "deepseek-r1-distill-llama-8b", True),
        ("gemma3", "DeepSeek-R1-Distill-Qwen-7B", False),
        ("qwen3", "gemma3", False),
        ("phi3", "qwen3", False),
        ("phi3", "dolphin-mistral", False),
        ("qwen3", "gpt-oss-20b", False),
        ("qwen3", "sage", None),
        ("qwen3", "ollama", None),
        ("newcomer", "qwen3", None),
        ("newcomer", "newcomer", True),
    ],
)
def test_families_are_told_apart_where_names_say_it_for_sure(policy, judge, same):
    assert same_family(policy, judge) is same


def test_one_family_is_refused_unless_the_recipe_allows_it():
    with pytest.raises(UserError, match=r"own family \(qwen\)[^\0]*judge.allow_same_family: true"):
        refuse_same_family("qwen3", "qwen2", allowed=False)
    refuse_same_family("qwen3", "qwen2", allowed=True)
    refuse_same_family("qwen3", "gemma3", allowed=False)
    refuse_same_family("qwen3", "sage", allowed=False)


def test_a_model_is_known_by_its_configuration_its_gguf_or_the_last_part_of_its_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    assert kind_of(tmp_path, "whatever") == "gemma3"
    writer = GGUFWriter(tmp_path / "judge.gguf", "qwen3")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert kind_of(tmp_path / "judge.gguf", "whatever") == "qwen3"
    assert same_family("llama", kind_of(None, "/home/me/llama.cpp/models/gemma-3-4b.gguf")) is False


@pytest.mark.parametrize("content", [b"", b"no GGUF at all, but long enough to be read as one", b"GGUF\x03\0\0\0"])
def test_a_damaged_gguf_is_said_to_be_one(tmp_path, content):
    file = tmp_path / "judge.gguf"
    file.write_bytes(content)
    with pytest.raises(UserError, match="judge.gguf cannot be read"):
        kind_of(file, "")
