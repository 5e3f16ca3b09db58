"""The table at the end of a run."""

import re

from finished_run import finished_run

from localpsych_recipes import summary


def lines(run, *stages: str) -> list[str]:
    table = summary.table(run, [run.report(stage) for stage in stages])
    return [re.sub(" {2,}", "  ", line) for line in table.splitlines()]


def test_every_gate_is_shown_before_anything_is_pushed(tmp_path):
    run = finished_run(tmp_path, "gates.0.at_least=0.78", "gates.1.within=0.01")
    found = lines(run, "merge", "gguf", "evaluate")
    assert [line for line in found if line.startswith(("crisis", "general"))] == [
        "crisis_pass at least 0.78  dpo  holds",
        "crisis_pass at least 0.78  Q4_K_M  FAILED: 0.75 is below 0.78",
        "crisis_pass at least 0.78  Q8_0  holds",
        "general_perplexity no more than 1 % above the base's  dpo  FAILED: 17.52 is above 17.4831",
    ]


def test_gates_are_no_matter_of_a_run_that_measures_nothing(tmp_path):
    assert not [line for line in lines(finished_run(tmp_path), "merge", "gguf") if "crisis_pass" in line]
