"""report.png: the pairs report as four panels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localpsych_recipes import pictures
from localpsych_recipes.pictures import BLUE, NEUTRAL, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = (12, 9)  # 1200 x 900 pixels
SIDES = (("chosen", -0.2, BLUE, "o"), ("rejected", 0.2, ORANGE, "s"))  # with the place of its bar, its marker
ROWS = 5  # that a panel has room for at least, so that one bar alone does not fill it


def draw(results: Mapping[str, Any]) -> bytes:
    """A PNG of 1200 x 900 pixels from the results of the stage; the same bytes for equal results."""
    return pictures.png(INCHES, lambda figure: _panels(figure, results))


def _panels(figure: Figure, results: Mapping[str, Any]) -> None:
    figure.suptitle(_headline(results), x=0.02, horizontalalignment="left")
    panels = list(figure.subplots(2, 2).flat)
    for panel, plot in zip(panels, (_scores, _gaps, _reasons, _means), strict=True):
        plot(panel, results)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)


def _headline(results: Mapping[str, Any]) -> str:
    kept, prompts = results["statuses"]["kept"], results["retention"]
    return (
        f"{kept:,} of {results['candidates']:,} candidates kept, for {prompts['kept']:,} of {prompts['of']:,} prompts"
    )


def _scores(panel: Axes, results: Mapping[str, Any]) -> None:
    for side, shift, colour, _ in SIDES:
        counts = results["histograms"][side]
        shares = [100 * count / max(sum(counts), 1) for count in counts]  # there are several rejected for each chosen
        middles = [low + 0.5 + shift for low in range(1, 10)]
        panel.bar(middles, shares, width=0.4, color=colour, label=f"{side} (n = {sum(counts):,})")
    panel.set(title="Scores", xlabel="mean over the criteria", ylabel="% of the answers", xticks=range(1, 11))
    panel.set_ylim(0, 100)


def _gaps(panel: Axes, results: Mapping[str, Any]) -> None:
    counts = results["histograms"]["gap"]
    panel.bar(range(-9, 9), counts, width=0.92, align="edge", color=NEUTRAL)
    panel.axvline(results["min_gap"], color="black", linestyle="--")
    panel.set(title=f"Gaps (n = {sum(counts):,}; dashed: min_gap {results['min_gap']:g})")
    panel.set(xlabel="mean of chosen less mean of rejected", ylabel="candidates")
    panel.set_xticks(range(-9, 10, 3))
    panel.set_ylim(bottom=0)


def _reasons(panel: Axes, results: Mapping[str, Any]) -> None:
    dropped = {status: count for status, count in results["statuses"].items() if count and status != "kept"}
    bars = panel.barh(list(dropped), list(dropped.values()), color=NEUTRAL)
    panel.bar_label(bars, fmt="{:,.0f}", padding=3)
    panel.margins(x=0.12)  # room for the numbers
    panel.set_ylim(max(len(dropped), ROWS) - 0.5, -0.5)
    panel.set(title=f"Not kept (n = {sum(dropped.values()):,})", xlabel="candidates")


def _means(panel: Axes, results: Mapping[str, Any]) -> None:
    means = {side: list(results["means"][side].values()) for side in ("chosen", "rejected")}
    rows = range(len(means["chosen"]))
    panel.hlines(rows, means["rejected"], means["chosen"], color=NEUTRAL, zorder=1)
    for side, _, colour, marker in SIDES:
        panel.scatter(means[side], rows, s=70, color=colour, marker=marker)
    panel.set(title="Criteria", xlabel="mean score", xlim=(0.8, 10.2), xticks=range(1, 11))
    panel.set_yticks(rows, results["means"]["chosen"])
    panel.set_ylim(max(len(rows), ROWS) - 0.5, -0.5)
