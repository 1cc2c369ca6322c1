"""Likelihood of a batch: one fused solve on the device against the published way, through the host.

    python -m benchmarks.likelihood [--batch=8] [--repeats=5] [--tolerance=1e-5]
    python -m benchmarks.likelihood --config=configs/subvp/digits_ddpmpp_continuous.py --workdir=runs/demo

The published way: SciPy's RK45 on the host with a state in double precision, drift and divergence as two programs, the
latter by a vector-Jacobian product, of which each evaluates the network. Both at the same tolerance, with the same
probes, network and data, their runs taking turns. Without a workdir: a small NCSN++ with random weights, on noise of
8x8 and 16x16 pixels. Prints JSON lines: seconds are medians; `probe_std` is the standard deviation over probes of an
image's bits/dim for one probe, `probe_error` what several leave of it; `cost` is seconds x probe_error^2, the time of a
batch to a probe error of 1 bit/dim squared, so that 1 / cost compares estimators whatever the number of probes.
"""

import argparse
import importlib.util
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from ml_collections import ConfigDict
from scipy.integrate import solve_ivp

import build
from configs import default, presets
from experiment import Experiment
from likelihood import dequantize
from likelihood.divergence import Divergence, Hutchinson, draw_probes, hutchinson, hutchpp
from likelihood.ode import log_likelihood
from sde.base import SDE, Array, ScoreFn, example_keys, fold
from training.checkpoint import Checkpoints


class Problem(NamedTuple):
    """A model and a batch: `x` [B, H, W, C] at time eps; `keys` [B]."""

    name: str
    score_fn: ScoreFn
    sde: SDE
    x: Array
    keys: Array
    eps: float


Timed = Callable[[], tuple[np.ndarray, int]]  # () -> log-density in nats [B], evaluations of the ODE's right-hand side


def published(problem: Problem, tolerance: float) -> Timed:
    """Song et al. 2021, appendix D.2, in the manner of the published code: written from its description."""
    sde, shape, size = problem.sde, problem.x.shape, problem.x.size
    probes = draw_probes("rademacher", fold(problem.keys, 0), shape)

    def flow(x: Array, t: Array) -> Array:
        return sde.probability_flow(problem.score_fn, x, t)

    def trace(x: Array, t: Array) -> Array:
        gradient = jax.grad(lambda x: jnp.sum(flow(x, t) * probes))(x)
        return jnp.sum(gradient * probes, axis=tuple(range(1, len(shape))))

    drift, divergence = jax.jit(flow), jax.jit(trace)

    def field(t: float, state: np.ndarray) -> np.ndarray:
        x = jnp.asarray(state[:size].reshape(shape), jnp.float32)
        at = jnp.full(shape[0], t, jnp.float32)
        return np.concatenate([np.asarray(a, np.float64).ravel() for a in (drift(x, at), divergence(x, at))])

    def run() -> tuple[np.ndarray, int]:
        start = np.concatenate([np.asarray(problem.x, np.float64).ravel(), np.zeros(shape[0])])
        solution = solve_ivp(field, (problem.eps, 1.0), start, rtol=tolerance, atol=tolerance, method="RK45")
        final = solution.y[:, -1]
        latent = jnp.asarray(final[:size].reshape(shape), jnp.float32)
        return np.asarray(sde.prior_logp(latent), np.float64) + final[size:], solution.nfev

    return run


def fused(problem: Problem, divergence: Divergence, tolerance: float) -> Callable[[], Any]:
    """This framework's solve, compiled as one program."""
    compiled = jax.jit(
        lambda x, divergence: log_likelihood(
            problem.score_fn, problem.sde, x, divergence, eps=problem.eps, rtol=tolerance, atol=tolerance
        )
    )
    return lambda: jax.block_until_ready(compiled(problem.x, divergence))


def small_config(sde: str, image_size: int) -> ConfigDict:
    """An NCSN++ of 16 channels and two resolutions."""
    config = default.get_config()
    {"vp": presets.vp, "ve": presets.ve}[sde](config)
    presets.ncsnpp(config)
    config.data.update(dataset="synthetic", image_size=image_size)
    config.model.update(nf=16, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(), dropout=0.0, init_scale=0.1)
    return config


def random_problem(sde: str, image_size: int, batch: int) -> Problem:
    """A small network with random weights on Gaussian noise of deviation 0.5."""
    config = small_config(sde, image_size)
    network, shape = build.network(config), (batch, image_size, image_size, 3)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, *shape[1:])), jnp.ones(1))["params"]
    x = 0.5 * jax.random.normal(jax.random.key(1), shape)
    keys = example_keys(jax.random.key(2), batch)
    name = f"{sde} ncsnpp nf16 {image_size}x{image_size}x3, random weights"
    return Problem(name, build.score_of(config)(params, {}, None), build.sde(config), x, keys, config.eval.bpd_eps)


def trained_problem(config_path: str, workdir: str, batch: int) -> Problem:
    """The newest checkpoint of a run, on the first images of its test set."""
    spec = importlib.util.spec_from_file_location("experiment_config", config_path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--config={config_path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run = Experiment(module.get_config(), workdir, jax.devices()[:1])
    checkpoints = Checkpoints(run.workdir / "checkpoints")
    params = checkpoints.restore(checkpoints.numbers()[-1], run.abstract_state()).ema_params
    checkpoints.close()
    levels = jnp.asarray(run.test.fetch(np.arange(batch))["x"])
    keys = example_keys(jax.random.key(2), batch)
    x = dequantize.uniform(fold(keys, 1), levels, run.test.num_levels, run.config.data.centered)
    return Problem(config_path, run.score_of(params, {}, None), run.sde, x, keys, run.config.eval.bpd_eps)


def compare(problem: Problem, tolerance: float, repeats: int) -> list[dict[str, Any]]:
    """A row for the published way and one for each estimator of ours."""
    shape, bits = problem.x.shape, math.prod(problem.x.shape[1:]) * math.log(2)
    host = published(problem, tolerance)
    estimators: dict[str, Divergence] = {
        "hutchinson 1": Hutchinson(draw_probes("rademacher", fold(problem.keys, 0), shape)[None]),
        "hutchinson 8": hutchinson("rademacher", fold(problem.keys, 1), shape, 8),
        "hutchpp 12": hutchpp("rademacher", fold(problem.keys, 2), shape, 12),
    }
    solves = {name: fused(problem, estimator, tolerance) for name, estimator in estimators.items()}
    (reference, host_evals), results = host(), {name: solve() for name, solve in solves.items()}  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in ("published", *solves)}
    for _ in range(repeats):
        for name, run in {"published": host, **solves}.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    single = float(np.std(results["hutchinson 8"].estimates_nats, axis=0, ddof=1).mean() / bits)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows: list[dict[str, Any]] = [
        {"method": "published", "nfe": 2 * host_evals, "probe_error": single},
        *(
            {
                "method": name,
                "nfe": int(found.num_evals),
                "probe_error": single if name == "hutchinson 1" else float(found.standard_error_nats.mean() / bits),
            }
            for name, found in results.items()
        ),
    ]
    # What the two solvers make of the same probes: apart by the tolerance.
    apart = float(np.abs(np.asarray(results["hutchinson 1"].logp_nats) - reference).max() / bits)
    for row in rows:
        name = row["method"]
        row |= {"seconds": medians[name], "spread_seconds": max(seconds[name]) - min(seconds[name])}
        row |= {"cost": medians[name] * row["probe_error"] ** 2, "speedup": medians["published"] / medians[name]}
    rows[1]["bits_per_dim_apart"] = apart
    return [{"problem": problem.name, "batch": shape[0], "tolerance": tolerance, **row} for row in rows]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--config")
    parser.add_argument("--workdir")
    args = parser.parse_args()
    versions = {"jax": jax.__version__, "diffrax": diffrax.__version__, "scipy": scipy.__version__}
    print(json.dumps({"device": jax.devices()[0].device_kind, "python": platform.python_version(), **versions}))
    if args.workdir:
        problems = iter([trained_problem(args.config, args.workdir, args.batch)])
    else:
        problems = (random_problem(sde, size, args.batch) for sde, size in (("vp", 8), ("ve", 8), ("vp", 16)))
    for problem in problems:
        for row in compare(problem, args.tolerance, args.repeats):
            print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    main()
