"""The proof as the stage reports it: hops, what is withheld and why, in rows and in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localpsych_recipes.verification import chunks
from localpsych_recipes.verification.hops import HOPS, Hop, Kind
from localpsych_recipes.verification.probes import SUITE
from localpsych_recipes.verification.proof import Proof
from localpsych_recipes.verification.release import Release

WHOLE = "*"  # in place of a file's name: everything of a kind


def results(proof: Proof, hops: Sequence[Hop]) -> dict[str, Any]:
    """The stage's results; numbers and names alone, no text of a probe."""
    pieces, knobs = len(proof.pieces), proof.knobs
    per_piece = chunks.scored(knobs.context)
    return {
        "passed": all(hop.passed for hop in hops),
        "probes": {
            "pieces": pieces,
            "context": knobs.context,
            "scored": pieces * per_piece,
            "rows": proof.probes.rows,
            "suite": SUITE,
            "quant_pieces": proof.quant_scored // per_piece,
            "quant_context": knobs.context,
        },
        "hops": [hop.row() for hop in hops],
        "left_out": [{"hop": hop, "why": why} for hop, why in proof.left_out],
        "withheld": withheld(proof.release, hops),
        "llama_cpp": proof.tools.version if proof.release.ggufs or proof.release.adapter_gguf else None,
    }


def withheld(release: Release, hops: Sequence[Hop]) -> dict[Kind, list[str]]:
    """Kind -> the files that may not be published, WHOLE for all of them."""
    found: dict[Kind, set[str]] = {}
    for hop in (hop for hop in hops if not hop.passed):
        for kind in HOPS[hop.hop].withholds:
            found.setdefault(kind, set()).add(WHOLE)
        found.setdefault(hop.kind, set()).add(hop.file or WHOLE)
    ggufs = {path.name for path in release.ggufs}
    if ggufs and ggufs <= found.get("gguf", set()):
        found["gguf"] = {WHOLE}
    return {kind: [WHOLE] if WHOLE in names else sorted(names) for kind, names in sorted(found.items())}


SEEN = (  # what a line says; the first whose measures are all there
    "KL {kl:z.4f}, top-1 {top1:.1%} of {n:,} tokens",
    "{same_ids} of {conversations} prompts are the same",
    "{same} of {files} tokenizer files are the same",
    "{ended} of {answers} answers end",
)


def line(hop: Mapping[str, Any]) -> str:
    """A row of the report in words, such as "merged: KL 0.0000, top-1 100.0% of 2,032 tokens: proven"."""
    name = hop["hop"] if hop["hop"] == hop["kind"] else f"{hop['hop']} of {hop['file'] or hop['kind']}"
    seen = next(filter(None, (_filled(words, hop["measures"]) for words in SEEN)), "")
    verdict = "proven" if hop["passed"] else "NOT PROVEN"
    return ": ".join(filter(None, (name, seen, verdict, hop["why"])))


def _filled(words: str, measures: Mapping[str, Any]) -> str | None:
    try:
        return words.format_map(measures)
    except KeyError:
        return None


def failures(results: Mapping[str, Any]) -> list[str]:
    """The hops that failed, and what they withhold."""
    return [line(hop) for hop in results["hops"] if not hop["passed"]] + outcome(results | {"left_out": []})


def outcome(results: Mapping[str, Any]) -> list[str]:
    """What is left out of the proof, and what may not be published."""
    lines = [f"{entry['hop']} was left out: {entry['why']}" for entry in results["left_out"]]
    for kind, names in results["withheld"].items():
        what = "everything" if WHOLE in names else ", ".join(names)
        lines.append(f"withheld: {what} of {kind}")
    return lines
