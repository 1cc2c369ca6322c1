"""What two runs differ by on the same examples: the mean difference of a figure has a smaller error than the figures.

    python -m benchmarks.paired RUN OTHER --task=head_likelihood [--checkpoints 2 2] [--picture=FILE.png]

Both runs have evaluated the task, with figures of each example. With the same `config.seed`, noise and masks are those
of the example in both. Prints a Markdown table: both means, and the mean of RUN minus OTHER, with standard errors over
the examples. The picture has the differences in the order of the table.
"""

import argparse
import pathlib

import numpy as np

from core.array_files import read_npz
from core.errors import RunError
from evaluation.metrics.base import mean_over_examples
from evaluation.rounds import Arrays, join


def figures(workdir: pathlib.Path, task: str, number: int) -> Arrays:
    """The figures [N] of each example by name, in the order of "index". Errors: RunError without an evaluation."""
    paths = sorted((workdir / "eval" / f"ckpt_{number}" / task).glob("round_*.npz"))
    if not paths:
        raise RunError(f"{workdir} has no evaluation {task!r} of checkpoint {number}; run --mode=eval with it first.")
    joined = join([read_npz(path) for path in paths])
    order = np.argsort(joined["index"])
    return {name: values[order] for name, values in joined.items()}


def differences(ours: Arrays, others: Arrays) -> Arrays:
    """The difference [N] of each figure. Errors: ValueError unless both have the same figures and examples."""
    if ours.keys() != others.keys() or not np.array_equal(ours["index"], others["index"]):
        raise ValueError("The evaluations have other figures, or are of other examples; evaluate both alike.")
    return {name: ours[name] - others[name] for name in ours if name != "index"}


def draw(path: pathlib.Path, found: Arrays, label: str) -> None:
    """The mean differences with bars of two standard errors."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    means = [mean_over_examples(values) for values in found.values()]
    axes.errorbar(list(found), [m.value for m in means], yerr=[2 * m.error for m in means], fmt="o-", capsize=4)
    axes.axhline(0.0, color="gray", linewidth=1)
    axes.set_ylabel(label)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=pathlib.Path, metavar="RUN")
    parser.add_argument("--task", required=True)
    parser.add_argument("--checkpoints", nargs=2, type=int, default=[1, 1])
    parser.add_argument("--picture", type=pathlib.Path)
    given = parser.parse_args()
    ours, others = (figures(run, given.task, number) for run, number in zip(given.runs, given.checkpoints, strict=True))
    found = differences(ours, others)
    print(f"| figure | {given.runs[0].name} | {given.runs[1].name} | difference |\n| --- | --- | --- | --- |")
    for name, values in found.items():
        cells = [mean_over_examples(each) for each in (ours[name], others[name], values)]
        print(f"| {name} |", " | ".join(f"{cell.value:.4f} ± {cell.error:.4f}" for cell in cells), "|")
    if given.picture:
        draw(given.picture, found, f"{given.runs[0].name} minus {given.runs[1].name}")


if __name__ == "__main__":
    main()
