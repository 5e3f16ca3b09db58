"""What a user does with a release: the adapter through PEFT, the merged model through transformers, a GGUF through
llama-server; each is asked the same question, and so is the base, for comparison."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localpsych_recipes import llama_cpp
from localpsych_recipes.demo import tiny_gemma4

SYSTEM = "You are a calm and compassionate mental health assistant."
QUESTION = "I feel lonely since I moved to a new town and I do not know anyone here."
MAX_NEW_TOKENS = 160


@dataclass(frozen=True)
class Answer:
    """One answer and whether the model ended it by itself rather than at MAX_NEW_TOKENS."""

    who: str
    text: str
    ended: bool

    @property
    def known_share(self) -> float:
        """Share of its words that occur in the text that ships with the project."""
        words = words_of(self.text)
        known = {word for text in (*tiny_gemma4.shipped_text(), SYSTEM) for word in words_of(text)}
        return sum(word in known for word in words) / len(words) if words else 0.0


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:'[a-z]+)?|\d+", text.lower())


def ask_all(release: str, base: str, folder: Path) -> list[Answer]:
    """Prints the four answers with the share of their words that the shipped text knows."""
    prompt = [{"role": "user", "content": f"{SYSTEM}\n\n{QUESTION}"}]
    print(f"\nThe same question to all: {QUESTION}")
    answers = []
    for who, ask in askers(release, base, folder):
        answers.append(Answer(who, *ask(prompt)))
        answer = answers[-1]
        end = "ended by itself" if answer.ended else f"cut at {MAX_NEW_TOKENS} tokens"
        print(
            f"\n{who}\n  {answer.text}\n  [{end}; {answer.known_share:.0%} of its words are in the shipped text]",
            flush=True,
        )
    return answers


def askers(
    release: str, base: str, folder: Path
) -> Iterator[tuple[str, Callable[[list[dict[str, str]]], tuple[str, bool]]]]:
    yield f"base, {base}", lambda prompt: ask_transformers(base, None, prompt)
    yield f"adapter through PEFT, {release}-LoRA", lambda prompt: ask_transformers(base, f"{release}-LoRA", prompt)
    yield f"merged through transformers, {release}", lambda prompt: ask_transformers(release, None, prompt)
    yield f"Q4_K_M through llama-server, {release}-GGUF", lambda prompt: ask_llama_server(f"{release}-GGUF", prompt)


def ask_transformers(model_id: str, adapter_id: str | None, prompt: list[dict[str, str]]) -> tuple[str, bool]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_id)
    model: Any = AutoModelForCausalLM.from_pretrained(model_id, dtype=torch.bfloat16).eval()
    if adapter_id:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter_id)
    inputs = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, top_k=None, top_p=None)
    new = ids[0, inputs["input_ids"].shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True).strip(), len(new) < MAX_NEW_TOKENS


def ask_llama_server(repo_id: str, prompt: list[dict[str, str]]) -> tuple[str, bool]:
    from huggingface_hub import hf_hub_download
    from openai import OpenAI

    gguf = Path(hf_hub_download(repo_id, f"{repo_id.split('/')[1].removesuffix('-GGUF')}-Q4_K_M.gguf"))
    # training had no thinking part, which llama-server would otherwise ask Gemma 4 for
    with llama_cpp.tools().serve(gguf, ctx=1024, extra=("--reasoning", "off")) as server:
        client = OpenAI(base_url=f"{server.url}/v1", api_key="none")
        reply = client.chat.completions.create(model="local", messages=prompt, max_tokens=MAX_NEW_TOKENS, temperature=0)
    return reply.choices[0].message.content.strip(), reply.choices[0].finish_reason == "stop"
