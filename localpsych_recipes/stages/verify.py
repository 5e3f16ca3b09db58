"""Whether every file of the release is the model that was trained, before anything is pushed."""

from __future__ import annotations

from typing import Any

from localpsych_recipes.pipeline import Run
from localpsych_recipes.verification import proving, release, report


def run(run: Run) -> dict[str, Any]:
    """Results: the hops with their measures and bounds, and which files are withheld. A failed hop stops nothing here:
    push leaves out what is withheld. UserError where nothing can be compared."""
    release.assemble_adapter(run)  # what is proven is the very folder that is pushed
    results = proving.prove_run(run)
    for line in report.outcome(results):
        run.say(f"      {line}")
    return results
