"""Charts: panels of curves, as PNG or SVG files. Equal curves are equal bytes."""

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reports.kinds import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, BASELINE, TEXT, RULE = "#1f5fa8", "#8a8f98", "#3c4149", "#dfe2e7"
# Paul Tol's "muted" scheme, which color-blind readers can tell apart.
COLORS = ("#332288", "#cc6677", "#117733", "#88ccee", "#ddaa33", "#882255", "#44aa99", "#999933", "#aa4499", "#777777")
DASHES = ("solid", "dashed", "dotted")  # line styles of matplotlib, and border styles of CSS
COLUMNS = 3  # panels in a row
POINTS = 400  # of a curve, at most: more cannot be seen
METADATA = {"svg": ("Date", "Creator", "Format", "Type"), "png": ("Software",)}  # left out of the files
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "curves",  # identifiers depend on the content only, so that equal charts are equal bytes
    "text.color": TEXT,
    "axes.edgecolor": RULE,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


class Curve(NamedTuple):
    """Values at steps, perhaps with error bars of one standard deviation."""

    steps: Sequence[float]
    values: Sequence[float]
    errors: Sequence[float] | None = None
    color: str = LINE
    dash: str = "solid"
    marker: str = ""
    width: float = 1.5


class Panel(NamedTuple):
    """Curves on common axes. baseline: a value that is drawn as a horizontal line, with its label."""

    title: str
    curves: Sequence[Curve]
    baseline: float | None = None
    baseline_label: str = ""
    logarithmic: bool = False


def style(index: int) -> tuple[str, str]:
    """Color and line style of curve `index` of many: other colors first, then dashes."""
    return COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)]


def spans_factors(curves: Sequence[Curve]) -> bool:
    """Whether a logarithmic axis suits the curves: all values are positive and span more than a factor of three."""
    values = [value for curve in curves for value in curve.values]
    return bool(values) and min(values) > 0 and max(values) > 3 * min(values)


def points(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of `name` in the lines of a log that have it."""
    known = (line for line in lines if type(line.get("step")) is int and is_number(line["step"]))
    found = [(line["step"], line[name]) for line in known if is_number(line.get(name))]
    return [step for step, _ in found], [value for _, value in found]


def thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most `POINTS` points of a curve, means of adjacent ones; values that are not finite are left out."""
    finite = [point for point in zip(steps, values, strict=True) if math.isfinite(point[1])]
    size = max(1, -(-len(finite) // POINTS))
    groups = [finite[k : k + size] for k in range(0, len(finite), size)]
    return [sum(x for x, _ in g) / len(g) for g in groups], [sum(y for _, y in g) / len(g) for g in groups]


def draw(panels: Sequence[Panel], *forms: str, width: float = 3.7, height: float = 2.7) -> list[bytes]:
    """The panels as files of the formats `forms`, png or svg; `width` and `height` of one panel in inches."""
    import matplotlib as mpl  # slow to import
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        columns = min(COLUMNS, max(1, len(panels)))
        rows = -(-max(1, len(panels)) // columns)
        figure = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for axes, panel in itertools.zip_longest(grid, panels):
            if panel is None:
                axes.set_visible(False)
            else:
                _draw_panel(axes, panel)
        if not panels:
            figure.text(0.5, 0.5, "no results yet", ha="center", va="center")
        return [_saved(figure, form) for form in forms]


def _saved(figure: "Figure", form: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=form, metadata=dict.fromkeys(METADATA[form]))
    return content.getvalue()


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    for curve in panel.curves:
        line: Any = {"color": curve.color, "linestyle": curve.dash, "linewidth": curve.width, "marker": curve.marker}
        axes.errorbar(curve.steps, curve.values, curve.errors, markersize=4, capsize=3, **line)
    if panel.baseline is not None:
        axes.axhline(panel.baseline, color=BASELINE, linewidth=1, linestyle=(0, (4, 3)), label=panel.baseline_label)
        axes.legend(frameon=False, fontsize=8)
    if panel.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(0, 1.05 * max((step for curve in panel.curves for step in curve.steps), default=1) or 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
