r"""Accuracy of class-conditional digits: how often an independent classifier recognizes the requested class.

    python main.py --config=configs/subvp/digits_ddpmpp_conditional.py --workdir=DIR --mode=sample --task=class \
        --num_samples=50
    python -m benchmarks.classes DIR/sample/class/samples.npz

The classifier is scikit-learn's support vector machine on the pixels of the training digits. Prints one JSON line, with
the classifier's accuracy on the test digits for comparison.
"""

import argparse
import json

import numpy as np
from sklearn.svm import SVC

from data import stock


def main() -> None:
    """Trains the classifier and applies it to the samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", help="the samples.npz of --mode=sample --task=class, with arr_0 and labels")
    parser.add_argument("--data_dir", help="the TFDS data directory")
    arguments = parser.parse_args()

    def split(name: str) -> tuple[np.ndarray, np.ndarray]:
        source = stock.load("digits", name, arguments.data_dir)
        examples = source.fetch(np.arange(len(source)))
        return examples["x"].reshape(len(source), -1), examples["label"]

    classifier = SVC(C=10.0, gamma="scale").fit(*split("train"))
    with np.load(arguments.samples, allow_pickle=False) as arrays:
        samples, labels = arrays["arr_0"], arrays["labels"]
    correct = classifier.predict(samples.reshape(len(samples), -1)) == labels
    result = {
        "samples": len(samples),
        "accuracy": float(correct.mean()),
        "accuracy_by_class": {int(label): float(correct[labels == label].mean()) for label in np.unique(labels)},
        "accuracy_on_test_digits": float(classifier.score(*split("test"))),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
