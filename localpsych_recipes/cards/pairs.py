"""How the preference pairs were made, for cards: from the recipe and the stage's report, which has no text of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from localpsych_recipes.cards import published, reports
from localpsych_recipes.cards.render import percent
from localpsych_recipes.pairs import STATUSES
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import STARTED, Pairs

DEGRADED = {
    "truncate": "cut at 70 % of their words",
    "first_sentence": "left without their first sentence",
    "repetition": "sampled with repetition allowed",
}
# settings of sampling, with the value at which each has no effect
SAMPLING = {"temperature": None, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
MODES = {"pointwise": "each answer alone", "pairwise": "both answers together in both orders (their mean counts)"}
PICKS = {
    "near": "of several for one prompt the best of them",
    "worst": "of several for one prompt the one with the lowest score",
    "all": "each made a pair of its own",
}
FAMILY = {
    True: "It is of the model's own family, and such a judge favours answers like its own",
    False: "It is not of the model's own family",
    None: "Whether it is of the model's own family is not known; such a judge would favour answers like its own",
}
RATES = {
    "kept_of_generated": "candidates kept, of those written",
    "kept_of_judged": "candidates kept, of those with a verdict",
    "judged_of_generated": "candidates with a verdict, of those written",
}
VERDICTS = {
    "retried": "verdicts asked for a second time",
    "unparsed": "verdicts that stayed unreadable",
    "order_disagreements": "verdicts of which the two orders disagree",
}


def made(run: Run) -> dict[str, Any] | None:
    """What a template may say of the pairs; None for a recipe that makes none, or before they are made."""
    found, knobs = results(run), run.recipe.pairs
    if not found:
        return None
    return {
        "prompts": found["prompts"],
        "each": knobs.candidates,
        "by": by(knobs.server, found["engine"], f"under the name {published.public_name(knobs.model)}"),
        "sampling": _sampling(knobs),
        "degraded": [(words, found["degraded"][key]) for key, words in DEGRADED.items() if found["degraded"].get(key)],
        "judge": _judge(found["judge"], run.recipe.judge.server),
        "criteria": list(knobs.criteria),
        "vetoes": list(knobs.vetoes),
        "min_gap": knobs.min_gap,
        "pick": PICKS[knobs.pick],
        "sent": [what for what, at in (("write", found), ("judge", found["judge"])) if at["where"] == "remote"],
        "table": list(_table(found)),
        "here": found["pairs"],
        "data": found["data_pairs"],
        "total": total(found),
        "warnings": found["warnings"],
    }


def results(run: Run) -> dict[str, Any] | None:
    """What the stage reported; an older report of a recipe that has no `pairs` any more does not count."""
    return reports.results(run, "pairs") or None


def judge(run: Run) -> dict[str, Any] | None:
    """The judge that was taken, as the stage reports it, or the evaluation's where the recipe makes no pairs."""
    return (results(run) or reports.results(run, "evaluate")).get("judge")


def total(found: Mapping[str, Any]) -> dict[str, int]:
    """Pairs by split: those made here and the data's own."""
    return {split: found["pairs"][split] + found["data_pairs"][split] for split in found["pairs"]}


def by(server: str | None, engine: str, name: str = "") -> str:
    """An address is its owner's affair, and what answers there is known by no more than a name."""
    return f"run by {engine}" if server in (None, *STARTED) else f"run on a server {name}".rstrip()


def _sampling(knobs: Pairs) -> str:
    values = {key: getattr(knobs, key) for key, off in SAMPLING.items() if getattr(knobs, key) != off}
    return ", ".join([*(f"{key} {value:g}" for key, value in values.items()), f"at most {knobs.max_tokens} tokens"])


def _judge(found: Mapping[str, Any], server: str | None) -> dict[str, Any]:
    return {
        "name": published.judge_name(found["model"]),
        "commit": found["commit"],
        "by": by(server, found["engine"]),
        "mode": MODES[found["mode"]],
        "family": FAMILY[found["same_family"]],
    }


def _table(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Words and values; of the statuses those that occurred."""
    yield "candidates", f"{found['candidates']:,}"
    for status, words in STATUSES.items():
        if count := found["statuses"].get(status):
            yield f"... {words}", f"{count:,}"
    yield "prompts with a kept pair", _share(found["retention"])
    for key, words in RATES.items():
        yield words, _share(found["rates"][key])
    for key, words in VERDICTS.items():
        if found[key]:
            yield words, f"{found[key]:,}"
    if (correlation := found["length_correlation"]) is not None:
        yield "rank correlation (Spearman) of an answer's score with its length in words", f"{correlation:.2f}"
    if (longer := found["chosen_longer"]) is not None:
        yield "kept pairs whose better answer is the longer one", _percent(longer)


def _share(rate: Mapping[str, Any]) -> str:
    """A share of counts with its Wilson interval; without one where there is nothing to have a share of."""
    counts = f"{rate['kept']:,} of {rate['of']:,}"
    if not rate["of"]:
        return counts
    interval = f"{_percent(rate['low'])} to {_percent(rate['high'])}"
    return f"{_percent(rate['share'])} ({counts}; 95 % interval {interval})"


def _percent(share: float) -> str:
    return f"{percent(share)} %"
