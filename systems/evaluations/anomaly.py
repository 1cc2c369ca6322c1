"""The evaluation anomaly: how well maps of a model of healthy examples find what is anomalous, beside a baseline."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from builders import data, inverse
from data.source import Examples, Source
from evaluation.metrics.auroc import auroc
from evaluation.rounds import Task
from evaluation.tasks.anomaly import Detected, anomaly_task
from sampling.inverse.classical import Prior, principal_components
from systems.evaluations.reconstruction import NUM_TRAIN, first_of
from systems.requests.anomaly import difference, score
from systems.requests.base import to_network
from systems.requests.measurements import values_of
from systems.requests.posterior import Posterior
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its evaluations
    from systems.diffusion import Diffusion

FIELD = "lesion"  # what is anomalous, of the shape of x
COMPONENTS = (10, 30, 100, 300)  # of the baseline; the number that suits these training examples with anomalies best:
NUM_CHOOSE = 40
MODEL, BASELINE = "model", "pca_residual"


def anomaly(system: "Diffusion", number: int, variables: Variables | None) -> Task:
    """AUROC and average precision of |x - x'| for test examples with anomalies, and without; see `requests.anomaly`.

    The baseline is the part of x that principal components of the training examples do not explain; their number suits
    the anomalies of some training examples best. Errors: ValueError for data that do not fit.
    """
    config, settings = system.config, system.config.eval
    ill = first_of(_with_anomalies(system, "test"), settings.num_examples)
    healthy = first_of(system.context.splits.test, settings.num_examples)
    width = inverse.width(config, system.spec.num_levels)
    sampler = inverse.from_noise(system.sde, system.sampler, settings.anomaly_noise_std * width, has_noise=False)
    posterior, operator = Posterior(system, sampler), inverse.identity(system.spec.shape)
    prior = functools.cache(lambda: _baseline(system))  # not where all rounds are done

    def detect(batch: dict[str, Any]) -> Detected:
        assert variables is not None
        x, index = to_network(system, batch["x"]), np.asarray(batch["index"])
        drawn = posterior(operator, x, settings.posterior_samples, variables, number, index=index)
        given, samples = values_of(system, x), values_of(system, drawn["samples"])
        maps = {
            MODEL: difference(given, samples.mean(axis=1)),
            BASELINE: difference(given, prior().explained(given)),
        }
        return Detected(_mask(batch), maps, {name: score(found) for name, found in maps.items()})

    return anomaly_task(*system.batches(_joined(ill, healthy)), detect, (MODEL, BASELINE))


def _with_anomalies(system: "Diffusion", split: str) -> Source:
    """The data `eval.anomaly_dataset`. Errors: ValueError for other shapes or levels, and without the field."""
    config = system.config.copy_and_resolve_references()
    name = config.data.dataset = system.config.eval.anomaly_dataset
    source, what = data.unchecked(config, split), f"config.eval.anomaly_dataset = {name!r}"
    spec = system.spec
    if (source.shape, source.num_levels) != (spec.shape, spec.num_levels):
        raise ValueError(
            f"{what} has examples of {source.shape} with {source.num_levels} levels, but the model was trained on "
            f"{spec.shape} with {spec.num_levels}; give data of the same kind."
        )
    if FIELD not in source.fields or source.fields[FIELD].shape != spec.shape:
        raise ValueError(f"{what} has no field {FIELD!r} of the shape {spec.shape}, which says what is anomalous.")
    return source


def _joined(ill: Source, healthy: Source) -> Source:
    """Both, one after the other, with the field of anomalies, which is zero in the second."""
    fields = {name: ill.fields[name] for name in ("x", "label", FIELD)}

    def fetch(indices: np.ndarray) -> Examples:
        found = {name: np.zeros((len(indices), *field.shape), field.dtype) for name, field in fields.items()}
        for source, chosen, start in ((ill, indices < len(ill), 0), (healthy, indices >= len(ill), len(ill))):
            part = source.fetch(indices[chosen] - start)
            for name in set(fields) & set(part):
                found[name][chosen] = part[name]
        return found

    return Source(ill.name, len(ill) + len(healthy), fields, fetch)


def _mask(batch: dict[str, Any]) -> np.ndarray:
    """What is anomalous, bool [B, *sides], or [B, D] of vectors."""
    mask = np.asarray(batch[FIELD]) > 0
    return np.any(mask, axis=-1) if mask.ndim > 2 else mask


def _baseline(system: "Diffusion") -> Prior:
    """Principal components of training examples, as many as find the anomalies of some examples best."""
    train, ill = system.context.splits.train, first_of(_with_anomalies(system, "train"), NUM_CHOOSE)
    x = values_of(system, to_network(system, train.fetch(np.arange(min(len(train), NUM_TRAIN)))["x"]))
    found = principal_components(np.asarray(x), max(COMPONENTS))
    batch = ill.fetch(np.arange(len(ill)))
    seen = values_of(system, to_network(system, batch["x"]))

    def quality(prior: Prior) -> float:
        return auroc(difference(seen, prior.explained(seen)), _mask(batch)).value

    return max((found.first(num) for num in COMPONENTS), key=quality)
