"""What a release was made from, for its cards: sources with pins and counts, the forms of their messages, the teacher."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from localpsych_recipes import licences
from localpsych_recipes.cards import metadata, pairs, published
from localpsych_recipes.data.report import WORDS
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Recipe, Source
from localpsych_recipes.recipe.data import columns_of

# what the data report says of rows, and what of it stands among the counts of training
LINES = (
    ("outdated_lines", "outdated help lines in answers"),
    ("crisis_lines_replaced", "... of them replaced by today's"),
)
COUNTED_ELSEWHERE = ("sft_train", "sft_test", "pairs_train", "pairs_test")
ASKED = ("rows", "empty", "duplicates", "test")  # of which a zero is said too
SILENCE = {"id": "not stated by its authors", "file": "not stated in the recipe"}
EXAMPLE = "I keep waking up at night and worrying."


def datasets(run: Run) -> list[dict[str, Any]]:
    """The sources: what pins them, the licence in words, what learns from them, and the rows of each that were kept."""
    counts = _prepared(run).get("sources") or [{} for _ in run.pins["datasets"]]
    pins = zip(run.pins["datasets"], run.recipe.data.sources, counts, strict=True)
    return [_dataset(pin, source, count) for pin, source, count in pins]


def _dataset(pin: dict[str, Any], source: Source, counts: dict[str, Any]) -> dict[str, Any]:
    licence = metadata.pinned_licence(pin)
    return {
        "id": pin.get("id"),
        "commit": pin.get("commit"),
        "file": published.file_name(pin.get("file") or source.source),
        "kind": published.kind(pin),
        "digests": published.digests(pin, source),
        "licence": licence.label if licence else SILENCE["id" if pin.get("id") else "file"],
        "silent": licence is None,
        "rejected": source.columns.rejected,
        "score": source.columns.score,
        "use": source.use,
        "weight": source.weight,
        "counts": {key: counts.get(key) for key in ("rows", "train", "test")},
    }


def rows(run: Run) -> list[tuple[str, int]]:
    """Words and counts of all sources; zeros are said only of what every reader asks for."""
    lines = [_prepared(run), (run.report("augment") or {}).get("results", {}) if run.recipe.augment else {}]
    counts = {
        **lines[0],
        "outdated_lines": sum(sum(found.get("crisis_lines", {}).values()) for found in lines),
        "crisis_lines_replaced": sum(found.get("crisis_lines_replaced", 0) for found in lines),
    }
    told = [(key, words) for key, words in (*WORDS, *LINES) if key not in COUNTED_ELSEWHERE]
    return [(words, counts[key]) for key, words in told if counts.get(key) or (key in ASKED and key in counts)]


def needed(run: Run, base: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """What no commit pins, so that the recipe alone does not make the release again: words and the names it had here."""
    found = [("the base as it was in the local folder", [base["folder"]])] if not base["commit"] else []
    local = [rows for rows in datasets(run) if not rows["commit"]]
    for kind in ("file", "folder"):
        if names := [rows["file"] for rows in local if rows["kind"] == kind]:
            found.append((f"the rows as they were in the {kind}{'s' if names[1:] else ''}", names))
    judge = pairs.judge(run)
    if judge and not judge["commit"]:
        found.append(("the judge", [published.judge_name(judge["model"])]))
    return found + ([("the texts of the model", [teacher(run)])] if run.recipe.augment else [])


def teacher(run: Run) -> str:
    """The model that wrote into the answers, by its own server's name for it; a path's last part."""
    report = run.report("augment") or {"results": {"teacher": run.recipe.augment.model}}
    return published.public_name(report["results"]["teacher"])


def forms(recipe: Recipe) -> list[dict[str, Any]]:
    """The recipe's templates of messages, each with that of its answers and the labels in it; nothing of any row."""
    found = {}
    for source in recipe.data.sources:
        columns = source.columns
        answer = columns.response or columns.chosen
        if columns.prompt and _is_template(columns.prompt):
            named = columns_of(answer) if _is_template(answer) else ()
            labels = {
                name: list(dict.fromkeys(source.labels[name].values())) for name in named if name in source.labels
            }
            found[columns.prompt] = {"prompt": columns.prompt, "answer": answer if named else None, "labels": labels}
    return list(found.values())


def question(recipe: Recipe) -> str:
    """A message as somebody may send it, in the first of the forms that the model was trained on."""
    return next((re.sub(r"\{[^{}\n]+\}", EXAMPLE, form["prompt"]) for form in forms(recipe)), EXAMPLE)


def restricted(run: Run, base: str | None) -> Iterator[tuple[str, str, str]]:
    """Name, licence and why of whatever may not simply be published."""
    names = [base, *(rows["id"] or rows["file"] for rows in datasets(run))]
    names += [teacher(run)] if run.recipe.augment else []
    for name, link in zip(names, licences.chain(run.recipe, run.pins), strict=True):
        if link.licence and link.restriction:
            yield name, link.licence, link.restriction


def _is_template(part: str) -> bool:
    return columns_of(part) != (part,)


def _prepared(run: Run) -> dict[str, Any]:
    return (run.report("prepare") or {}).get("results", {}).get("counts", {})
