"""The report of the pairs stage as plain text: for report.txt, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from localpsych_recipes.pairs.statuses import STATUSES
from localpsych_recipes.progress import duration

WIDTH = 120  # characters
BAR = 30  # characters of the longest bar
WHERE = {"local": "on this machine", "remote": "on another machine"}
MODES = {"pointwise": "each answer alone", "pairwise": "both answers together, in both orders"}
FAMILIES = {True: "the base's own", False: "another than the base's", None: "unknown"}


def text(results: Mapping[str, Any]) -> str:
    """The whole report, from the results of the stage. Counts, names of models and settings; no text of any row."""
    blocks = (_models, _pairs, _became, _rates, _scores, _gaps, _means, _judging, _speed, _warnings)
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(block(results)))) + "\n"


def statuses(counts: Mapping[str, int]) -> str:
    """What became of candidates: a line for each status that occurs, the frequent ones first."""
    total = sum(counts.values())
    found = sorted(((counts.get(status, 0), status) for status in STATUSES), key=lambda entry: -entry[0])
    rows = [("candidates", "share", "status", "")]
    rows += [(f"{n:,}", _percent(n / total), s, STATUSES[s] if STATUSES[s] != s else "") for n, s in found if n]
    return "\n".join(_aligned([*rows, (f"{total:,}", "", "in all", "")], ">><<"))


def _models(results: Mapping[str, Any]) -> Iterator[str]:
    judge = results["judge"]
    commit = f" at {judge['commit'][:12]}" if judge["commit"] else ""
    rows = [
        ("answers by", f"{results['model']}, {results['engine']}, {WHERE[results['where']]}"),
        ("judged by", f"{judge['model']}{commit}, {judge['engine']}, {WHERE[judge['where']]}"),
        ("", f"{MODES[judge['mode']]}; its family: {FAMILIES[judge['same_family']]}; rubric {judge['rubric'][:12]}"),
    ]
    yield from _aligned(rows, "<<")


def _pairs(results: Mapping[str, Any]) -> Iterator[str]:
    rows = [("", "train", "test")]
    for name, words in (("prompts", "prompts"), ("pairs", "pairs made of them"), ("data_pairs", "pairs of the data")):
        rows.append((words, *(f"{results[name][split]:,}" for split in ("train", "test"))))
    yield from _aligned(rows, "<>>")
    if worse := [f"{kind} {count:,}" for kind, count in results["degraded"].items() if count]:
        yield f"candidates made worse on purpose: {', '.join(worse)}"


def _became(results: Mapping[str, Any]) -> Iterator[str]:
    yield statuses(results["statuses"])


def _rates(results: Mapping[str, Any]) -> Iterator[str]:
    rates = {"prompts with a pair": results["retention"]}
    rates |= {f"candidates {name.replace('_', ' ')}": rate for name, rate in results["rates"].items()}
    rows = [("", "n", "of", "share", "95 % interval")]
    for name, rate in rates.items():
        known = rate["share"] is not None
        interval = f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f} %" if known else "-"
        rows.append((name, f"{rate['kept']:,}", f"{rate['of']:,}", _percent(rate["share"]) if known else "-", interval))
    yield from _aligned(rows, "<>>>>")


def _scores(results: Mapping[str, Any]) -> Iterator[str]:
    chosen, rejected = (results["histograms"][side] for side in ("chosen", "rejected"))
    if not sum(rejected):
        return
    most = max(*chosen, *rejected)
    rows = [("mean score", "chosen", "", "rejected", "")]
    for low, (ours, theirs) in enumerate(zip(chosen, rejected, strict=True), start=1):
        rows.append((f"{low} to {low + 1}", f"{ours:,}", _bar(ours, most), f"{theirs:,}", _bar(theirs, most)))
    yield from _aligned(rows, ">><><")


def _gaps(results: Mapping[str, Any]) -> Iterator[str]:
    counts = results["histograms"]["gap"]
    if not sum(counts):
        return
    bins = [number for number, count in enumerate(counts) if count]
    rows = [("gap", "candidates", f"min_gap {results['min_gap']:g}")]
    for number in range(bins[0], bins[-1] + 1):
        rows.append((f"{number - 9} to {number - 8}", f"{counts[number]:,}", _bar(counts[number], max(counts))))
    yield from _aligned(rows, ">><")


def _means(results: Mapping[str, Any]) -> Iterator[str]:
    chosen, rejected = results["means"]["chosen"], results["means"]["rejected"]
    rows = [("mean of", "chosen", "rejected", "ahead by")]
    rows += [
        (name, f"{chosen[name]:.2f}", f"{rejected[name]:.2f}", _signed(chosen[name] - rejected[name]))
        for name in chosen
    ]
    if chosen:
        yield from _aligned(rows, "<>>>")


def _judging(results: Mapping[str, Any]) -> Iterator[str]:
    yield f"verdicts asked for again: {results['retried']:,}; unreadable twice: {results['unparsed']:,}"
    if results["judge"]["mode"] == "pairwise":
        yield f"the two orders disagree: {results['order_disagreements']:,}"
    rank, longer = results["length_correlation"], results["chosen_longer"]
    yield f"rank correlation of score with length in words: {'unknown' if rank is None else _signed(rank)}"
    if longer is not None:
        yield f"chosen is the longer one in {_percent(longer)} of the kept pairs"


def _speed(results: Mapping[str, Any]) -> Iterator[str]:
    for name, speed in results["speed"].items():
        tokens, seconds = speed["tokens"], speed["seconds"]
        if tokens and seconds:
            yield f"{name}: {tokens:,} tokens in {duration(seconds)}, {tokens / seconds:,.0f} tokens/s"


def _warnings(results: Mapping[str, Any]) -> Iterator[str]:
    for warning in results["warnings"]:
        yield textwrap.fill(f"WARNING: {warning}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _bar(count: int, most: int) -> str:
    return "#" * -(-count * BAR // most)  # rounded up: one is seen beside a million


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _aligned(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines of columns two blanks apart; sides: < or > for each column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]
