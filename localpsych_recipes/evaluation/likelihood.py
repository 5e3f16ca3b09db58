"""How likely base, SFT and DPO find reference answers, held-out pairs and general prose: 16-bit weights, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import isnan, nan
from typing import Any

from localpsych_recipes import models, suites
from localpsych_recipes.data import storage
from localpsych_recipes.evaluation.bench import Bench, Question, conversation
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.evaluation.teacher_forcing import Kept, Score, Scores, Text, answered, plain, scored
from localpsych_recipes.recipe import Recipe

LONGEST = 2048  # tokens of a paragraph at most
SIDES = ("chosen", "rejected")
ELSEWHERE = "only weights in this process have them; the proof compares quants with the 16-bit file"
# beginnings of ids: all held-out rows, and all held-out pairs, by their place in the file; paragraphs
HELD_OUT, PAIRS, PROSE = "sft_test/", "pairs/", "general/"
MEASURES = {"loss": HELD_OUT, "perplexity": HELD_OUT, "general_perplexity": PROSE}
NOTHING = {
    HELD_OUT: "no answer is held out whose prompt fits max_length",
    PROSE: "evaluate.general_text is not set, or has no paragraph of two tokens",
}
SCORES = "scores.jsonl"  # in RUN/evaluation


def asks(bench: Bench) -> Sequence[Question]:
    """Nothing: no answers are needed."""
    return ()


def measure(bench: Bench) -> Iterator[Measured | Skipped]:
    """loss, perplexity, general_perplexity, preference_accuracy and reward_margin of base, SFT and DPO."""
    own = [column for column in bench.columns if column.weights]
    yield from (Skipped("likelihoods", ELSEWHERE, column.name) for column in bench.columns if not column.weights)
    if not own:
        return
    texts = [*held_out(bench), *pairs(bench), *general(bench)]
    with Kept(bench.work / SCORES) as kept:
        scores = scored(own, texts, kept, bench.say) if texts else {}
    models.forget()
    shared = clusters(bench)
    for name, prefix in MEASURES.items():
        yield from likelihoods(name, [text for text in texts if text.id.startswith(prefix)], scores, shared)
    yield from preferences(bench, [text for text in texts if text.id.startswith(PAIRS)], scores, shared)


def held_out(bench: Bench) -> list[Text]:
    """The answers of sft_test.jsonl, all of them, as SFT is evaluated on them."""
    limit = max_length(bench.run.recipe, "sft")
    made = (answered(bench.renderer, id, row["prompt"], {"": row["completion"]}, limit) for id, row in rows(bench))
    return list(chain.from_iterable(made))


def pairs(bench: Bench) -> list[Text]:
    """Both answers of each of the held-out pairs, as DPO is evaluated on them."""
    limit = max_length(bench.run.recipe, "dpo")
    answers = ({f"/{side}": row[side] for side in SIDES} for row in bench.pairs)
    made = (
        answered(bench.renderer, f"{PAIRS}{n}", row["prompt"], both, limit)
        for n, (row, both) in enumerate(zip(bench.pairs, answers, strict=True))
    )
    return list(chain.from_iterable(made))


def general(bench: Bench) -> list[Text]:
    """The paragraphs of evaluate.general_text, but those of one token, which has none before it to follow from."""
    paragraphs = suites.paragraphs(bench.knobs.general_text) if bench.knobs.general_text else ()
    made = [plain(bench.renderer, f"{PROSE}{n}", paragraph, LONGEST) for n, paragraph in enumerate(paragraphs)]
    return [text for text in made if len(text.ids) > text.begin]


def rows(bench: Bench) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All held-out rows of SFT, by id."""
    return ((f"{HELD_OUT}{n}", row) for n, row in enumerate(storage.rows(bench.run.rows_of("sft"), "sft", "test")))


def clusters(bench: Bench) -> dict[str, str]:
    """Rows and pairs by the conversation that they are from."""
    of_pairs = {f"{PAIRS}{n}": conversation(row["prompt"]) for n, row in enumerate(bench.pairs)}
    return {id: conversation(row["prompt"]) for id, row in rows(bench)} | of_pairs


def max_length(recipe: Recipe, stage: str) -> int:
    """Tokens of prompt and answer that the stage learns from; the other stage's, where the recipe has it alone."""
    return (getattr(recipe, stage) or recipe.sft or recipe.dpo).max_length


def likelihoods(
    name: str, texts: Sequence[Text], scores: Scores, clusters: Mapping[str, str]
) -> Iterator[Measured | Skipped]:
    """The negative log-likelihood of each text, by token, weighted by its tokens."""
    if not texts:
        yield Skipped(name, NOTHING[MEASURES[name]])
        return
    gone = sum(id.startswith(MEASURES[name]) for id in clusters) - len(texts) if MEASURES[name] == HELD_OUT else 0
    how = shortened(gone, sum(text.cut for text in texts))
    for column, found in scores.items():
        items = {text.id: (-found[text.id].mean, float(found[text.id].tokens)) for text in texts}
        yield Measured(name, column, items, {id: clusters[id] for id in items if id in clusters}, how)


def shortened(gone: int, cut: int) -> str:
    """What max_length did to the rows, in words; nothing where it did nothing."""
    said = {"left out, since the prompt alone is longer than max_length": gone, "cut at max_length": cut}
    return "; ".join(f"{count:,} {words}" for words, count in said.items() if count)


def preferences(
    bench: Bench, texts: Sequence[Text], scores: Scores, clusters: Mapping[str, str]
) -> Iterator[Measured | Skipped]:
    """preference_accuracy of all columns; reward_margin of those that are not the model that DPO starts from."""
    found = {column: _both(of_column) for column, of_column in scores.items()}
    if not any(found.values()):
        yield Skipped("preference accuracy and reward margin", "no pair is held out whose prompt fits max_length")
        return
    cut = {text.id.rpartition("/")[0] for text in texts if text.cut}
    how = shortened(len(bench.pairs) - len(texts) // len(SIDES), len(cut))
    for column, of_column in found.items():
        items = {id: (_prefers(pair), 1.0) for id, pair in of_column.items()}
        yield Measured("preference_accuracy", column, items, {id: clusters[id] for id in items}, how)
    yield from margins(bench.run.recipe, found, clusters, how)


def margins(
    recipe: Recipe,
    found: Mapping[str, Mapping[str, tuple[Score, Score]]],
    clusters: Mapping[str, str],
    limits: str = "",
) -> Iterator[Measured | Skipped]:
    """reward_margin as TRL's `rewards/margins`: the reference is what DPO starts from, the SFT model or the base."""
    reference = "sft" if recipe.sft else "base"
    if not recipe.dpo or reference not in found:
        why = f"evaluate.columns leaves out {reference}, the reference" if recipe.dpo else "the recipe has no `dpo`"
        yield Skipped("reward_margin", why)
        return
    yield Skipped("reward_margin", "the reference itself, 0 by definition", reference)
    how = "; ".join(filter(None, (f"beta {recipe.dpo.beta:g}; reference: {reference}", limits)))
    for column in (column for column in found if column != reference):
        gains = {id: _gap(pair) - _gap(found[reference][id]) for id, pair in found[column].items()}
        items = {id: (recipe.dpo.beta * gain, 1.0) for id, gain in gains.items()}
        yield Measured("reward_margin", column, items, {id: clusters[id] for id in items}, how)


def _both(scores: Mapping[str, Score]) -> dict[str, tuple[Score, Score]]:
    """Of each pair."""
    ids = [id.removesuffix("/chosen") for id in scores if id.endswith("/chosen")]
    return {id: (scores[f"{id}/chosen"], scores[f"{id}/rejected"]) for id in ids}


def _prefers(pair: tuple[Score, Score]) -> float:
    """NaN where one of the two is: a comparison with it would pass for a preference."""
    better, worse = pair
    return nan if isnan(better.mean - worse.mean) else float(better.mean > worse.mean)


def _gap(pair: tuple[Score, Score]) -> float:
    better, worse = pair
    return better.log_prob - worse.log_prob
