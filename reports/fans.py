"""Fan charts of forecasts: what is known, the median, and central intervals of the samples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reports.plots import LINE, STYLE, TEXT

SHOWN = 12  # series in a chart, at most
SHARES = ((0.9, 0.15), (0.5, 0.3))  # of the intervals, with the opacity of each
WIDTH, HEIGHT = 5.0, 2.4  # of a panel, in inches


class Fan(NamedTuple):
    """A panel: values [L], NaN where they are sampled, samples [S, L] of all of them, and the steps [L] of both."""

    title: str
    values: np.ndarray
    samples: np.ndarray
    steps: np.ndarray


def fan_chart(fans: Sequence[Fan]) -> np.ndarray:
    """The first `SHOWN` panels, one below the other, as an RGB image [H, W, 3] uint8."""
    import matplotlib as mpl  # slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = fans[:SHOWN]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT * len(shown)), dpi=150, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        for axes, fan in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
            steps, missing = fan.steps, np.isnan(fan.values)
            near = missing | np.append(missing[1:], False) | np.append(False, missing[:-1])  # joined to what is known
            filled = np.where(missing[None], fan.samples, fan.values[None])
            for share, opacity in SHARES:
                low, high = np.quantile(filled, [(1 - share) / 2, (1 + share) / 2], axis=0)
                label = f"{share:.0%} of samples"
                axes.fill_between(steps, low, high, where=near, color=LINE, alpha=opacity, linewidth=0, label=label)
            axes.plot(steps, np.where(near, np.median(filled, axis=0), np.nan), color=LINE, label="median")
            axes.plot(steps, fan.values, color=TEXT, label="known")
            alone = ~missing & np.append(True, missing[:-1]) & np.append(missing[1:], True)  # no line goes through them
            axes.plot(steps[alone], fan.values[alone], ".", color=TEXT)
            axes.set_title(fan.title, loc="left", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[-1].set_xlabel("step")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, fontsize=8, ncols=4, loc="outside lower center")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
