"""Whether a prompt is the same text and the same tokens wherever it is rendered: by the tokenizer that trained, from the
tokenizer files of a folder, and by llama-server from a GGUF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from localpsych_recipes import families
from localpsych_recipes.chat_templates import Messages
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.models import TOKENIZER_FILES
from localpsych_recipes.verification.hops import Found
from localpsych_recipes.verification.serving import Serving

QUESTION, ANSWER = "I cannot sleep, and I don't know why.", "That sounds tiring. Since when?"
TURNS = {  # what was got wrong before: turns, blanks at either end, line ends, signs outside of ASCII
    "one turn": (QUESTION,),
    "three turns": (QUESTION, ANSWER, "For two weeks."),
    "five turns": (QUESTION, ANSWER, "For two weeks.", "What changed then?", "I lost my job."),
    "blanks around the text": (f"  {QUESTION}\n\n ",),
    "lines and tabs": ("Two things:\n\n\t1. sleep\n\t2. work",),
    "signs of other scripts": ("Ich bin müde … 我睡不着 😔🏳️‍🌈 — “why”?",),
}
SYSTEM = "You are a calm companion."


def conversations(base: Path) -> dict[str, Messages]:
    """By what is special about each; with a system message too where the template takes one."""
    plain = {name: _messages(turns) for name, turns in TURNS.items()}
    if not families.of(families.type_of(base)).system_turn:
        return plain
    system = {"role": "system", "content": SYSTEM}
    return plain | {f"{name}, with a system message": [system, *turns] for name, turns in plain.items()}


def _messages(turns: Sequence[str]) -> Messages:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(turns)]


def in_folder(folder: Path, base: Path) -> Found:
    """The tokenizer files of a released folder, and whatever further templates lie there: the base's, byte for byte."""
    names = [name for name in TOKENIZER_FILES if (folder / name).is_file() or (base / name).is_file()]
    names += sorted({path.relative_to(folder).as_posix() for path in folder.rglob("*.jinja")} - set(TOKENIZER_FILES))
    other = [name for name in names if _bytes(folder / name) != _bytes(base / name)]
    measures, bound = {"files": len(names), "same": len(names) - len(other)}, {"same": len(names)}
    return Found(measures, bound, f"{', '.join(other)}: not the base's" if other else None)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def in_server(server: Serving, renderer: Renderer, base: Path, prompts: Sequence[Messages]) -> Found:
    """Every conversation's prompt by llama-server against that of training: text, then ids; and the template itself.

    prompts: further conversations.
    """
    asked = conversations(base) | {f"probe {number}": prompt for number, prompt in enumerate(prompts, 1)}
    texts, ids = [], []
    for name, messages in asked.items():
        prompt = renderer.prompt(messages)
        text = server.post("/apply-template", messages=messages, chat_template_kwargs=dict(renderer.arguments))[
            "prompt"
        ]
        texts += [name] * (text.removeprefix(renderer.bos) == prompt.text)
        tokens = server.post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
        ids += [name] * (tokens == prompt.ids)
    other = {"text": [n for n in asked if n not in texts], "token ids": [n for n in asked if n not in ids]}
    wrong = [
        f"other {what} for {len(names)} prompts, such as that of {names[0]}" for what, names in other.items() if names
    ]
    if not wrong and server.get("/props")["chat_template"] != written(base).removesuffix("\n"):
        wrong = ["its chat template is not the base's, although these prompts come out the same"]
    measures = {"conversations": len(asked), "same_text": len(texts), "same_ids": len(ids)}
    return Found(measures, {"same_text": len(asked), "same_ids": len(asked)}, "; ".join(wrong) or None)


def written(folder: Path) -> str:
    """The chat template as it is on disk: training may have fitted its own copy."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_chat_template()
