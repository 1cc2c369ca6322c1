"""What a start at training examples with noise is worth: by optimal transport, at random, and none.

    python -m benchmarks.starts                                     a ring of eight Gaussians, with its exact prediction
    python -m benchmarks.starts --workdir=RUN --classifier=RUN      a model of images, and a classifier of them

Few-step samples from the prior, and from training examples with noise: that to which optimal transport assigns the
sample of the prior (`optimal_transport`), and a random one of the same (`noised_data`, the control). DDIM with steps
uniform in log-SNR, and of a model of images from the prior also `unipc_2`. Columns:

- mode mixture: the share of samples that are more than five standard deviations from every mode, in percent
- FID: the Frechet distance of the classifier's features to those of all training examples
- novelty: the median distance to the nearest training example, samples over held-out data (1: no copies)
- near copies: the share of samples as near to one as the nearest 1 % of held-out data, in percent

Prints a table in Markdown, with novelty below 0.9 marked by an exclamation mark.
"""

import argparse
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from core.keys import keys_at
from corruption.predictions import Gaussian
from evaluation.metrics.base import SplitFeatures
from evaluation.metrics.novelty import COPYING, novelty
from evaluation.metrics.table import measure
from programs import restore_run
from programs.model import load
from programs.run import Run
from sampling import grids
from sampling.noised import time_of_noise
from sampling.pc import pc
from sampling.starts.noised_data import NoisedData, noised
from sampling.starts.optimal_transport import OptimalTransport, fit
from sampling.steps.ddim import ddim
from sampling.steps.none import none
from sde.vp import VP

NUM_MODES, RADIUS, MODE_STD, FAR = 8, 1.0, 0.1, 5.0  # of the ring
RING_NOISES, IMAGE_NOISES = (0.3, 0.014), (1.0, 0.3)  # std / mean_coeff; 0.014: as published
SDE, EPS, KEY = VP(), 1e-3, jax.random.key(0)
DDIM = {"sampling.method": "pc", "sampling.predictor": "ddim", "sampling.corrector": "none"}
UNIPC = {"sampling.method": "solver", "sampling.solver": "unipc_2", "sampling.corrector": "none"}
Row = dict[str, Any]


def ring() -> np.ndarray:
    """The means [8, 2] of the Gaussians."""
    angles = 2 * np.pi * np.arange(NUM_MODES) / NUM_MODES
    return (RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def ring_data(num: int, seed: int) -> np.ndarray:
    """`num` independent samples of the ring [num, 2]."""
    rng = np.random.default_rng(seed)
    means = ring()[rng.integers(0, NUM_MODES, num)]
    return (means + MODE_STD * rng.normal(size=(num, 2))).astype(np.float32)


def ring_predict(x: Array, t: Array) -> Gaussian:
    """The exact expectations of x0 = E[E[x0 | mode] | x] and of the noise, for x [B, 2] at times t [B]."""
    m, std = SDE.mean_coeff(t)[:, None], SDE.std(t)[:, None]
    means, variance = jnp.asarray(ring())[None], (m * MODE_STD) ** 2 + std**2
    away = x[:, None] - m[:, :, None] * means  # [B, 8, 2]
    weights = jax.nn.softmax(-0.5 * (away**2).sum(-1) / variance, axis=1)
    x0 = jnp.sum(weights[..., None] * (means + (m * MODE_STD**2 / variance)[:, :, None] * away), axis=1)
    return Gaussian(x0, (x - m * x0) / std)


def mode_mixture(x: np.ndarray) -> float:
    """The share of x [N, 2] that is far from every mode."""
    nearest = np.sqrt(((x[:, None] - ring()[None]) ** 2).sum(-1)).min(1)
    return float((nearest > FAR * MODE_STD).mean())


def places(train: np.ndarray, noise: float, num_steps: int) -> dict[str, NoisedData | OptimalTransport]:
    """The two starts from training data [N, 2] with noise."""
    targets = noised(SDE, time_of_noise(SDE, noise), jnp.asarray(train), jax.random.fold_in(KEY, 1))
    labels = jnp.zeros(len(train), jnp.int32)
    cells = fit(jax.random.fold_in(KEY, 2), targets, num_steps=num_steps)
    print(f"noise {noise:g}: mass error {cells.mass_error:.3f}, {cells.sampling_error:.3f} of it by measuring\n")
    transport = OptimalTransport(targets, labels, jnp.asarray(cells.potential))
    return {"optimal_transport": transport, "noised_data": NoisedData(targets, labels)}


def ring_samples(place: Any, noise: float, calls: int, num: int) -> np.ndarray:
    """`num` samples by DDIM in `calls` steps from a start, or from the prior where `place` is None."""
    keys = jax.jit(lambda: keys_at(jax.random.fold_in(KEY, 3), jnp.arange(num)))()
    at = (lambda: SDE.prior_sample(keys, (num, 2))) if place is None else lambda: place(SDE, keys, (num, 2), None)
    t = 1.0 if place is None else time_of_noise(SDE, noise)
    return np.asarray(_sampled(t, calls, num)(keys, jax.jit(at)()))


@functools.cache
def _sampled(t: float, calls: int, num: int) -> Callable[..., jax.Array]:
    """`(keys, x at time t) -> samples`, compiled once for all starts at t."""
    sampler = pc(SDE, ddim(), none(), grids.log_snr(SDE, calls, EPS, t), denoise=False)
    return jax.jit(lambda keys, x: sampler(keys, ring_predict, (num, 2), start=(x, t)).x)


def of_ring(num_targets: int, num: int, calls: list[int], num_steps: int) -> list[Row]:
    """The rows of the ring."""
    train = ring_data(num_targets, 1)
    splits = SplitFeatures(train, ring_data(num, 2))
    starts: list[tuple[str, float, Any]] = [("prior", 0.0, None)]
    starts += [(name, noise, place) for noise in RING_NOISES for name, place in places(train, noise, num_steps).items()]
    rows = []
    for name, noise, place in starts:
        for count in calls:
            x = ring_samples(place, noise, count, num)
            found = {"start": name, "noise": noise, "calls": count, "mode mixture": 100 * mode_mixture(x)}
            rows.append({**found, **_novelty(x, splits)})
    return rows


def _novelty(x: np.ndarray, splits: SplitFeatures) -> Row:
    found = novelty(x, splits)
    return {"novelty": found["novelty"].value, "near copies": 100 * found["near_copies"].value}


def of_images(workdir: pathlib.Path, classifier: str, num: int, calls: list[int]) -> list[Row]:
    """The rows of a model of images."""
    config = restore_run.about(workdir).config
    config.eval.update(features="classifier", classifier_workdir=classifier)
    run = Run.of_checkpoint(config, workdir)
    train, test = (source.fetch(np.arange(len(source)))["x"] for source in (run.train, run.test))
    flat = [x.reshape(len(x), -1) for x in (train, test)]
    splits, real = SplitFeatures(*flat), _features(run, train)
    held_out = {"start": "held-out data", "sampler": "", "noise": 0.0, "calls": 0, "FID": _fid(run, test, real)}
    rows = [{**held_out, **_novelty(flat[1], splits)}]
    starts = [("prior", DDIM, 0.0), ("prior", UNIPC, 0.0)]
    starts += [(name, DDIM, noise) for noise in IMAGE_NOISES for name in ("optimal_transport", "noised_data")]
    for name, settings, noise in starts:
        own = {**settings, "sampling.grid": "log_snr", "sampling.noise_removal": False, "sampling.start": name}
        model = load(workdir, settings={**own, **({"sampling.start_noise": noise} if noise else {})})
        sampler = own.get("sampling.solver", own.get("sampling.predictor"))
        for count in calls:
            x = model.sample(num, steps=count)
            row = {"start": name, "sampler": sampler, "noise": noise, "calls": count, "FID": _fid(run, x, real)}
            rows.append({**row, **_novelty(x.reshape(len(x), -1), splits)})
            print(rows[-1], flush=True)
    return rows


def _features(run: Run, images: np.ndarray) -> np.ndarray:
    size = run.config.eval.feature_batch_size
    return np.concatenate([run.extractor(images[i : i + size])["features"] for i in range(0, len(images), size)])


def _fid(run: Run, images: np.ndarray, real: np.ndarray) -> float:
    return measure({"features": _features(run, images)}, {"features": real}, names=["fid"])["fid"].value


def table(rows: list[Row]) -> str:
    """A table in Markdown; novelty of copies is marked."""
    lines = [f"| {' | '.join(rows[0])} |", "| --- " * len(rows[0]) + "|"]
    for row in rows:
        cells = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        cells["novelty"] += " !" if row["novelty"] < COPYING else ""
        lines.append(f"| {' | '.join(cells.values())} |")
    return "\n".join(lines)


def main() -> None:
    """Samples, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", help="the workdir of a model of images")
    parser.add_argument("--classifier", help="the workdir of a classifier of the same images")
    parser.add_argument("--calls", nargs="+", type=int, default=[5, 10], help="calls of the network")
    parser.add_argument("--num", type=int, help="samples; by default 20,000 of the ring, and 300 of images")
    parser.add_argument("--targets", type=int, default=1000, help="training examples of the ring")
    parser.add_argument("--iterations", type=int, default=2000, help="steps that find the map of the ring")
    given = parser.parse_args()
    if (given.workdir is None) != (given.classifier is None):
        parser.error("--workdir and --classifier are given together")
    if given.workdir:
        rows = of_images(pathlib.Path(given.workdir), given.classifier, given.num or 300, given.calls)
    else:
        rows = of_ring(given.targets, given.num or 20_000, given.calls, given.iterations)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
