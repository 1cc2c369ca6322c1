"""What samples of digits are worth: whether they are copies, whether they have the class asked for, what they fill in.

    python -m benchmarks.digits_samples --workdir=DIR [--num=300] [--samples=4]

DIR is a run on the digits of a system with the tasks `unconditional`, `class` (for a class-conditional model), and
`inpaint`. A support vector machine that is trained on the training digits, and has never seen a sample, judges. Prints
JSON lines:

- novelty: the median distance to the nearest training digit, samples over held-out digits (1: no copies), in levels
- class_match: the share of samples, and of held-out digits, whose class is the one asked for
- inpainting: the share of held-out digits whose class survives when the top half is sampled given the bottom half;
  and where it is filled with the marginal distribution of each pixel
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np
from sklearn.svm import SVC

from data.stock import load
from programs import restore_run, sample
from programs.run import Run


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


def main() -> None:
    """Samples, judges and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="the workdir of a run on the digits")
    parser.add_argument("--num", type=int, default=300, help="held-out digits, and as many samples")
    parser.add_argument("--samples", type=int, default=4, help="samples of each inpainted digit")
    given = parser.parse_args()
    workdir = pathlib.Path(given.workdir)
    run = Run.of_checkpoint(restore_run.about(workdir).config, workdir)
    train, test = (source.fetch(np.arange(len(source))) for source in (load("digits", "train"), load("digits", "test")))
    known, held_out, labels = flat(train["x"]), flat(test["x"])[: given.num], test["label"][: given.num]
    judge = SVC(C=10).fit(known, train["label"])

    def show(**figures: float) -> None:
        print(json.dumps({name: round(float(value), 3) for name, value in figures.items()}), flush=True)

    drawn = flat(ask(run, "unconditional", num_samples=given.num)["arr_0"])
    of_samples, of_digits = np.median(nearest(drawn, known)), np.median(nearest(held_out, known))
    show(novelty=of_samples / of_digits, distance_samples=of_samples, distance_held_out=of_digits)
    if run.config.model.num_labels:
        found = ask(run, "class", num_samples=-(-given.num // 10))
        show(
            class_match=(judge.predict(flat(found["arr_0"])) == found["labels"]).mean(),
            held_out=(judge.predict(held_out) == labels).mean(),
        )
    with tempfile.TemporaryDirectory() as folder:
        mask = pathlib.Path(folder) / "bottom.npy"
        np.save(mask, np.arange(8)[:, None] >= np.full((1, 8), 4))
        indices = "test:" + ",".join(map(str, range(given.num)))
        filled = ask(run, "inpaint", input=indices, mask=str(mask), num_samples=given.samples)["samples"]
    top = np.arange(64) < 32
    rng, repeated = np.random.default_rng(0), np.repeat(held_out, given.samples, axis=0)
    by_marginals = np.where(top, rng.permuted(known[rng.integers(0, len(known), len(repeated))], axis=0), repeated)
    assert (flat(filled.reshape(-1, 8, 8, 1))[:, ~top] == repeated[:, ~top]).all()
    truth = np.repeat(labels, given.samples)
    show(
        inpainting=(judge.predict(flat(filled.reshape(-1, 8, 8, 1))) == truth).mean(),
        by_marginals=(judge.predict(by_marginals) == truth).mean(),
    )


if __name__ == "__main__":
    main()
