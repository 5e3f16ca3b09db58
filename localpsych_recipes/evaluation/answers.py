"""The form of answers to held-out and suite prompts: how long, how varied, whether they end, what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from localpsych_recipes import chat_templates
from localpsych_recipes.evaluation import suite
from localpsych_recipes.evaluation.bench import Bench, Question, conversation
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.generation import Answer, Request
from localpsych_recipes.scoring import text

PREFIX = "held-out/"
# measure -> of an answer; None: it has too few words for it
OF_TEXT: dict[str, Callable[[str], float | None]] = {
    "words": lambda said: len(text.words(said)),
    "distinct_1": lambda said: text.distinct_n(said, 1),
    "distinct_2": lambda said: text.distinct_n(said, 2),
    "repetition": text.repetition,
}


def asks(bench: Bench) -> Sequence[Question]:
    """The held-out prompts as training has them: "held-out/NUMBER"."""
    return [Question(f"{PREFIX}{n}", Request(row["prompt"], bench.sampling())) for n, row in enumerate(bench.held_out)]


def measure(bench: Bench) -> Iterator[Measured | Skipped]:
    """words, distinct_1, distinct_2, repetition, ended and malformed of answers to held-out prompts and the suite's."""
    shared = clusters(bench)
    if not shared:
        yield Skipped("form of the answers", "no row is held out, and evaluate.suite is not set")
        return
    opened = bench.renderer.prompt(chat_templates.QUESTION).opened
    for column in bench.columns:
        found = bench.answers.get(column.name, {})
        yield from forms(column.name, {id: found[id] for id in shared if found.get(id)}, shared, opened)


def forms(column: str, answers: Mapping[str, Answer], clusters: Mapping[str, str], opened: str) -> Iterator[Measured]:
    """The measures of one column. opened: the tag of reasoning that a prompt ends in, or nothing."""
    said = {id: chat_templates.without_reasoning(answer.text) or "" for id, answer in answers.items()}
    values = {name: {id: measure(words) for id, words in said.items()} for name, measure in OF_TEXT.items()}
    values["ended"] = {id: float(not answer.cut) for id, answer in answers.items()}
    values["malformed"] = {id: float(text.malformed(written(answer.text, opened))) for id, answer in answers.items()}
    for name, of_name in values.items():
        items = {id: (float(value), 1.0) for id, value in of_name.items() if value is not None}
        yield Measured(name, column, items, {id: clusters[id] for id in items})


def written(answer: str, opened: str) -> str:
    """An answer as it must stand in a chat: what its prompt has opened (DeepSeek-R1's reasoning) goes, any other block of
    reasoning is the answer's own mistake. Empty where it never leaves that block."""
    return chat_templates.without_reasoning(answer) or "" if opened and answer.startswith(opened) else answer


def clusters(bench: Bench) -> dict[str, str]:
    """Question id -> what it shares with others: the conversation, or the scenario."""
    rows = {f"{PREFIX}{n}": conversation(row["prompt"]) for n, row in enumerate(bench.held_out)}
    return rows | suite.scenarios(bench)
