"""Figures against training steps, drawn."""

import io
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

LINE, FLOOR, TEXT, RULE = "#1f5fa8", "#8a8f98", "#3c4149", "#dfe2e7"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "curves",  # the names inside a drawing depend on nothing else, so that equal ones are equal bytes
    "text.color": TEXT,
    "axes.edgecolor": RULE,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


class Series(NamedTuple):
    """One panel: values with errors (one standard deviation) at steps, and what data against data reach."""

    title: str
    steps: list[int]
    values: list[float]
    errors: list[float]
    floor: float | None


def draw(series: list[Series], form: str) -> bytes:
    """A panel for each series, side by side, as a file of the format `form`, png or svg; equal ones are equal bytes."""
    with mpl.rc_context(STYLE):
        count = max(1, len(series))
        figure = Figure(figsize=(3.7 * count, 2.7), dpi=150, layout="constrained")
        for axes, one in zip(figure.subplots(1, count, squeeze=False)[0], series, strict=False):
            _panel(axes, one)
        if not series:
            figure.clear()
            figure.text(0.5, 0.5, "no figures yet", ha="center", va="center")
        content = io.BytesIO()
        figure.savefig(content, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return content.getvalue()


def _panel(axes: Axes, one: Series) -> None:
    axes.errorbar(one.steps, one.values, one.errors, color=LINE, marker="o", markersize=4, linewidth=1.5, capsize=3)
    if one.floor is not None:
        axes.axhline(one.floor, color=FLOOR, linewidth=1, linestyle=(0, (4, 3)), label="data against data")
        axes.legend(frameon=False, fontsize=8)
    axes.set_title(one.title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(0, 1.05 * max(*one.steps, 1))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
