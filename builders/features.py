"""From `eval.features` to a feature extractor, by which samples are compared with data."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders.data import to_model
from builders.guidance import LoadNetwork
from builders.network import make_network
from builders.shape import data_shape
from core.imports import is_import_path
from core.tables import choose
from data.shapes import check_images
from evaluation.features.base import Extractor
from evaluation.features.imported import imported
from evaluation.features.network import network, padded_batches
from evaluation.features.pixels import pixels
from evaluation.features.thumbnails import thumbnails
from interop.formats import inception_weights
from models import inception

CLEAN_SIGMA = 0.01  # the noise level a classifier is given for a clean image: the lowest it often sees in training
INCEPTION = "inception-2015-12-05"


def extractor(config: ConfigDict, num_levels: int, load_network: LoadNetwork) -> Extractor:
    """The extractor that `eval.features` names, for images [B, H, W, C] uint8 with values below `num_levels`.

    Errors: ValueError for an unknown name, a missing file or a missing run.
    """
    name = config.eval.features
    if name in ("inception", "classifier", "thumbnails"):
        check_images(data_shape(config), f"config.eval.features = {name!r}", "use 'pixels' or package.module:function")
    if is_import_path(name):
        return imported(name)
    return choose("eval.features", name, EXTRACTORS)(config, num_levels, load_network)


def check_name(config: ConfigDict) -> None:
    """Errors: ValueError for a name in `eval.features` that is not known, whether features are used or not."""
    if not is_import_path(config.eval.features):
        choose("eval.features", config.eval.features, EXTRACTORS)


def _pixels(config: ConfigDict, num_levels: int, load_network: LoadNetwork) -> Extractor:
    return pixels(num_levels)


def _thumbnails(config: ConfigDict, num_levels: int, load_network: LoadNetwork) -> Extractor:
    return thumbnails(num_levels)


def _inception(config: ConfigDict, num_levels: int, load_network: LoadNetwork) -> Extractor:
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
    graph = inception_extractor(weights.params, batch_size=config.eval.feature_batch_size)

    def extract(levels: np.ndarray) -> Any:
        return graph.extract(np.round(levels * (255 / (num_levels - 1))).astype(np.uint8))

    variant = "" if weights.published else f"inception {weights.sha256[:8]}"
    origin = {"weights": file.name, "weights_sha256": weights.sha256, "weights_published": weights.published}
    return Extractor(graph.name, graph.hash, extract, variant, origin)


def inception_extractor(params: Any, *, batch_size: int = 50) -> Extractor:
    """Features [B, 2048] and logits [B, 1008] of the FID InceptionV3; grayscale images get three equal channels.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, section on the Frechet distance.
    """
    side, graph = inception.SIZE, inception.InceptionV3()
    enlarge = jax.jit(lambda x: jnp.broadcast_to(inception.resize(x), (len(x), side, side, 3)))

    def apply(params: Any, x: jax.Array) -> Any:
        return graph.apply({"params": params}, x)

    features = network(INCEPTION, params, apply, batch_size=batch_size)

    def extract(images: np.ndarray) -> dict[str, np.ndarray]:
        if images.shape[-1] not in (1, 3):
            raise ValueError(f"Inception got images with {images.shape[-1]} channels; it takes 1 or 3")
        # Resized separately, so that the network is compiled for one size only.
        parts = [features.extract(enlarge(batch)) for batch in padded_batches(images, batch_size)]
        return {key: np.concatenate([part[key] for part in parts])[: len(images)] for key in parts[0]}

    return Extractor(features.name, features.hash, extract)


def _classifier(config: ConfigDict, num_levels: int, load_network: LoadNetwork) -> Extractor:
    """Features of a classifier trained with this framework, applied to clean images."""
    if config.eval.classifier_workdir is None:
        raise ValueError(
            "config.eval.features = 'classifier' needs config.eval.classifier_workdir, the --workdir of a trained "
            "classifier such as configs/subvp/digits_classifier.py; or use 'pixels' or 'inception'."
        )
    workdir = config.eval.classifier_workdir
    earlier = load_network("eval.classifier_workdir", workdir)
    other = earlier.config
    if other.system != "classifier" or other.data.dataset != config.data.dataset:
        raise ValueError(
            f"config.eval.classifier_workdir = {workdir} holds a {other.model.name} of {other.data.dataset}; "
            f"give a wideresnet of {config.data.dataset}."
        )
    apply = clean_classifier(other, num_levels)
    features = network("classifier", earlier.variables["params"], apply, batch_size=config.eval.feature_batch_size)
    return dataclasses.replace(features, origin={"classifier": str(workdir), "classifier_checkpoint": earlier.number})


def clean_classifier(config: ConfigDict, num_levels: int) -> Callable[[Any, Any], dict[str, Any]]:
    """`(params, x as loaded [B, ...]) -> {"features" [B, D], "logits" [B, K]}`: the classifier, without noise."""
    classifier, scaled = make_network(config), to_model(config, num_levels)

    def apply(params: Any, levels: Any) -> Any:
        x = scaled(levels)
        return classifier.apply({"params": params}, x, jnp.full(x.shape[:1], CLEAN_SIGMA), features=True)

    return apply


EXTRACTORS: dict[str, Callable[[ConfigDict, int, LoadNetwork], Extractor]] = {
    "pixels": _pixels,
    "thumbnails": _thumbnails,
    "inception": _inception,
    "classifier": _classifier,
}
