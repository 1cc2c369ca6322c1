"""How the files in `tests/golden_metrics/` were made: `python -m tests.support.metric_fixtures`; see the README there.

The tests use the part that needs no PyTorch: weights and images from a seed.
"""

import json
import sys
import unittest.mock

import numpy as np

from tests.support.paths import GOLDEN_METRICS

FOLDER = GOLDEN_METRICS
SEED = 6
IMAGES = {"32x32": (2, 32, 32, 3), "299x299": (2, 299, 299, 3)}
# Images of no feature: enlarged, shrunk, both at once, and a single pixel.
RESIZED = {"7x5": (1, 7, 5, 3), "32x32": (2, 32, 32, 3), "400x310": (1, 400, 310, 3), "1x1": (1, 1, 1, 3)}
STRIDE = 13  # every 13th pixel of a resized image is kept
NUM_SAMPLES, NUM_REAL, NUM_FEATURES, NUM_CLASSES = 1200, 1100, 16, 10


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Uniform random pixels of `shape` [B, H, W, C]; another stream for each shape."""
    return np.random.default_rng([SEED, *shape]).integers(0, 256, shape, np.uint8)


def inception_shapes() -> dict[str, list[int]]:
    """The shapes of torch-fidelity's parameters, by PyTorch's names."""
    return json.loads((FOLDER / "inception_shapes.json").read_text())


def inception_state(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Random weights under PyTorch's names, drawn in the order of the names; activations stay of order 1.

    Convolutions are uniform with variance 2 / fan_in; normalisations are near the identity, variances positive. Only
    uniform numbers are drawn: they are the generator's bits, the same in every version of NumPy.
    """
    rng = np.random.default_rng(SEED)
    state = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        uniform = rng.random(shape, np.float32) * np.float32(2) - np.float32(1)
        if name.endswith(("running_var", "bn.weight")):
            state[name] = np.float32(1) + uniform / np.float32(2)
        elif name.endswith("conv.weight"):
            state[name] = uniform * np.float32(np.sqrt(6 / np.prod(shape[1:])))
        elif name == "fc.weight":
            state[name] = uniform * np.float32(np.sqrt(3 / shape[1]))
        else:
            state[name] = uniform / np.float32(4)
    return state


def features() -> dict[str, np.ndarray]:
    """Two clouds with correlated coordinates that partly overlap, and logits; float32, as feature files hold them."""
    rng = np.random.default_rng(SEED)
    mixing = rng.standard_normal((NUM_FEATURES, NUM_FEATURES)) / np.sqrt(NUM_FEATURES)
    samples = rng.standard_normal((NUM_SAMPLES, NUM_FEATURES)) @ mixing * 0.9 + 0.2
    real = rng.standard_normal((NUM_REAL, NUM_FEATURES)) @ mixing
    logits = 2 * rng.standard_normal((NUM_SAMPLES, NUM_CLASSES))
    return {name: a.astype(np.float32) for name, a in (("samples", samples), ("real", real), ("logits", logits))}


def _make_inception() -> None:
    """Features of torch-fidelity's network with the weights from the seed, and small files of `torch.save`."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    loading, torch.load = torch.load, lambda *args, **kwargs: {}
    keeping = FeatureExtractorInceptionV3.load_state_dict
    FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
    try:  # built with its own initial weights: it offers no other way than a file
        network = FeatureExtractorInceptionV3("random", ["2048", "logits_unbiased"], "no file")
    finally:
        torch.load, FeatureExtractorInceptionV3.load_state_dict = loading, keeping
    shapes = {name: list(v.shape) for name, v in network.state_dict().items() if "num_batches" not in name}
    network.load_state_dict({n: torch.from_numpy(v) for n, v in inception_state(shapes).items()}, strict=False)
    arrays = {}
    for name, shape in IMAGES.items():
        with torch.no_grad():
            pool, logits = network(torch.from_numpy(images(shape).transpose(0, 3, 1, 2)))
        arrays |= {f"{name}/features": pool.numpy(), f"{name}/logits": logits.numpy()}
    for name, shape in RESIZED.items():
        x = torch.from_numpy(images(shape).transpose(0, 3, 1, 2)).float()
        large = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
        arrays[f"{name}/resized"] = large.numpy().transpose(0, 2, 3, 1)[:, ::STRIDE, ::STRIDE]
    np.savez_compressed(FOLDER / "inception.npz", **arrays)
    (FOLDER / "inception_shapes.json").write_text(json.dumps(shapes, indent=0, sort_keys=True) + "\n")
    small = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (1, 2), bias=False), torch.nn.BatchNorm2d(3)).state_dict()
    for name, value in small.items():
        value.copy_(torch.arange(value.numel()).reshape(value.shape))
        small[name] = value.requires_grad_(value.is_floating_point())
    small["transposed"] = torch.arange(6.0).reshape(2, 3).T
    torch.save(small, FOLDER / "small_new.pth")
    torch.save(small, FOLDER / "small_legacy.pth", _use_new_zipfile_serialization=False)


def _make_metrics() -> None:
    """Figures of torch-fidelity on the features from the seed, in double precision."""
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    arrays = features()
    np.savez(FOLDER / "features.npz", **arrays)
    samples, real, logits = (torch.from_numpy(a).double() for a in arrays.values())
    few = samples[:10], real[:12]  # fewer than dimensions
    figures = {
        "fid": fid_statistics_to_metric(fid_features_to_statistics(samples), fid_features_to_statistics(real), False),
        "fid_rank_deficient": fid_statistics_to_metric(*map(fid_features_to_statistics, few), False),
        "kid": kid_features_to_metric(samples, real, verbose=False),
        "kid_small": kid_features_to_metric(
            samples, real, kid_subsets=7, kid_subset_size=50, rng_seed=3, verbose=False
        ),
        "inception_score": isc_features_to_metric(logits),
        "inception_score_three": isc_features_to_metric(logits, splits=3, rng_seed=1),
        "neighbours": prc_features_to_metric(samples, real, verbose=False),
        "neighbours_five": prc_features_to_metric(samples, real, prc_neighborhood=5, verbose=False),
    }
    (FOLDER / "figures.json").write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    # torch-fidelity imports data sets and transforms of torchvision, which these numbers do not need.
    for absent in (
        "torchvision",
        "torchvision.datasets",
        "torchvision.transforms",
        "torchvision.transforms.functional",
    ):
        sys.modules.setdefault(absent, unittest.mock.MagicMock())
    _make_inception()
    _make_metrics()
