"""Evaluations of texts and images: texts given images, images given texts, and the likelihood of image tokens."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from core.keys import RunKey, fold_in, keys_at
from data.source import Source
from data.vocabulary import TEXT
from evaluation.rounds import Task
from evaluation.tasks.means import Figures, means_task
from systems.evaluations.reconstruction import first_of
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its evaluations
    from systems.base import System
    from systems.mmar import MMAR
    from systems.texts import TextsAndImages

MOST_TEXTS = 1000  # whose probabilities are compared
MOST_EXAMPLES = 20_000  # training examples that say which class a text means, and that classifiers know
CLASSIFIERS = ("logistic", "svm")
Classify = Callable[[np.ndarray], np.ndarray]  # values of the data [N, ...] -> classes [N]


class Possible(NamedTuple):
    """The different texts [N, T] of the examples, and the class probabilities [N, K] of each."""

    texts: np.ndarray
    classes: np.ndarray


def understanding(system: "TextsAndImages", number: int, variables: Variables | None) -> Task:
    """How often the likeliest of the possible texts of an image is its own, and the likeliest class.

        P(class | image) proportional to sum_texts P(text | image) P(class | text)

    The possible texts are those of the evaluated examples, P(class | text) is that of the training data. Beside it
    classifiers of the pixels, which know the training data alone, unless x has codes of a tokenizer.
    """
    test, has_classes = (
        first_of(system.context.splits.test, system.config.eval.num_examples),
        system.spec.num_classes > 1,
    )
    possible = functools.cache(lambda: _possible(system, test))  # not where all rounds are done
    baselines = functools.cache(lambda: classifiers(system))

    def measure(batch: dict[str, Any]) -> Mapping[str, Any]:
        assert variables is not None
        texts, classes = possible()
        given = system.on_devices(batch)
        logp = np.asarray(system.text_logp(variables["params"], given["x"], jnp.asarray(texts)), np.float64)
        own = np.argmax((texts[None] == np.asarray(batch[TEXT])[:, None]).all(axis=2), axis=1)
        rows = np.arange(len(logp))
        found = {"text_accuracy": logp.argmax(axis=1) == own, "text_nats": -logp[rows, own]}
        if not has_classes:
            return found
        nats = logsumexp(logp[:, :, None], axis=1, b=np.maximum(classes, 1e-30)[None])
        label = np.asarray(batch["label"])
        others = baselines() if system.has_classifiers else {}
        judged = {name: classify(np.asarray(batch["x"])) == label for name, classify in others.items()}
        return {"accuracy": nats.argmax(axis=1) == label, **found, **judged}

    figures: dict[str, Any] = {"text_accuracy": ("text accuracy", "higher"), "text_nats": ("text / nats", "lower")}
    if has_classes:
        figures = {"accuracy": ("accuracy of text given image", "higher"), **figures}
    if system.has_classifiers:
        figures |= {"logistic": ("accuracy, logistic regression", "higher"), "svm": ("accuracy, SVM", "higher")}
    return means_task("understanding", *system.batches(test), measure, figures)


def text_to_image(system: "TextsAndImages", number: int, variables: Variables | None) -> Task:
    """How often a classifier finds the class of an example in an image that is sampled given its text.

    The classifier knows training data and no sample; "judge" is its accuracy on test images. The texts are those of
    test examples in turn, as many as `eval.num_samples`.
    """
    settings, test = system.config.eval, system.context.splits.test
    size = system.devices.round_up(min(settings.batch_size, settings.num_samples))
    judge = functools.cache(lambda: classifiers(system)["svm"])

    def fetch(turn: int) -> dict[str, Any]:
        index = np.arange(turn * size, (turn + 1) * size)
        return {**test.fetch(index % len(test)), "index": index, "counted": (index < settings.num_samples) * 1.0}

    def measure(batch: dict[str, Any]) -> Mapping[str, Any]:
        assert variables is not None
        keys = system.sample_keys(number, int(batch["index"][0]), size)
        asked = system.devices.shard_rows({TEXT: jnp.asarray(batch[TEXT])})
        samples = np.asarray(system.generate(variables, keys, asked)["samples"])
        right = judge()(np.asarray(batch["x"])) == batch["label"]
        first = batch["index"] < len(test)  # each test image once
        return {"match": judge()(samples) == batch["label"], "judge": np.where(first, right, np.nan)}

    figures: Figures = {
        "match": ("class match of image given text", "higher"),
        "judge": ("class match of test images", "higher"),
    }
    return means_task("text_to_image", settings.num_samples, size, fetch, measure, figures)


def head_likelihood(system: "MMAR", number: int, variables: Variables | None) -> Task:
    """-ln p of a token given its text and the tokens that are known, by the share of those that are not.

    In nats per dimension of the tokens as the model sees them; a random order of each example says which are masked.
    """
    test = first_of(system.context.splits.test, system.config.eval.num_examples)
    key, shares = fold_in(system.key, RunKey.LIKELIHOOD), system.config.mmar.evaluated_shares
    _ = system.measured  # errors before anything is compiled

    def measure(batch: dict[str, Any]) -> Mapping[str, Any]:
        assert variables is not None
        keys, given = keys_at(key, batch["index"]), system.on_devices(batch)
        found = {_named(share): system.token_nats(variables["params"], keys, given, share) for share in shares}
        return {name: np.asarray(nats) for name, nats in found.items()}

    figures: Figures = {_named(share): (f"nats/dim, {share:.0%} masked", "lower") for share in shares}
    return means_task("head_likelihood", *system.batches(test), measure, figures)


def classifiers(system: "System") -> dict[str, Classify]:
    """Logistic regression and a support-vector machine of the pixels of training images.

    "svm" has radial basis functions and C = 10.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import
    from sklearn.svm import SVC

    train = system.context.splits.train
    batch = train.fetch(np.arange(min(len(train), MOST_EXAMPLES)))
    unit = max(system.spec.num_levels - 1, 1)

    def pixels(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1).astype(np.float64) / unit

    if len(np.unique(batch["label"])) < 2:
        only = batch["label"][0]
        return dict.fromkeys(CLASSIFIERS, lambda x: np.full(len(x), only))
    makers = dict(zip(CLASSIFIERS, (LogisticRegression(max_iter=2000), SVC(C=10.0)), strict=True))
    models = {name: model.fit(pixels(batch["x"]), batch["label"]) for name, model in makers.items()}
    return {name: functools.partial(_predicted, model, pixels) for name, model in models.items()}


def _predicted(model: Any, pixels: Classify, x: np.ndarray) -> np.ndarray:
    return model.predict(pixels(x))


def _named(share: float) -> str:
    return f"nats_{100 * share:g}"


def _possible(system: "TextsAndImages", test: Source) -> Possible:
    """The possible texts and their classes. Errors: ValueError for too many of them."""
    texts = np.unique(test.fetch(np.arange(len(test)))[TEXT], axis=0)
    if len(texts) > MOST_TEXTS:
        raise ValueError(
            f"The evaluation understanding compares the different texts of all examples, which are {len(texts):,}, "
            f"more than {MOST_TEXTS:,}; set config.eval.num_examples to fewer."
        )
    train = system.context.splits.train
    batch = train.fetch(np.arange(min(len(train), MOST_EXAMPLES)))
    counts = np.full((len(texts), max(system.spec.num_classes, 1)), 1e-9)
    for row, text in enumerate(texts):
        of_text = batch["label"][(batch[TEXT] == text[None]).all(axis=1)]
        counts[row] += np.bincount(of_text, minlength=counts.shape[1])
    return Possible(texts, counts / counts.sum(axis=1, keepdims=True))
