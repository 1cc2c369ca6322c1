"""What samples of digits are worth: whether they are copies, whether they have the class asked for, what they fill in.

    python -m benchmarks.digits_samples --workdir=DIR [--num=300] [--samples=4] [--sampling temperature=0.8 ...]
        [--parts novelty class_match inpainting]

DIR is a run on the digits of a system with the tasks `unconditional`, `class` (for a class-conditional model), and
`inpaint`; `--sampling` changes settings of `config.sampling`. A support vector machine that is trained on the training
digits, and has never seen a sample, judges. Prints JSON lines:

- novelty: the median distance to the nearest training digit, samples over held-out digits (1: no copies), in levels
- class_match: the share of samples, and of held-out digits, whose class is the one asked for
- inpainting: the share of held-out digits whose class survives when the top half is sampled given the bottom half,
  without their class; where each of its pixels is sampled by itself, from those of the training digits; and where each
  is the most frequent level, or the mean
"""

import argparse
import ast
import json
import pathlib
import tempfile
from typing import Any

import numpy as np
from sklearn.svm import SVC

from configs import default
from data.stock import load
from programs import restore_run, sample
from programs.run import Run

PARTS = ("novelty", "class_match", "inpainting")


def flat(images: np.ndarray) -> np.ndarray:
    """Images as vectors [N, 64] of levels."""
    return np.asarray(images, np.float64).reshape(len(images), -1)


def nearest(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The Euclidean distance of each row of x to the nearest row of train."""
    squares = (x**2).sum(1)[:, None] - 2 * x @ train.T + (train**2).sum(1)
    return np.sqrt(np.maximum(squares.min(1), 0))


def ask(run: Run, task: str, **options: object) -> dict[str, np.ndarray]:
    """The arrays of a task of the newest checkpoint, as `--mode=sample` makes them."""
    request = sample.task_of(run.system, task).request(task, **options)  # type: ignore[arg-type]
    restored = run.restore()
    return sample.prepare(run, request)(restored.variables, restored.number).arrays


def opened(workdir: pathlib.Path, changes: list[str]) -> Run:
    """The run, with `NAME=VALUE` changes of `config.sampling`. Errors: ValueError, KeyError."""
    config = restore_run.about(workdir).config
    for change in changes:
        name, _, value = change.partition("=")
        kind = type(config.sampling[name])
        config.sampling[name] = value if kind is str else kind(ast.literal_eval(value))
    default.validate(config)
    return Run.of_checkpoint(config, workdir)


def marginals(known: np.ndarray, held_out: np.ndarray, top: np.ndarray) -> dict[str, np.ndarray]:
    """Held-out digits [N, 64] whose `top` is filled, pixel by pixel, by what the training digits have there."""
    rng, counts = np.random.default_rng(0), np.stack([(known == level).sum(0) for level in range(17)])
    fills = {
        "by_marginals": rng.permuted(known[rng.integers(0, len(known), len(held_out))], axis=0),
        "by_modes": counts.argmax(0)[None],
        "by_means": known.mean(0, keepdims=True),
    }
    return {name: np.where(top, fill, held_out) for name, fill in fills.items()}


def main() -> None:
    """Samples, judges and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="the workdir of a run on the digits")
    parser.add_argument("--num", type=int, default=300, help="held-out digits, and as many samples")
    parser.add_argument("--samples", type=int, default=4, help="samples of each inpainted digit")
    parser.add_argument("--sampling", nargs="*", default=[], metavar="NAME=VALUE", help="settings of config.sampling")
    parser.add_argument("--infer_class", action="store_true", help="inpaint with a class sampled by what is known")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    given = parser.parse_args()
    run = opened(pathlib.Path(given.workdir), given.sampling)
    train, test = (source.fetch(np.arange(len(source))) for source in (load("digits", "train"), load("digits", "test")))
    known, held_out, labels = flat(train["x"]), flat(test["x"])[: given.num], test["label"][: given.num]
    judge = SVC(C=10).fit(known, train["label"])

    def show(**figures: float) -> None:
        print(json.dumps({name: round(float(value), 3) for name, value in figures.items()}), flush=True)

    if "novelty" in given.parts:
        drawn = flat(ask(run, "unconditional", num_samples=given.num)["arr_0"])
        of_samples, of_digits = np.median(nearest(drawn, known)), np.median(nearest(held_out, known))
        show(novelty=of_samples / of_digits, distance_samples=of_samples, distance_held_out=of_digits)
    if "class_match" in given.parts and run.config.model.num_labels:
        found = ask(run, "class", num_samples=-(-given.num // 10))
        show(
            class_match=(judge.predict(flat(found["arr_0"])) == found["labels"]).mean(),
            held_out=(judge.predict(held_out) == labels).mean(),
        )
    if "inpainting" not in given.parts:
        return
    with tempfile.TemporaryDirectory() as folder:
        mask = pathlib.Path(folder) / "bottom.npy"
        np.save(mask, np.arange(8)[:, None] >= np.full((1, 8), 4))
        indices = "test:" + ",".join(map(str, range(given.num)))
        options: dict[str, Any] = {"infer_class": True} if given.infer_class else {}
        options |= {"input": indices, "mask": str(mask), "num_samples": given.samples}
        filled = ask(run, "inpaint", **options)["samples"]
    top, repeated = np.arange(64) < 32, np.repeat(held_out, given.samples, axis=0)
    assert (flat(filled.reshape(-1, 8, 8, 1))[:, ~top] == repeated[:, ~top]).all()
    truth = np.repeat(labels, given.samples)
    show(
        inpainting=(judge.predict(flat(filled.reshape(-1, 8, 8, 1))) == truth).mean(),
        **{name: (judge.predict(x) == truth).mean() for name, x in marginals(known, repeated, top).items()},
    )


if __name__ == "__main__":
    main()
