"""Reasoning is told from answers by its tags, also where the prompt has opened it or it never ends."""

from __future__ import annotations

import pytest

from localpsych_recipes import chat_templates


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" That stings.\n", "That stings."),
        ("<think>\n\n</think>\n\nThat stings.", "That stings."),
        ("<think>Hm.\nHm.</think> That stings.", "That stings."),
        ("Hm.</think>That stings.", "That stings."),  # the prompt has opened it
        ("<think>Hm.</think>No.<think>Or</think>That stings.", "That stings."),
        ("<|channel>thought\nHm.<channel|>That stings.", "That stings."),  # Gemma 4
        ("[THINK]Hm.[/THINK]That stings.", "That stings."),  # Magistral
        ("<think>Hm.</think> ", ""),
        ("", ""),
        ("I think so.", "I think so."),
        ("<think>Hm, and", None),
        ("That stings. <think>Or", None),
        ("<think>Hm.</think>That <think>stings.", None),
        ("<|channel>thought\nHm", None),
        ("<|channel|>analysis<|message|>Hm.", None),  # gpt-oss
        ("[THINK]Hm", None),
        ("<thinking>Hm", None),
    ],
)
def test_what_is_left_of_a_text_without_its_reasoning(text, answer):
    assert chat_templates.without_reasoning(text) == answer


@pytest.mark.parametrize(
    ("prompt", "opened", "closing"),
    [
        ("<|User|>?<|Assistant|><think>\n", "<think>", "</think>\n\n"),
        ("<|User|>?<|Assistant|><think>", "<think>", "\n</think>\n\n"),
        ("<|turn>model\n<|channel>thought\n", "<|channel>thought", "<channel|>\n\n"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", None, ""),  # Qwen 3 with its thinking off
        ("<|im_start|>assistant\n", None, ""),
    ],
)
def test_reasoning_that_a_prompt_leaves_open_is_closed_by_its_own_tag(prompt, opened, closing):
    tags = chat_templates.left_open(prompt)
    assert (tags and tags[0]) == opened
    assert chat_templates.closing(prompt) == closing
    assert not closing or chat_templates.without_reasoning(prompt + closing + "That stings.") == "That stings."
