"""What the models of a release are compared on: held-out rows and a prompt suite, the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from localpsych_recipes import suites
from localpsych_recipes.chat_templates import Messages
from localpsych_recipes.recipe import Verify
from localpsych_recipes.verification.release import Release

SUITE = "mental-health"


@dataclass(frozen=True)
class Probes:
    """conversations: in a seeded order, those of held-out rows with their answers; rows: how many are held-out rows;
    prompts: conversations that wait for an answer, held-out ones first."""

    conversations: tuple[Messages, ...]
    rows: int
    prompts: tuple[Messages, ...]

    @property
    def prose(self) -> str:
        """What was said in them as plain text: llama-perplexity reads no special tokens."""
        said = (m["content"] for turns in self.conversations for m in turns if m["role"] != "system")
        return "\n\n".join(said) + "\n"


def of(release: Release, knobs: Verify, seed: int) -> Probes:
    """Probes for a release, by the recipe's `verify` section."""
    draw = random.Random(seed)
    rows = draw.sample(release.held_out, min(knobs.rows, len(release.held_out)))
    asked = [[dict(turn) for turn in prompt.turns] for prompt in suites.load(SUITE).prompts]
    draw.shuffle(asked)
    conversations = [*([*prompt, *answer] for prompt, answer in rows), *asked]
    draw.shuffle(conversations)
    prompts = [*(prompt for prompt, _ in rows), *asked][: knobs.answers]
    return Probes(tuple(conversations), len(rows), tuple(prompts))
