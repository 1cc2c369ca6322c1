"""Variance of the likelihood-weighted loss and its gradient, by the method of sampling the times of a batch.

    python -m benchmarks.time_sampling [--batch=128] [--batches=200]

    loss = E[weight(t) / density(t) ||noise(x_t, t) - z||^2 / 2 / D],   weight = g^2 / std^2,   t ~ density

has the same expectation for every density. Its standard deviation over batches is the noise that training sees. The
data are a Gaussian mixture in eight dimensions. The model has the exact score plus an error: it predicts a + b sin(6 t)
too much noise, with a = b = 0.05, which imitates the error of a network that predicts noise. The gradient is with
respect to a and b. Prints JSON lines, then a Markdown table of the standard deviations over batches and, in
parentheses, their ratios to the smallest one in the row.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array, broadcast_to_rank
from corruption.predictions import from_score
from sde import times
from sde.base import SDE
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Mixture, correlated
from training.objectives.score_matching import (
    SampleTimes,
    denoising_score_matching,
    independent,
    likelihood,
    stratified,
)

NUM_DIMS, EPS = 8, 1e-5
SDES: dict[str, SDE] = {"VP": VP(), "sub-VP": SubVP(), "VE": VE()}


def sampling_methods(sde: SDE) -> dict[str, SampleTimes]:
    """The methods of sampling the times of a batch, by name."""
    uniform, even = times.uniform(EPS), times.log_snr(sde, EPS)
    return {
        "uniform": independent(uniform),
        "uniform, stratified": stratified(uniform),
        "log_snr": independent(even),
        "log_snr, stratified": stratified(even),
    }


def statistics(sde: SDE, sample_times: SampleTimes, batch: int, batches: int) -> tuple[Array, Array]:
    """Losses [N] and gradients [N, 2] of N = `batches` batches with different keys."""
    parts = tuple(correlated(NUM_DIMS, spread=0.4, shift=0.5, seed=k) for k in range(3))
    score = Mixture((0.2, 0.3, 0.5), parts).score_fn(sde)
    pool = jnp.concatenate(
        [part.sample(k, (n, NUM_DIMS)) for k, (part, n) in enumerate(zip(parts, (200, 300, 500), strict=True))]
    )

    def loss(params: Array, key: Array) -> Array:
        index_key, noise_key, time_key = (jax.random.fold_in(key, i) for i in range(3))
        x0 = pool[jax.random.randint(index_key, (batch,), 0, len(pool))]
        t, importance = sample_times(jax.random.split(time_key, batch))
        z = jax.random.normal(noise_key, x0.shape)

        def score_fn(x: Array, t: Array) -> Array:
            return score(x, t) - broadcast_to_rank((params[0] + params[1] * jnp.sin(6 * t)) / sde.std(t), x)

        losses = denoising_score_matching(
            from_score(score_fn, sde), sde, x0, t, z, weighting=likelihood, reduce_mean=False
        )
        return jnp.mean(importance * losses) / NUM_DIMS

    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(0), k))(jnp.arange(batches))
    run = jax.jit(lambda keys: jax.lax.map(lambda key: jax.value_and_grad(loss)(jnp.array([0.05, 0.05]), key), keys))
    return run(keys)


def main() -> None:
    """Measures all methods and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--sde", nargs="+", default=list(SDES), choices=SDES)
    args = parser.parse_args()
    rows = []
    for name in args.sde:
        sde = SDES[name]
        spreads = {}
        for method, sample_times in sampling_methods(sde).items():
            losses, gradients = (
                np.asarray(a, np.float64) for a in statistics(sde, sample_times, args.batch, args.batches)
            )
            spread = float(losses.std(ddof=1)), float(np.sqrt(gradients.var(axis=0, ddof=1).sum()))
            mean = float(losses.mean())
            line = {"sde": name, "times": method, "mean": mean, "std_loss": spread[0], "std_gradient": spread[1]}
            print(
                json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True
            )
            spreads[method] = spread
        for k, quantity in enumerate(("loss", "gradient")):
            smallest = min(spread[k] for spread in spreads.values())
            cells = [f"{spread[k]:.3g} ({spread[k] / smallest:.1f}x)" for spread in spreads.values()]
            rows.append(f"| {name} | {quantity} | {' | '.join(cells)} |")
    methods = list(sampling_methods(SDES["VP"]))
    print(f"\n| SDE | std over batches of | {' | '.join(methods)} |\n|{' --- |' * (len(methods) + 2)}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
