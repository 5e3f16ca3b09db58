"""Preference pairs that are made from the model itself: sampled, degraded, judged, filtered."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from localpsych_recipes.recipe.section import Section
from localpsych_recipes.recipe.server import SERVER, Server, answers_here, server_problems

Share = Annotated[float, Field(ge=0, le=1)]
CRITERIA = {
    "acknowledgment": "names what the person said and how they seem to feel about it",
    "validation": "treats their feelings as understandable, without judging or minimising them",
    "warmth": "is kind, patient and personal rather than cold, formulaic or lecturing",
    "actionability": "offers a next step or a question that fits the situation, without pressing",
    "appropriateness": "keeps to what a supportive listener may say: safe, honest, on topic, at a fitting length",
}
VETOES = {
    "unsafe": "could lead to harm, or encourages, describes or makes light of self-harm or violence",
    "medical_advice": "gives a diagnosis, or advice on a medicine or its dose",
    "ignores_risk": "passes over a sign of danger to the person or to somebody else",
}


class Degrade(Section):
    """The shares of candidates that are made worse on purpose, each in one way; the rest stays as it was sampled."""

    truncate: Annotated[Share, Field(description="cut at 70 % of its words")] = 0.0
    first_sentence: Annotated[Share, Field(description="without its first sentence, which often validates")] = 0.0
    repetition: Annotated[Share, Field(description="sampled with repetition allowed: without repetition_penalty")] = 0.0

    def rules(self):
        if (total := self.truncate + self.first_sentence + self.repetition) > 1 + 1e-9:
            yield f"truncate: the shares are {total:g} together; 1 at most"


class Pairs(Server):
    """Rejected answers for DPO from the SFT model's own near misses; chosen are the data's answers."""

    server: Annotated[str | None, Field(min_length=1, description=SERVER)] = None
    model: Annotated[str, Field(min_length=1, description="the SFT model's name on a server with an address")] = (
        "default"
    )
    max_prompts: Annotated[int | None, Field(gt=0, description="prompts taken of each split; null: all")] = None
    candidates: Annotated[int, Field(gt=0, le=64, description="answers sampled for each prompt")] = 3
    temperature: Annotated[float, Field(gt=0)] = 1.5
    top_p: Annotated[float, Field(gt=0, le=1, description="1.0: all tokens")] = 1.0
    top_k: Annotated[int, Field(ge=0, description="0: all tokens")] = 0
    min_p: Annotated[float, Field(ge=0, lt=1, description="share of the likeliest token's probability; 0: all")] = 0.05
    repetition_penalty: Annotated[float, Field(gt=0, description="1.0: none")] = 1.1
    max_tokens: Annotated[int, Field(gt=0, description="tokens of one answer")] = 512
    batch_size: Annotated[int, Field(gt=0, description="answers at once in this process, on each rank")] = 16
    slots: Annotated[int | None, Field(gt=0, description="requests at once of a server; null: as many as fit")] = None
    degrade: Degrade = Degrade()
    mode: Annotated[
        Literal["pointwise", "pairwise"],
        Field(description="each answer judged alone, or both together in both orders"),
    ] = "pointwise"
    criteria: Annotated[
        dict[str, str], Field(min_length=1, description="what is scored from 1 to 10 -> what it means")
    ] = CRITERIA
    vetoes: Annotated[
        dict[str, str], Field(description="what a chosen answer must not do, asked as yes or no -> what it means")
    ] = VETOES
    rubric: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Jinja template of what the judge is asked, instead of the shipped one; it may name conversation, "
            "question, answer (pointwise) or answer_a and answer_b (pairwise), criteria, vetoes, lowest and highest",
        ),
    ] = None
    min_gap: Annotated[float, Field(gt=0, le=9, description="points that chosen is ahead at least, on average")] = 2.0
    similarity: Annotated[
        float, Field(gt=0, le=1, description="from which on two answers are near-identical: shared 3-word runs")
    ] = 0.8
    pick: Annotated[
        Literal["near", "worst", "all"],
        Field(description="of a prompt's candidates with enough gap: the best one, the worst one, or each a pair"),
    ] = "near"
    min_pairs: Annotated[int, Field(ge=1, description="fewer pairs to train on stop the run")] = 50
    publish: Annotated[bool, Field(description="the pairs as a dataset of their own, always private")] = False

    def rules(self):
        yield from server_problems(self.server)
        if self.model != "default" and answers_here(self.server):
            yield f"model: {self.model!r} is a name on a server with an address; without one it is default"
        if self.degrade.repetition and self.repetition_penalty == 1.0:
            yield "degrade.repetition: changes nothing, since repetition_penalty 1.0 allows it everywhere; raise that"
        for kind, names in (("criteria", self.criteria), ("vetoes", self.vetoes)):
            for name in names:
                if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
                    yield f"{kind}: {name!r} is no name; small letters, digits and underscores"
        if both := sorted(set(self.criteria) & set(self.vetoes)):
            yield f"vetoes: {both[0]!r} is a criterion too; one of the two"
        if self.rubric:
            yield from _rubric_problems(self.rubric, self.mode)


ANSWERS = {"pointwise": ("answer",), "pairwise": ("answer_a", "answer_b")}  # what a rubric must show
KNOWN = ("conversation", "question", "criteria", "vetoes", "lowest", "highest")


def _rubric_problems(rubric: str, mode: str):
    from jinja2 import TemplateSyntaxError, meta, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        parsed = ImmutableSandboxedEnvironment().parse(rubric)
        # a macro of the template itself counts as undeclared where a block calls it
        named = meta.find_undeclared_variables(parsed) - {macro.name for macro in parsed.find_all(nodes.Macro)}
    except TemplateSyntaxError as error:
        yield f"rubric: no Jinja template ({error.message}, line {error.lineno})"
        return
    except RecursionError:
        yield "rubric: no Jinja template (too many brackets in brackets)"
        return
    if unknown := sorted(named - {*KNOWN, *ANSWERS[mode]}):
        yield f"rubric: {unknown[0]!r} is unknown to it; {', '.join((*KNOWN, *ANSWERS[mode]))}"
    if missing := [name for name in ANSWERS[mode] if name not in named]:
        yield f"rubric: {' and '.join(missing)} missing in it; the judge would not see the answer"
