"""Whether samples of a class are of that class, by the word of a classifier that has seen the training digits only.

    python main.py --config=configs/subvp/digits_ddpmpp_conditional.py --workdir=DIR --mode=sample --task=class \
        --num_samples=50
    python -m benchmarks.classes DIR/sample/class/samples.npz

The classifier is scikit-learn's support vector machine on the grey levels; its accuracy on the test digits stands
beside the samples'. One JSON line.
"""

import argparse
import json

import numpy as np
from sklearn.svm import SVC

from data import stock


def main() -> None:
    """Trains the classifier and judges the samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", help="the samples.npz of --mode=sample --task=class: arr_0 and labels")
    parser.add_argument("--data_dir", help="where TFDS keeps the digits")
    arguments = parser.parse_args()

    def split(name: str) -> tuple[np.ndarray, np.ndarray]:
        source = stock.load("digits", name, arguments.data_dir)
        examples = source.fetch(np.arange(len(source)))
        return examples["x"].reshape(len(source), -1), examples["label"]

    judge = SVC(C=10.0, gamma="scale").fit(*split("train"))
    with np.load(arguments.samples, allow_pickle=False) as drawn:
        samples, labels = drawn["arr_0"], drawn["labels"]
    right = judge.predict(samples.reshape(len(samples), -1)) == labels
    result = {
        "samples": len(samples),
        "as_asked": float(right.mean()),
        "of_each_class": {int(label): float(right[labels == label].mean()) for label in np.unique(labels)},
        "accuracy_on_test_digits": float(judge.score(*split("test"))),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
