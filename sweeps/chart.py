"""Curves as SVG: two axes, a line for each run, nothing from outside."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 600, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 14, 44  # margins of the plotted area
_POINTS = 400  # of a curve, at most: more cannot be seen
# Paul Tol's "muted" scheme, which colour-blind readers can tell apart; then dashed.
COLOURS = ("#332288", "#cc6677", "#117733", "#88ccee", "#ddaa33", "#882255", "#44aa99", "#999933", "#aa4499", "#777777")


class Curve(NamedTuple):
    """A line of the chart: (x, y) in order; `label` is what a pointer at rest on it shows."""

    label: str
    points: Sequence[tuple[float, float]]
    is_best: bool


def dashes(index: int) -> str:
    """The pattern of the line of run `index`: whole, then dashed where the colours come round again."""
    return ("", "7 4", "2 3", "9 3 2 3")[index // len(COLOURS) % 4]


def curves(lines: Sequence[Curve], x_title: str, y_title: str) -> str:
    """An `<svg>` element; y is logarithmic where all values are positive and span more than a factor of three."""
    thinned = [line._replace(points=_thinned([p for p in line.points if math.isfinite(p[1])])) for line in lines]
    points = [point for line in thinned for point in line.points]
    if not points:
        return "<p>No line of metrics yet.</p>"
    low, high = min(y for _, y in points), max(y for _, y in points)
    logarithmic = low > 0 and high > 3 * low
    low, high = (math.log10(low), math.log10(high)) if logarithmic else (low, high)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    pad = 0.04 * (high - low)
    low, high, last = low - pad, high + pad, max(x for x, _ in points)

    def place(x: float, y: float) -> tuple[float, float]:
        height = ((math.log10(y) if logarithmic else y) - low) / (high - low)
        return (
            _LEFT + (WIDTH - _LEFT - _RIGHT) * x / last,
            HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * height,
        )

    y_ticks = _powers(low, high) if logarithmic else _ticks(low, high)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{y_title} over {x_title}">']
    for tick in y_ticks:
        _, y = place(0, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in _ticks(0, last):
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * tick / last
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - _BOTTOM}" y2="{HEIGHT - 39}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 24}" text-anchor="middle">{tick:,.10g}</text>')
    parts.append(
        f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
        f'<text x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{x_title}</text>'
        f'<text transform="translate(13 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>'
    )
    order = sorted(range(len(thinned)), key=lambda k: thinned[k].is_best)  # the best one above the others
    parts += [_drawn(thinned[k], k, [place(x, y) for x, y in thinned[k].points]) for k in order]
    return "\n".join([*parts, "</svg>"])


def _drawn(line: Curve, index: int, places: Sequence[tuple[float, float]]) -> str:
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    style = f'stroke="{COLOURS[index % len(COLOURS)]}" stroke-width="{3 if line.is_best else 1.6}"'
    pattern = f' stroke-dasharray="{dashes(index)}"' if dashes(index) else ""
    return f'<polyline points="{way}" {style}{pattern}><title>{html.escape(line.label)}</title></polyline>'


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_POINTS` of them: means of neighbours."""
    size = -(-len(points) // _POINTS)
    groups = [points[k : k + size] for k in range(0, len(points), max(size, 1))]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between `low` and `high`."""
    size = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(k * size for k in (1, 2, 5, 10) if (high - low) / (k * size) <= 6)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten between 10^low and 10^high; the powers alone where those are many."""
    factors = (1, 2, 5) if high - low < 3 else (1,)
    values = [k * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for k in factors]
    return [value for value in values if 10**low <= value <= 10**high]
