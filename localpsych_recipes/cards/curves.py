"""curves.png: loss and rewards over the steps of training, from the numbers that the trainer logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localpsych_recipes import pictures, rundir
from localpsych_recipes.pictures import BLUE, ORANGE
from localpsych_recipes.pipeline import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = "curves.png"
WIDTH, HEIGHT = 12, 4.5  # inches of a row of two panels
LOOKS = {"font.size": 14, "axes.titlesize": 15}  # to be read on a phone too
# stage, title, label of the axis, key of the trainer's log; the held-out one has eval_ before it
PANELS = (
    ("sft", "SFT: loss", "nats per token", "loss"),
    ("dpo", "DPO: loss", "loss", "loss"),
    ("dpo", "DPO: reward margin", "chosen less rejected", "rewards/margins"),
    ("dpo", "DPO: pairs in the right order", "share", "rewards/accuracies"),
)


def draw(run: Run) -> bytes | None:
    """A PNG of what the recipe's training stages logged, the same bytes for equal logs; None where nothing is."""
    logs = {stage: _history(run, stage) for stage in ("sft", "dpo") if getattr(run.recipe, stage)}
    found = [panel for panel in PANELS if any(_has(entry, panel[3]) for entry in logs.get(panel[0], ()))]
    if not found:
        return None
    rows = -(-len(found) // 2)
    return pictures.png((WIDTH, HEIGHT * rows), lambda figure: _draw(figure, found, logs, rows), **LOOKS)


def _history(run: Run, stage: str) -> Sequence[Mapping[str, float]]:
    return (rundir.read_json(run.dir.history(stage)) or {"entries": ()})["entries"]


def _has(entry: Mapping[str, float], key: str) -> bool:
    return key in entry or f"eval_{key}" in entry


def _draw(figure: Figure, found: Sequence[tuple[str, ...]], logs: Mapping[str, Any], rows: int) -> None:
    panels = list(figure.subplots(rows, 2 if len(found) > 1 else 1, squeeze=False).flat)
    for panel, (stage, title, label, key) in zip(panels, found, strict=False):
        _lines(panel, logs[stage], key)
        panel.set(title=title, xlabel="optimiser step", ylabel=label)
    for panel in panels[len(found) :]:
        panel.axis("off")
    names: dict[str, Any] = {}  # a panel may lack one of the two lines
    for panel in panels[: len(found)]:
        handles, labels = panel.get_legend_handles_labels()
        names |= dict(zip(labels, handles, strict=True))
    figure.legend(names.values(), names.keys(), loc="outside upper right", ncols=2)


def _lines(panel: Axes, entries: Sequence[Mapping[str, float]], key: str) -> None:
    for prefix, words, colour, marker in (("", "training", BLUE, ""), ("eval_", "held out", ORANGE, "o")):
        points = [(entry["step"], entry[prefix + key]) for entry in entries if prefix + key in entry]
        if points:
            alone = marker or ("." if len(points) == 1 else "")  # a line of one point would not be seen
            panel.plot(*zip(*points, strict=True), color=colour, marker=alone, label=words)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.grid(alpha=0.3)
