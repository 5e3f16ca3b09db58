"""Whether a judge and the model that it judges are of one family: judges favour answers like their own.

Self-preference of judges: Zheng et al., Judging LLM-as-a-Judge, https://arxiv.org/abs/2306.05685.
"""

from __future__ import annotations

import re
from pathlib import Path

from localpsych_recipes import families
from localpsych_recipes.errors import UserError

# family -> what a model_type, a GGUF's architecture or a model's name has in it; only names that say it for sure. What
# was distilled into another model is of both: deepseek-r1-distill-qwen.
WORDS = {
    "qwen": r"qwen|qwq",
    "gemma": r"gemma",
    "llama": r"(?<!o)llama(?![-._]?(cpp|server|file|index))",
    "mistral": r"mistral|mixtral|ministral|magistral",
    "phi": r"(?<![a-z])phi(?![a-z])|phimoe",
    "deepseek": r"deepseek",
    "gpt-oss": r"gpt[-_]oss",
    "granite": r"granite",
    "olmo": r"olmo",
    "glm": r"(?<![a-z])(chat)?glm",
    "cohere": r"cohere|command-[ar]",
    "smollm": r"smollm",
}


def same_family(policy: str, judge: str) -> bool | None:
    """By model_type, a GGUF's architecture or a model's name; None where one of the two is of no known family."""
    if policy == judge:
        return True
    one, other = _families(policy), _families(judge)
    return bool(one & other) if one and other else None


def refuse_same_family(policy: str, judge: str, allowed: bool) -> None:
    """UserError where both are of one family and the recipe does not allow that. Both as in `same_family`."""
    if same_family(policy, judge) and not allowed:
        family = ", ".join(sorted(_families(policy) & _families(judge))) or policy
        raise UserError(
            f"judge.model is of the base's own family ({family})",
            "a judge of another family: judges favour answers like their own",
            "set judge.model to another model, such as Qwen/Qwen3-4B, microsoft/Phi-4-mini-instruct or "
            "google/gemma-3-4b-it, or judge.allow_same_family: true, which the card says",
        )


def kind_of(folder: Path | None, name: str) -> str:
    """What a model is known by: config.json's model_type, a .gguf file's architecture, or its name on a server."""
    if folder is None:
        return re.split(r"[/\\]", name)[-1]  # llama-server's own names are paths, and a folder may be called llama
    if folder.suffix == ".gguf":
        return _architecture(folder)
    return families.type_of(folder)


def _architecture(file: Path) -> str:
    from localpsych_recipes.llama_cpp.reader import Reader

    try:
        return str(Reader(file).fields["general.architecture"].contents())
    except (ValueError, KeyError, OSError, IndexError):
        expected, do = "a whole GGUF of a language model", "fetch or convert it once more"
        raise UserError(f"judge.model: {file.name} cannot be read", expected, do) from None


def _families(name: str) -> set[str]:
    return {family for family, words in WORDS.items() if re.search(words, name.lower())}
