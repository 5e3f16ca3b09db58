"""Chat templates as training needs them: what is learnt begins exactly where what is served ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localpsych_recipes.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, str]]
QUESTION: Messages = [{"role": "user", "content": "?"}]
ANSWER = "§answer§"  # a text that no template writes itself
ANSWERED: Messages = [*QUESTION, {"role": "assistant", "content": ANSWER}]
# how templates open and close a block of reasoning
REASONING = (("<think>", "</think>"), ("<|channel>thought", "<channel|>"), ("[THINK]", "[/THINK]"))
OPENED = ("<think", "<|channel", "[THINK]")  # what is left of a block that has no end; the second is gpt-oss's too

# Around a base's own template, which follows the first line. `+` keeps transformers' blank-trimming away from it.
_BEFORE = (
    "{%- set answered = messages[-1].role == 'assistant' and not add_generation_prompt -%}"
    "{%- if answered %}{% set answer = messages[-1].content %}{% set messages = messages[:-1] %}"
    "{% set add_generation_prompt = true %}{% endif +%}"
)


def fit(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]) -> None:
    """Has the tokenizer render an answer behind the very prompt that a server makes; in memory only.

    Most templates do. Where the generation prompt opens a block of reasoning that the rendered answer lacks
    (DeepSeek-R1 ends it in `<think>`), an answer is put behind that prompt and the end of an empty block; one that
    brings reasoning of its own goes on in the open block. arguments: of the template, as in training.
    UserError for a template under which a prompt's ids are no prefix of the ids of prompt and answer.
    """
    template, prompt, whole = tokenizer.get_chat_template(), *_rendered(tokenizer, arguments)
    opened = left_open(prompt)
    if opened and not whole.startswith(prompt) and ANSWER in whole:
        tokenizer.chat_template = _after_reasoning(template, *opened, closing(prompt), whole.split(ANSWER)[1])
    _refuse_other_beginnings(tokenizer, arguments)


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id of the token that ends an assistant's turn, read off the chat template itself."""
    text = tokenizer.apply_chat_template(ANSWERED, tokenize=False)
    tail = tokenizer(text.rsplit(ANSWER, 1)[1], add_special_tokens=False)["input_ids"]
    known = set(tokenizer.added_tokens_decoder)
    return next((i for i in tail if i in known), tokenizer.eos_token_id)


def left_open(prompt: str) -> tuple[str, str] | None:
    """The tags of the block of reasoning that a rendered prompt opens, as DeepSeek-R1's do; None if it opens none."""
    return next((tags for tags in REASONING if prompt.rstrip().endswith(tags[0])), None)


def closing(prompt: str) -> str:
    """What closes the block that the prompt opens, before any reasoning; an empty text if it opens none."""
    opened = left_open(prompt)
    # no line of its own for the closing tag where the prompt has ended one: two newlines are one token in most
    # vocabularies, so that the prompt's last token would be another one
    return ("" if prompt.endswith("\n") else "\n") + opened[1] + "\n\n" if opened else ""


def without_reasoning(text: str) -> str | None:
    """What a model wrote behind its last block of reasoning, stripped; None if that block never ends.

    A block whose beginning the prompt has written is known by its end alone; where such a block may be cut off, put
    `left_open(prompt)[0]` before the text.
    """
    for _, closes in REASONING:
        text = text.rpartition(closes)[2]
    return None if any(mark in text for mark in OPENED) else text.strip()


def is_reasoning_mark(token: str) -> bool:
    """Whether a token is one that opens or closes reasoning: it must outlive decoding for `without_reasoning`."""
    return any(token in tag for tags in REASONING for tag in tags)


def _rendered(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any], **options: Any) -> tuple[Any, Any]:
    """The prompt, and the prompt with its answer: as texts, or as `options` ask."""
    from jinja2 import TemplateError

    options = {"tokenize": False, **options, **arguments}
    try:
        prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, **options)
        return prompt, tokenizer.apply_chat_template(ANSWERED, **options)
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise UserError(
            f"a base whose chat template cannot render one question and one answer ({type(error).__name__})",
            "a template that needs nothing but messages, and that Jinja's sandbox lets through",
            "take another base or revision",
        ) from None


def _after_reasoning(template: str, opens: str, closes: str, closing: str, end: str) -> str:
    opens, closes, closing, end = (json.dumps(text, ensure_ascii=False) for text in (opens, closes, closing, end))
    own = f"answer.split({opens})[-1].lstrip('\\n')"
    after = (
        f"{{%+ if answered %}}{{{{ {own} if {closes} in answer else {closing} + answer }}}}{{{{ {end} }}}}{{% endif %}}"
    )
    return _BEFORE + template.removesuffix("\n") + after


def _refuse_other_beginnings(tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any]) -> None:
    prompt, whole = _rendered(tokenizer, arguments, tokenize=True, return_dict=True)
    if whole["input_ids"][: len(prompt["input_ids"])] != prompt["input_ids"]:
        raise UserError(
            "a base whose chat template writes an answer behind another text than the prompt that asks for it",
            "one under which a prompt's tokens are the beginning of those of prompt and answer",
            "take another base or revision; a model trained like this would never see what it learnt",
        )
