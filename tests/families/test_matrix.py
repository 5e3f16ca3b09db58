"""Every family goes the whole way: SFT, DPO, merge, GGUF, answers of llama-server that are transformers' own."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from localpsych_recipes import families, llama_cpp, models, rundir
from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import dpo, gguf, merge, sft
from tests import small_run
from tests.families import bases
from tests.families.rows import ROWS, UNSEEN

QUANTIZATION = {"gemma": "int8", "phi3": "int8", "tinyllama": "int8"}  # as their recipes load them; else nf4
TOKENS = 16
# llama-server's own choices, half precision for keys and values among them, would make near-ties fall otherwise
SERVER = (
    "--cache-type-k",
    "f32",
    "--cache-type-v",
    "f32",
    "--flash-attn",
    "off",
    "--threads",
    "1",
    "--reasoning",
    "off",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", bases.BASES)
def test_a_family_is_trained_to_stop_and_served_as_it_was_trained(name, llama, tmp_path):
    run = small_run_of(name, tmp_path)
    reports = [stage.run(run) for stage in (sft, dpo, merge, gguf)]  # gguf refuses quants of other types
    assert (reports[0]["train_rows"], reports[0]["truncated_rows"], reports[1]["pairs"]) == (8, 0, 8)

    prompts, expected = token_ids(run, models.load_tokenizer(tmp_path / "base"), bases.BASES[name].ends)
    answers = greedy(run.dir.release("merged"), prompts)
    assert answers[: len(ROWS)] == expected
    with llama.serve(run.dir.sixteen_bit_gguf, ctx=512, extra=SERVER) as server:
        for question, prompt, answer in zip(questions(), prompts, answers, strict=True):
            assert asked_by_ids(server, prompt) == answer
            assert ids_of_chat(server, question, arguments(run)) == prompt
        answer = asked_by_chat(server, ROWS[0][0], arguments(run))
        assert (answer["text"], answer["prompt_tokens"], answer["ended"]) == (ROWS[0][1], len(prompts[0]), "stop")


def small_run_of(name: str, root: Path) -> Run:
    """All eight rows are trained on; two of them are held out as well. Everything is float32 but the frozen weights."""
    both = {"max_length": 128, "logging_steps": 100, "report_to": "none", "gradient_checkpointing": False}
    recipe = small_run.recipe(
        bases.make(name, root / "base"),
        base={"quantization": QUANTIZATION.get(name, "nf4")},
        lora={"r": 16, "lora_alpha": 32, "target_modules": "all"},
        sft={**both, "max_steps": 36, "per_device_train_batch_size": 4, "learning_rate": 1e-2},
        dpo={**both, "max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-5},
        merge={},
        gguf={"quants": ["Q4_K_M"], "adapter": False},
    )
    run = small_run.run(root / "run", recipe, [*ROWS, *ROWS[:2]])
    rundir.write_json(run.dir.pins, {"base": {"model": "someone/tiny", "commit": None}, "datasets": []})
    return run


def arguments(run: Run) -> dict[str, Any]:
    return dict(families.of(families.type_of(run.dir.release("merged"))).chat_template_kwargs)


def questions() -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": question}] for question in (*(row[0] for row in ROWS), UNSEEN)]


def token_ids(run: Run, tokenizer: Any, ends: str) -> tuple[list[list[int]], list[list[int]]]:
    """Of every prompt; and, of the rows' answers, the ids up to the token that ends the turn, at most TOKENS."""
    render = {"return_dict": False, **arguments(run)}
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, **render) for chat in questions()]
    answers = []
    for chat, prompt, (_, answer, _) in zip(questions(), prompts, ROWS, strict=False):
        ids = tokenizer.apply_chat_template([*chat, {"role": "assistant", "content": answer}], **render)[len(prompt) :]
        answers.append(ids[: ids.index(tokenizer.convert_tokens_to_ids(ends)) + 1][:TOKENS])
    return prompts, answers


def greedy(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Up to TOKENS new tokens for each prompt, ended as the model's own generation settings say."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
        found.append(out[0, len(prompt) :].tolist())
    return found


def asked_by_ids(server: llama_cpp.Server, prompt: list[int]) -> list[int]:
    knobs = {"n_predict": TOKENS, "temperature": 0, "return_tokens": True}
    return ask(server, "/completion", prompt=prompt, **knobs)["tokens"]


def ids_of_chat(server: llama_cpp.Server, chat: list[dict[str, str]], arguments: dict[str, Any]) -> list[int]:
    """The ids that the server makes of a conversation by the GGUF's own chat template and vocabulary."""
    text = ask(server, "/apply-template", messages=chat, chat_template_kwargs=arguments)["prompt"]
    return ask(server, "/tokenize", content=text, add_special=True, parse_special=True)["tokens"]


def asked_by_chat(server: llama_cpp.Server, question: str, arguments: dict[str, Any]) -> dict[str, Any]:
    chat = [{"role": "user", "content": question}]
    knobs = {"max_tokens": TOKENS, "temperature": 0, "chat_template_kwargs": arguments}
    said = ask(server, "/v1/chat/completions", messages=chat, **knobs)
    choice, used = said["choices"][0], said["usage"]
    text = choice["message"]["content"].strip()  # DeepSeek's begins with the blank lines behind its reasoning
    return {"text": text, "prompt_tokens": used["prompt_tokens"], "ended": choice["finish_reason"]}


def ask(server: llama_cpp.Server, path: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
