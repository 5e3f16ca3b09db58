"""What the judge is asked for a measure, which answers it is asked about, and what comes back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from localpsych_recipes.evaluation import answers, suite
from localpsych_recipes.evaluation.bench import Bench
from localpsych_recipes.evaluation.measured import Measured
from localpsych_recipes.generation import Messages
from localpsych_recipes.judge import Case, Judged, Rubric

Columns = tuple[str, ...]  # the one whose answers are judged, or the two that are compared
Found = Mapping[str, Judged]  # question id -> verdicts that could be read
NOTHING = "(There is no reply.)"  # what the judge is shown of an empty answer
FAILURES = {"unparsed": "could not be read", "unjudged": "were refused by the judge's server"}


@dataclass(frozen=True)
class Inquiry:
    """One measure's, or several measures', questions to the judge: columns -> question id -> case, all by one rubric.
    read: the verdicts about some columns -> what they come to."""

    rubric: Rubric
    cases: Mapping[Columns, Mapping[str, Case]]
    read: Callable[[Columns, Found], Iterator[Measured]]


def conversations(bench: Bench) -> dict[str, Messages]:
    """Question id -> what the columns were asked: prompts of the suite, and held-out ones."""
    return {question.id: question.request.messages for family in (suite, answers) for question in family.asks(bench)}


def chosen(bench: Bench) -> list[str]:
    """Ids of the `judged_prompts` that are scored and compared, chosen by the seed.

    Suite and held-out prompts take turns, and within the suite its categories, those of crisis first.
    """
    categories: dict[tuple[bool, str], list[str]] = {}
    for prompt in suite.prompts(bench):
        categories.setdefault((prompt.group != "crisis", prompt.category), []).append(suite.PREFIX + prompt.id)
    held_out = [id for id in conversations(bench) if id.startswith(answers.PREFIX)]
    order = random.Random(bench.run.recipe.seed)
    of_suite = _in_turn([_shuffled(ids, order) for _, ids in sorted(categories.items())])
    return _in_turn([of_suite, _shuffled(held_out, order)])[: bench.knobs.judged_prompts]


def shown(text: str) -> str:
    """An answer as the judge sees it."""
    return text if text.strip() else NOTHING


def readable(judged: Mapping[str, Judged]) -> Found:
    return {id: verdicts for id, verdicts in judged.items() if not verdicts.failure}


def lost(judged: Iterable[Judged]) -> str:
    """How many verdicts there are not, and why; "" where all were read."""
    of = [verdicts.failure for verdicts in judged]
    count = Counter(filter(None, of))
    return "; ".join(f"{count[why]:,} of {len(of):,} verdicts {said}" for why, said in FAILURES.items() if count[why])


def _shuffled(ids: Sequence[str], order: random.Random) -> list[str]:
    return order.sample(ids, len(ids))


def _in_turn(lists: Sequence[Sequence[str]]) -> list[str]:
    """The first of each list, then the second of each, and so on."""
    return [id for ids in zip_longest(*lists) for id in ids if id is not None]
