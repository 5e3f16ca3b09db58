"""Whether each file is the model that was trained: the verify stage's hops as tables that a card can show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localpsych_recipes.cards import reports
from localpsych_recipes.cards.render import percent
from localpsych_recipes.pipeline import Run

DISTANCES = ("adapter", "as_trained", "merged", "gguf", "quant", "adapter_gguf")  # the other hops are yes or no
MEASURES = {
    "kl": "KL divergence",
    "kl_999": "its 99.9th percentile",
    "top1": "same next token",
    "perplexity_ratio": "perplexity ratio",
}
SMALL = 0.0001  # nats; what is less says nothing more, and results.json has it
SHARES = ("top1", "share")
AT_MOST = ("kl", "kl_999", "perplexity_ratio")
FORMS = {"adapter": "the adapter", "merged": "the merged model", "gguf": "the GGUF files"}
# when to choose which, by the beginning of a quant's name; the longest that fits counts
CHOOSE = {
    "F16": "to make other quants from it",
    "BF16": "to make other quants from it",
    "Q8": "memory is plenty; hardly to be told from sixteen bits",
    "Q6": "memory allows it; very close to sixteen bits",
    "Q5": "it fits; closer than four bits for a little more memory",
    "Q4": "unsure; the usual balance for laptops and phones",
    "IQ4": "unsure and memory is short; slower than Q4 on some processors",
    "Q3": "nothing larger fits; answers get noticeably worse",
    "IQ3": "nothing larger fits; answers get noticeably worse",
    "Q2": "for trying out only; much is lost",
    "IQ2": "for trying out only; much is lost",
}


def proven(run: Run) -> dict[str, Any] | None:
    """What a template may say of the proof; None before verify has run or without it."""
    found = reports.verification(run)
    if not found:
        return None
    hops = [_hop(hop) for hop in found["hops"]]
    return {
        "distances": [hop for hop in hops if hop["hop"] in DISTANCES],
        "checks": [hop for hop in hops if hop["hop"] not in DISTANCES],
        "failed": [hop for hop in hops if not hop["passed"]],
        "withheld": [(FORMS[kind], [f for f in files if f != reports.WHOLE])
                     for kind, files in found["withheld"].items() if files],
        "probes": found["probes"],
        "left_out": found.get("left_out", []),
    }  # fmt: skip


def _hop(hop: Mapping[str, Any]) -> dict[str, Any]:
    measures = {name: value for name, value in hop["measures"].items() if value is not None}
    named = [name for name in MEASURES if name in measures and (name != "kl_999" or name in hop["bound"])]
    seen = named + [name for name in measures if name not in MEASURES and (name in hop["bound"] or not named)]
    return {
        "hop": hop["hop"],
        "from": hop["from"],
        "to": hop["to"],
        "file": hop["file"],
        "of": FORMS[hop["kind"]],
        "seen": [(_words(n), shown(n, measures[n]), _bound(n, hop["bound"].get(n))) for n in seen],
        "passed": hop["passed"],
        "why": hop["why"],
    }


def _bound(measure: str, end: float | None) -> str | None:
    return None if end is None else f"{'≤' if measure in AT_MOST else '≥'} {shown(measure, end)}"


def files(run: Run, kind: str) -> list[dict[str, Any]]:
    """The published GGUF files of one repository, each with what was measured of it and when to choose it."""
    hops = {hop["file"]: hop["measures"] for hop in reports.verification(run).get("hops", []) if hop["hop"] == "quant"}
    return [_file(file, hops.get(file["file"], {})) for file in reports.files(run, kind)]


def _file(file: Mapping[str, Any], measures: Mapping[str, float]) -> dict[str, Any]:
    beginnings = [beginning for beginning in CHOOSE if file["quant"].startswith(beginning)]
    return {
        **file,
        "bits": f"{file['bits_per_weight']:.2f}" if file.get("bits_per_weight") else None,
        "close": [
            (_words(n), shown(n, measures[n]), None)
            for n in ("kl", "top1", "perplexity_ratio")
            if measures.get(n) is not None
        ],
        "choose": CHOOSE[max(beginnings, key=len)] if beginnings else None,
    }


def _words(measure: str) -> str:
    return MEASURES.get(measure, measure.replace("_", " "))


def shown(measure: str, value: float) -> str:
    """Shares in per cent, ratios and divergences with as many digits as say something."""
    if measure in SHARES:
        return f"{percent(value)} %"
    if measure in ("kl", "kl_999") and value < SMALL:  # where rounding is all there is, below zero too
        return f"< {SMALL}" if value else "0"
    if measure == "perplexity_ratio":
        return f"{value:.3f}"
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
