"""By what samples are compared with data: the part of the composition root that reads `eval.features`."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import network as build_network
from builders.data import to_model
from builders.score import make_network
from core.tables import choose
from data.shapes import check_images, data_shape
from evaluation.features import network as extractors
from evaluation.features.network import Extractor
from interop.formats import inception_weights
from models import inception
from programs import restore_run

CLEAN_SIGMA = 0.01  # what a classifier is told of an image without noise: as little as it has often seen in training


def extractor(config: ConfigDict, num_levels: int) -> Extractor:
    """The features of grey levels [B, H, W, C] uint8 below `num_levels` that `eval.features` names.

    Errors: ValueError for a name, a file or a run that is not there.
    """
    name = config.eval.features
    if name in ("inception", "classifier", "thumbnails"):
        check_images(data_shape(config), f"config.eval.features = {name!r}", "use 'pixels' or package.module:function")
    return extractors.imported(name) if ":" in name else choose("eval.features", name, EXTRACTORS)(config, num_levels)


def _pixels(config: ConfigDict, num_levels: int) -> Extractor:
    return extractors.pixels(num_levels)


def _thumbnails(config: ConfigDict, num_levels: int) -> Extractor:
    return extractors.thumbnails(num_levels)


def _inception(config: ConfigDict, num_levels: int) -> Extractor:
    path = config.eval.inception_weights
    if path is None:
        raise ValueError(
            "config.eval.features = 'inception' needs config.eval.inception_weights, the file "
            "pt_inception-2015-12-05-6726825d.pth that pytorch-fid and torch-fidelity publish; or use 'classifier'."
        )
    file = pathlib.Path(path)
    if not file.is_file():
        where = "" if file.is_absolute() else f" in {pathlib.Path.cwd()}"
        raise ValueError(
            f"config.eval.inception_weights = {path} is not a file{where}; download "
            "pt_inception-2015-12-05-6726825d.pth from the releases of pytorch-fid (github.com/mseitzer/pytorch-fid) "
            "and give its path, or set config.eval.features = 'thumbnails', which need no file."
        )
    weights = inception_weights.load(file, inception.parameter_shapes())
    graph = extractors.inception(weights.params, batch_size=config.eval.feature_batch_size)

    def extract(levels: np.ndarray) -> Any:
        return graph.extract(np.round(levels * (255 / (num_levels - 1))).astype(np.uint8))

    return Extractor(graph.name, graph.hash, extract)


def _classifier(config: ConfigDict, num_levels: int) -> Extractor:
    """Features of a classifier of this framework, which sees images without noise."""
    if config.eval.classifier_workdir is None:
        raise ValueError(
            "config.eval.features = 'classifier' needs config.eval.classifier_workdir, the --workdir of a trained "
            "classifier such as configs/subvp/digits_classifier.py; or use 'pixels' or 'inception'."
        )
    workdir = config.eval.classifier_workdir
    other, weights = restore_run.network_of("eval.classifier_workdir", workdir)
    if not build_network.is_classifier(other) or other.data.dataset != config.data.dataset:
        raise ValueError(
            f"config.eval.classifier_workdir = {workdir} holds a {other.model.name} of {other.data.dataset}; "
            f"give a wideresnet of {config.data.dataset}."
        )
    network, scaled = make_network(other), to_model(other, num_levels)

    def apply(params: Any, levels: Any) -> Any:
        x = scaled(levels)
        return network.apply({"params": params}, x, jnp.full(x.shape[:1], CLEAN_SIGMA), features=True)

    return extractors.network("classifier", weights, apply, batch_size=config.eval.feature_batch_size)


EXTRACTORS: dict[str, Callable[[ConfigDict, int], Extractor]] = {
    "pixels": _pixels,
    "thumbnails": _thumbnails,
    "inception": _inception,
    "classifier": _classifier,
}
