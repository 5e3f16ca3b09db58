"""Labels that answers give, against the held-out ones, for recipes whose answers are templates with labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localpsych_recipes.evaluation.bench import Bench, Question, conversation
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.recipe import Recipe, Source
from localpsych_recipes.recipe.data import columns_of
from localpsych_recipes.scoring import labels as scoring

NONE = -1  # the number of the label of an answer without one
_PLACE = re.compile(r"\{[^{}\n]+\}")


@dataclass(frozen=True)
class Form:
    """A label in a source's answers. source: its number; prompt: the words of its questions' template, in pieces; answer:
    its answers, with a group for the label; labels: the words; lead: those before the label."""

    source: int
    prompt: tuple[str, ...]
    answer: re.Pattern[str]
    labels: tuple[str, ...]
    lead: str

    def held_out(self, row: Mapping[str, Any]) -> str | None:
        """The label of a row; None where it is no row of this form."""
        question = " ".join(row["prompt"][-1]["content"].split())
        found = self.answer.search(" ".join(row["completion"][-1]["content"].split()))
        return found["label"] if found and all(piece in question for piece in self.prompt) else None


def asks(bench: Bench) -> Sequence[Question]:
    """Nothing: the held-out questions are asked already."""
    return ()


def measure(bench: Bench) -> Iterator[Measured | Skipped]:
    """Accuracy, and pairs of label numbers for macro-F1, the held-out one second."""
    forms = found_in(bench.run.recipe)
    held_out = dict(_held_out(bench.held_out, forms))
    if not held_out:
        why = "no held-out answer is a template with a label" if forms else "no source has labels in its answers"
        yield Skipped("labels", why)
        return
    numbers = {named: number for number, named in enumerate((f, label) for f in forms for label in f.labels)}
    for column in bench.columns:
        answers = bench.texts(column.name, "held-out/")
        pairs = {
            id: (
                numbers.get((form, scoring.given(answers[question], form.labels, form.lead)), NONE),
                numbers[form, label],
            )
            for id, (question, form, label) in held_out.items()
            if question in answers
        }
        how = f"{len({pair[1] for pair in pairs.values()})} labels; {_without(pairs)} answers name none, or several"
        clusters = {id: conversation(bench.held_out[int(id.split("/")[1])]["prompt"]) for id in pairs}
        rights = {id: (float(said == right), 1.0) for id, (said, right) in pairs.items()}
        yield Measured("label_accuracy", column.name, rights, clusters, how)
        yield Measured("label_macro_f1", column.name, {id: (pair, 1.0) for id, pair in pairs.items()}, clusters, how)


def found_in(recipe: Recipe) -> list[Form]:
    """Of each source whose answers hold columns with labels, each of these."""
    return [
        _form(number, source, answer, column, anywhere=recipe.augment is not None)
        for number, source in enumerate(recipe.data.learnt_by("sft"))
        for answer in (source.columns.response or source.columns.chosen,)
        if answer
        for column in columns_of(answer)
        if column in source.labels
    ]


def _held_out(rows: Sequence[Mapping[str, Any]], forms: Sequence[Form]) -> Iterator[tuple[str, tuple[str, Form, str]]]:
    """Item -> question, form and label. An answer with labels of two columns is two items."""
    for number, row in enumerate(rows):
        found = [(at, form, label) for at, form in enumerate(forms) if (label := form.held_out(row))]
        for at, form, label in found:
            if form.source == found[0][1].source:  # another's template can be as general as "{label}"
                yield f"held-out/{number}/{at}", (f"held-out/{number}", form, label)


def _form(number: int, source: Source, answer: str, column: str, anywhere: bool) -> Form:
    words = tuple(dict.fromkeys(" ".join(word.split()) for word in source.labels[column].values()))
    template = answer if columns_of(answer) != (answer,) else f"{{{answer}}}"
    before = template.partition(f"{{{column}}}")[0]
    pieces = [" ".join(piece.split()) for piece in _PLACE.split(source.columns.prompt or "")]
    prompt = () if columns_of(source.columns.prompt) == (source.columns.prompt,) else tuple(filter(None, pieces))
    return Form(
        number, prompt, _pattern(template, column, words, anywhere), words, "" if _PLACE.search(before) else before
    )


def _pattern(template: str, column: str, words: Sequence[str], anywhere: bool) -> re.Pattern[str]:
    """Whole answers, or answers with a teacher's words around them."""
    longest_first = sorted(words, key=len, reverse=True)
    label = f"(?P<label>{'|'.join(map(re.escape, longest_first))})"
    parts = re.split(r"(\{[^{}\n]+\})", " ".join(template.split()))
    made = "".join(
        label if part == f"{{{column}}}" else ".*?" if _PLACE.fullmatch(part) else re.escape(part) for part in parts
    )
    return re.compile(made if anywhere else rf"\A{made}\Z")


def _without(pairs: Mapping[str, tuple[int, int]]) -> int:
    return sum(said == NONE for said, _ in pairs.values())
