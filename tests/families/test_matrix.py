"""Every family goes the whole way: SFT, DPO, merge, GGUF, an answer from llama-server that is transformers' own."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from localpsych_recipes import chat_templates, families, llama_cpp, models, rundir
from localpsych_recipes.stages import dpo, gguf, merge, sft
from tests import small_run
from tests.families import bases

# as the published recipes of these families load them
QUANTIZATION = {"gemma": "int8", "phi3": "int8", "tinyllama": "int8"}
TOKENS = 16
KEPT_IN_FLOAT32 = ("--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off", "--threads", "1")
QUESTIONS = [question for question, _, _ in small_run.ROWS] + ["The baby died and I cannot sleep."]  # the last unseen


def run_of(name: str, root: Path):
    """All eight rows are trained on; two of them stand in the held-out split as well."""
    steps = {"per_device_train_batch_size": 2, "max_length": 128, "logging_steps": 100, "report_to": "none"}
    recipe = small_run.recipe(
        bases.make(name, root / "base"),
        base={"quantization": QUANTIZATION.get(name, "nf4")},
        lora={"r": 16, "lora_alpha": 32, "target_modules": "all"},
        sft={**steps, "max_steps": 40, "learning_rate": 1e-2, "gradient_checkpointing": False},
        dpo={**steps, "max_steps": 2, "learning_rate": 1e-5},
        merge={},
        gguf={"quants": ["Q4_K_M", "Q8_0"], "sixteen_bit": False, "adapter": False},
    )
    run = small_run.run(root / "run", recipe, [*small_run.ROWS, *small_run.ROWS[:2]])
    rundir.write_json(run.dir.pins, {"base": {"model": "someone/tiny", "commit": None}, "datasets": []})
    return run


def greedy(model: Any, prompt: list[int]) -> list[int]:
    """Up to TOKENS new tokens, as the model's own generation settings end them."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
    return out[0, len(prompt) :].tolist()


def ask(server: llama_cpp.Server, path: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.parametrize("name", bases.BASES)
def test_a_family_goes_the_whole_way(name, llama, tmp_path):
    from transformers import AutoModelForCausalLM

    import time
    t = time.time()
    run = run_of(name, tmp_path)
    print("base", time.time() - t); t = time.time()
    for stage in (sft, dpo, merge, gguf):
        r = stage.run(run)
        print(stage.__name__, time.time() - t, r.get("eval_loss")); t = time.time()

    merged = run.dir.release("merged")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(merged), models.load_tokenizer(tmp_path / "base")
    arguments = dict(families.of(families.type_of(merged)).chat_template_kwargs)
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = [
        tokenizer.apply_chat_template(c, add_generation_prompt=True, return_dict=False, **arguments) for c in chats
    ]
    answers = [greedy(model, prompt) for prompt in prompts]
    for row, answer in zip(small_run.ROWS, answers, strict=False):
        print(repr(tokenizer.decode(answer)))
    print("generate", time.time() - t); t = time.time()

    extra = (*KEPT_IN_FLOAT32, "--reasoning", "off")
    with llama.serve(run.dir.sixteen_bit_gguf, ctx=512, extra=extra) as server:
        for chat, prompt, answer in zip(chats, prompts, answers, strict=True):
            served = ask(server, "/completion", prompt=prompt, n_predict=TOKENS, temperature=0, return_tokens=True)
            assert served["tokens"] == answer
            shown = ask(server, "/apply-template", messages=chat, chat_template_kwargs=arguments)["prompt"]
            ids = ask(server, "/tokenize", content=shown, add_special=True, parse_special=True)["tokens"]
            assert tokenizer.convert_ids_to_tokens(ids) == tokenizer.convert_ids_to_tokens(prompt)
            c = ask(server, "/v1/chat/completions", messages=chat, max_tokens=TOKENS, temperature=0, chat_template_kwargs=arguments)
            print(c["choices"][0]["message"], c["usage"]["prompt_tokens"] == len(prompt))
    print("served", time.time() - t); t = time.time()
