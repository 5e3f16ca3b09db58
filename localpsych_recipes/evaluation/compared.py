"""Answers two by two before the judge, in both orders: what training has won, against the base and against SFT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from localpsych_recipes.evaluation import answers, verdicts
from localpsych_recipes.evaluation.bench import Bench
from localpsych_recipes.evaluation.measured import Measured
from localpsych_recipes.evaluation.verdicts import Columns, Found, Inquiry
from localpsych_recipes.judge import Case, Judged, Rubric
from localpsych_recipes.scoring.text import words

COMPARED = (("sft", "base"), ("dpo", "base"), ("dpo", "sft"))  # whose wins, against whom
# the shorter answer's words through the longer one's, from which on two are of like length. Judges favour long answers:
# what wins among these alone has not won by length (the aim of Dubois et al. 2024, https://arxiv.org/abs/2404.04475)
ALIKE = 0.8


def rubric(bench: Bench) -> Rubric:
    """The recipe's criteria, scored of both answers; the higher sum is preferred."""
    return Rubric(bench.knobs.criteria, {}, mode="pairwise")


def wins(bench: Bench) -> Inquiry:
    """On the chosen prompts that both have answered."""
    ids, asked, clusters = verdicts.chosen(bench), verdicts.conversations(bench), answers.clusters(bench)
    texts = {column.name: bench.texts(column.name, "") for column in bench.columns}
    cases = {
        (one, other): {
            id: Case(asked[id], (verdicts.shown(texts[one][id]), verdicts.shown(texts[other][id])))
            for id in ids
            if id in texts[one] and id in texts[other]
        }
        for one, other in COMPARED
        if one in texts and other in texts
    }

    def read(columns: Columns, found: Found) -> Iterator[Measured]:
        one, other = columns
        values = {id: won(judged) for id, judged in found.items()}
        alike = [id for id in found if of_like_length(*cases[columns][id].answers)]
        items = {id: (value, 1.0) for id, value in values.items()}
        yield Measured(f"win_rate_{other}", one, items, clusters, _how(found, values, alike))

    return Inquiry(rubric(bench), cases, read)


def won(judged: Judged) -> float:
    """1 where the first answer is preferred in both orders, 0 where the second one is, else one half."""
    if judged.disagree or judged.lead == 0:
        return 0.5
    return float(judged.lead > 0)


def of_like_length(one: str, other: str) -> bool:
    """Whether the shorter one has ALIKE of the longer one's words at least."""
    fewer, more = sorted(len(words(text)) for text in (one, other))
    return fewer >= ALIKE * more


def _how(found: Found, values: Mapping[str, float], alike: list[str]) -> str:
    count = [list(values.values()).count(value) for value in (1, 0.5, 0)]
    said = "{:,} won, {:,} tied, {:,} lost".format(*count)
    place = sum(judged.place for judged in found.values()) / max(len(found), 1)
    said += f"; the two orders disagree in {sum(judged.disagree for judged in found.values()):,}"
    said += f", and what stands first gets {place:+.2f} points"
    rate = f"{sum(values[id] for id in alike) / len(alike):.3f} of " if alike else ""
    return f"{said}; among answers of like length, at most a fifth fewer words than the other: {rate}{len(alike):,}"
