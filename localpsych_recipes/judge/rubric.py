"""What a judge is asked: criteria and vetoes, laid out by a Jinja template, and the form of its answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Messages

if TYPE_CHECKING:
    from jinja2 import Template

# what a judge may be asked -> the template that ships; all of them extend the first
TEMPLATES = {
    "pointwise": "rubric.md.j2",
    "pairwise": "rubric_pairwise.md.j2",
    "absolute": "rubric_absolute.md.j2",
    "yes_no": "rubric_yes_no.md.j2",
    "task": "rubric_task.md.j2",
}
# how chat templates' special tokens begin, such as <|im_end|>, <end_of_turn>, </s> and [/INST]: a tokenizer makes one
# token of them wherever they stand, so that a text that has one would end its own turn
_SPECIAL = re.compile(r"<(?=[|｜/A-Za-z_])|\[(?=/?[A-Z_]{3,}\])")


@dataclass(frozen=True)
class Rubric:
    """criteria: scored by whole numbers within `scale` (lowest, highest); vetoes: answered by yes or no; each a name
    and what it means. mode: "pairwise" shows two answers together, in both orders; the others show one at a time:
    "pointwise" to compare their scores, "absolute" to report them, "yes_no" for vetoes alone, "task" for questions of
    any kind, with a reference answer where there is one. template: Jinja, instead of the one that ships; key: where the
    recipe has it, for messages.
    """

    criteria: Mapping[str, str]
    vetoes: Mapping[str, str]
    scale: tuple[int, int] = (1, 10)
    mode: Literal["pointwise", "pairwise", "absolute", "yes_no", "task"] = "pointwise"
    template: str | None = None
    key: str = "rubric"

    @property
    def together(self) -> bool:
        """Whether two answers are judged at once."""
        return self.mode == "pairwise"

    def questions(self, conversation: Messages, answers: Sequence[str], reference: str = "") -> tuple[str, ...]:
        """What the judge is asked about answers to the last turn of a conversation; reference: a good one, if known.

        One text for each answer. Pairwise: two texts about two answers, in their order and turned round.
        """
        if not self.together:
            return tuple(self._rendered(conversation, reference, answer=answer) for answer in answers)
        shown = answers, answers[::-1]
        return tuple(self._rendered(conversation, reference, answer_a=a, answer_b=b) for a, b in shown)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of an answer: all keys required, in the order of the criteria, and no other."""
        lowest, highest = self.scale
        score = {"type": "integer", "minimum": lowest, "maximum": highest}
        one = _closed({name: score for name in self.criteria} | {name: {"type": "boolean"} for name in self.vetoes})
        return _closed({"a": one, "b": one}) if self.together else one

    @property
    def sha256(self) -> str:
        """Of the template; of one that ships, with the one that it extends."""
        names = dict.fromkeys([TEMPLATES["pointwise"], TEMPLATES[self.mode]])
        shipped = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)
        return hashlib.sha256((self.template or shipped).encode()).hexdigest()

    def _rendered(self, conversation: Messages, reference: str, **answers: str) -> str:
        said = [{"role": turn["role"], "content": _plain(turn["content"])} for turn in conversation]
        question = next((turn["content"] for turn in reversed(said) if turn["role"] == "user"), "")
        lowest, highest = self.scale
        values = {"conversation": said, "question": question, "criteria": self.criteria, "vetoes": self.vetoes}
        shown = answers | ({"reference": reference} if self.mode == "task" else {})
        values |= {"lowest": lowest, "highest": highest} | {name: _plain(text) for name, text in shown.items()}
        try:
            return _compiled(self.template, self.mode).render(values).strip()
        except Exception as error:  # noqa: BLE001  a template fails in any way, and what the error says may be a row's
            raise UserError(
                f"{self.key}: the template fails with {type(error).__name__}",
                f"one that can be filled in from {', '.join(values)}, and reads no more of them than is there",
                f"mend the template, or leave {self.key} out for the one that ships",
            ) from None


@lru_cache
def _compiled(template: str | None, mode: str) -> Template:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(template) if template else environment.get_template(TEMPLATES[mode])


def _plain(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"{found[0]} ", text)


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
