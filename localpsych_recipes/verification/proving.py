"""One release against the model that was trained: every check in order, and the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Verify
from localpsych_recipes.verification import in_llama_cpp, in_process, probes, report, room, seen
from localpsych_recipes.verification.hops import Hop
from localpsych_recipes.verification.proof import Proof
from localpsych_recipes.verification.release import Release, assemble_adapter, of_run

# in the order in which each leaves something for the next; no model is loaded twice
CHECKS: tuple[Callable[[Proof], Iterator[Hop]], ...] = (
    in_process.adapter,
    in_process.merged,
    in_llama_cpp.sixteen_bit,
    in_llama_cpp.files,
    in_llama_cpp.adapter,
)


def prove_run(run: Run) -> dict[str, Any]:
    """A run's release as it lies in RUN/release, the adapter put there if nothing is; results as of `prove`, and files:
    kind -> name -> SHA-256 of each as it was before it was looked at, by which push knows it again."""
    if not run.dir.release("adapter").is_dir():
        assemble_adapter(run)
    release, knobs, before = of_run(run), run.recipe.verify or Verify(), seen.files(run)
    results = prove(release, knobs, seed=run.recipe.seed, work=run.dir.verification, say=run.say)
    return results | {"files": before}


def prove(release: Release, knobs: Verify, *, seed: int, work: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The results of the verify stage: passed, probes, hops, left_out, withheld, llama_cpp; each hop is said as it
    comes.

    work: a folder for logits and files, gigabytes (see room), removed at the end. A hop that fails, or cannot be
    measured, is in the results; UserError where nothing can be compared at all, or there is too little disk.
    """
    with emptied(work):
        proof = Proof(release, knobs, probes.of(release, knobs, seed), work, say)
        proof.left_out += release.missing.items()
        taken = room.refuse_little(work, room.of_release(release, knobs))
        pieces, rows = f"{len(proof.pieces)} pieces of {knobs.context} tokens", f"{proof.probes.rows} held-out rows"
        say(f"      compared on {pieces}, {rows}; takes up to {taken}")
        hops = []
        for check in CHECKS:
            for hop in check(proof):
                say(f"      {report.line(hop.row())}")
                hops.append(hop)
        if not hops:
            raise UserError("a release without a single file", "an adapter at least", "look at its repositories")
        return report.results(proof, hops)


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """An empty folder for the block; it goes with what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
