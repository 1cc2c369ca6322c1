"""The guidance of a config: the predictions of its sampler, with the network that guides it, if any."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from jax.sharding import Sharding
from ml_collections import ConfigDict

from builders.condition import conditions
from builders.earlier import EarlierRun, LoadNetwork
from builders.process import make_sde
from builders.score import log_class_probability, make_predict_of
from core.arrays import Array
from core.tables import choose
from corruption.predictions import Predict
from sampling.guidance import Interval, autoguided, classifier_free, classifier_guided

Asked = Array | Mapping[str, Array] | None  # class labels [B], or a batch with any fields that the network knows
# (params, parameters of the guide, what is asked for) -> Predict, or PredictCategories
GuidedPredictOf = Callable[[Any, Any, Asked], Any]
MakePredictOf = Callable[[ConfigDict, str | None], Callable[..., Any]]  # (config, dtype) -> a `PredictOf`


@dataclasses.dataclass(frozen=True)
class Guide:
    """The predictions for a sampler, the parameters of the guiding network, and the number of classes (0: none)."""

    predict_of: GuidedPredictOf
    params: Any
    num_labels: int


def guide(
    config: ConfigDict, sharding: Sharding, load_network: LoadNetwork, make: MakePredictOf = make_predict_of
) -> Guide:
    """The guidance that `config.sampling` describes.

    load_network: reads the checkpoint of the guiding network, if the guidance has one. make: makes the predictions of a
    config, for a type of activations.
    Errors: ValueError for settings that do not fit together, or a run without the checkpoint.
    """
    return choose("sampling.guidance", config.sampling.guidance, GUIDANCES)(config, sharding, load_network, make)


def _conditional(
    config: ConfigDict, dtype: str | None, make: MakePredictOf = make_predict_of
) -> Callable[[Any, Asked], Any]:
    """`(params, what is asked for) -> Predict` of the config's own network, computing in `dtype`."""
    predict_of = make(config, dtype)
    return lambda params, asked: predict_of(params, _batch(asked), None)


def _batch(asked: Asked) -> dict[str, Array]:
    """What is asked for, as a batch; empty where nothing is."""
    if asked is None:
        return {}
    return dict(asked) if isinstance(asked, Mapping) else {"label": asked}


def interval_of(config: ConfigDict) -> Interval | None:
    """The noise levels with guidance; None for all. Errors: ValueError for an empty interval."""
    low, high = config.sampling.guidance_min_sigma, config.sampling.guidance_max_sigma
    if low == 0 and high is None:
        return None
    if high is not None and low >= high:
        raise ValueError(
            f"config.sampling.guidance_min_sigma = {low} is not below guidance_max_sigma = {high}, so there "
            "would be no guidance: change one of them."
        )
    return Interval(make_sde(config), low, math.inf if high is None else high)


def _none(config: ConfigDict, sharding: Sharding, load_network: LoadNetwork, make: MakePredictOf) -> Guide:
    predict_of = _conditional(config, config.sampling.dtype, make)
    return Guide(lambda params, guide, asked: predict_of(params, asked), None, config.model.num_labels)


def _classifier_free(config: ConfigDict, sharding: Sharding, load_network: LoadNetwork, make: MakePredictOf) -> Guide:
    model = config.model
    if not (model.num_labels and model.label_dropout) and not any(c.drop_rate for c in conditions(config)):
        raise ValueError(
            "config.sampling.guidance = 'classifier_free' needs a network that was trained with and without classes, "
            "or with a drop rate in config.model.conditions; here config.model.num_labels = "
            f"{model.num_labels} and config.model.label_dropout = {model.label_dropout}: use guidance = 'classifier' "
            "or 'none', or train one with both above 0."
        )
    predict_of, scale, interval = (
        _conditional(config, config.sampling.dtype, make),
        config.sampling.guidance_scale,
        interval_of(config),
    )

    def guided(params: Any, guide: Any, asked: Asked) -> Predict:
        if not _batch(asked):
            return predict_of(params, None)
        return classifier_free(predict_of(params, asked), predict_of(params, None), scale, interval)

    return Guide(guided, None, config.model.num_labels)


def _classifier(config: ConfigDict, sharding: Sharding, load_network: LoadNetwork, make: MakePredictOf) -> Guide:
    earlier = _other(config, sharding, load_network)
    other, params = earlier.config, earlier.variables["params"]
    if other.system != "classifier":
        raise ValueError(
            f"config.sampling.guide_workdir = {config.sampling.guide_workdir} holds a {other.model.name}, which is no "
            "classifier; give the run of a wideresnet, or set config.sampling.guidance = 'autoguidance'."
        )
    _check_same(config, other, ("data.image_size", "data.num_channels", "data.shape", "data.centered"))
    process, predict_of = make_sde(config), _conditional(config, config.sampling.dtype, make)
    log_probability = log_class_probability(other, process)
    scale, interval = config.sampling.guidance_scale, interval_of(config)

    def guided(params: Any, guide: Any, asked: Asked) -> Predict:
        labels = _batch(asked).get("label")
        known = {name: value for name, value in _batch(asked).items() if name != "label" or config.model.num_labels}
        if labels is None:
            return predict_of(params, known)
        return classifier_guided(
            predict_of(params, known), log_probability(guide, labels, None), process, scale, interval
        )

    return Guide(guided, params, other.model.num_labels)


def _autoguidance(config: ConfigDict, sharding: Sharding, load_network: LoadNetwork, make: MakePredictOf) -> Guide:
    earlier = _other(config, sharding, load_network)
    other, params = earlier.config, earlier.variables["params"]
    if other.system == "classifier":
        raise ValueError(
            f"config.sampling.guide_workdir = {config.sampling.guide_workdir} holds a classifier; give the run of a "
            "weaker score model, or set config.sampling.guidance = 'classifier'."
        )
    if make_sde(config) != make_sde(other):
        raise ValueError(
            f"config.sampling.guide_workdir = {config.sampling.guide_workdir} was trained with the SDE "
            f"{make_sde(other)}, this config with {make_sde(config)}; autoguidance needs the same."
        )
    _check_same(
        config, other, ("data.image_size", "data.num_channels", "data.shape", "data.centered", "model.num_labels")
    )
    predict_of, weaker_of = (_conditional(c, config.sampling.dtype, make) for c in (config, other))
    scale, interval = config.sampling.guidance_scale, interval_of(config)

    def guided(params: Any, guide: Any, asked: Asked) -> Predict:
        return autoguided(predict_of(params, asked), weaker_of(guide, asked), scale, interval)

    return Guide(guided, params, config.model.num_labels)


def _other(config: ConfigDict, sharding: Sharding, load_network: LoadNetwork) -> EarlierRun:
    """The run of the guiding network."""
    sampling = config.sampling
    if sampling.guide_workdir is None:
        raise ValueError(
            f"config.sampling.guidance = {sampling.guidance!r} needs config.sampling.guide_workdir, the --workdir of "
            "the guiding network."
        )
    return load_network("sampling.guide_workdir", sampling.guide_workdir, sampling.guide_checkpoint, sharding)


def _check_same(config: ConfigDict, other: ConfigDict, keys: tuple[str, ...]) -> None:
    """Errors: ValueError unless both configs agree on `keys`."""
    for key in keys:
        section, name = key.split(".")
        if config[section][name] != other[section][name]:
            raise ValueError(
                f"config.{key} is {config[section][name]}, but {other[section][name]} in the guiding run, "
                f"{config.sampling.guide_workdir}; give one that was trained on the same data."
            )


GUIDANCES: dict[str, Callable[[ConfigDict, Sharding, LoadNetwork, MakePredictOf], Guide]] = {
    "none": _none,
    "classifier_free": _classifier_free,
    "classifier": _classifier,
    "autoguidance": _autoguidance,
}
