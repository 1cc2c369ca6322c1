"""Likelihood of a batch: one compiled ODE solve on the device, compared with the published method on the host.

    python -m benchmarks.likelihood [--batch=8] [--repeats=5] [--tolerance=1e-5]
    python -m benchmarks.likelihood --config=configs/subvp/digits_ddpmpp_continuous.py --workdir=runs/demo
    python -m benchmarks.likelihood --config=configs/ve/cifar10_ncsnpp_continuous.py [--config.KEY=VALUE ...]

The published method uses SciPy's RK45 on the host with a state in double precision. The drift and the divergence are
separate programs, the latter with a vector-Jacobian product, and each evaluates the network. It is compared with two of
our solvers, at the same tolerance and at looser ones, with the same probes, network, and data; all of them alternate.
Without --workdir, the network of the config has random weights, and the data are noise. Without --config, it is a small
NCSN++ for 8x8 and 16x16 pixels.

Prints JSON lines. `seconds` is a median; `first_seconds` is the first call, which compiles. Operations are those of the
network with its Jacobian-vector product, times the number of evaluations, counted as `benchmarks/measurement.py`
describes. `error` is the error of the solver in bits/dim, as the root mean square over the batch, relative to a
solution of the same ODE with the same probes in double precision at a tolerance of 1e-7. `speedup` is relative to the
published method. The last line of a model names the fastest row with an error no larger than that of the published
method. Rows with several probes have `probe_error`, the standard error of an image's bits/dim, and
`cost` = seconds x probe_error^2, which compares estimators at equal error.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from ml_collections import ConfigDict
from scipy.integrate import solve_ivp

from benchmarks import measurement
from builders.network import example_inputs, make_network
from builders.process import make_sde
from builders.score import make_predict_of
from builders.shape import data_shape
from configs import default, presets
from core.arrays import Array
from core.keys import example_keys, fold_in
from corruption.predictions import Predict
from likelihood import dequantize
from likelihood.divergence import Divergence, Hutchinson, hutchinson, hutchpp, sample_probes
from likelihood.ode import drift_and_divergence, log_likelihood
from programs.run import Run
from runtime import malloc
from sde.base import SDE
from training.checkpoint import Checkpoints

METHODS = ("dopri5", "bosh3", "hutchinson 8", "hutchpp 12")


class Problem(NamedTuple):
    """A model and a batch `x` [B, H, W, C] at time `eps`, with `keys` [B]."""

    name: str
    predict: Predict
    sde: SDE
    x: Array
    keys: Array
    eps: float


Timed = Callable[[], tuple[np.ndarray, int]]  # () -> log-density in nats [B], number of ODE evaluations


def published(problem: Problem, tolerance: float) -> Timed:
    """The method of Song et al. 2021, appendix D.2, on the host as in the published code; written from the paper."""
    sde, shape, size = problem.sde, problem.x.shape, problem.x.size
    probes = sample_probes("rademacher", fold_in(problem.keys, 0), shape)

    def flow(x: Array, t: Array) -> Array:
        return sde.probability_flow(problem.predict, x, t)

    def trace(x: Array, t: Array) -> Array:
        gradient = jax.grad(lambda x: jnp.sum(flow(x, t) * probes))(x)
        return jnp.sum(gradient * probes, axis=tuple(range(1, len(shape))))

    drift, divergence = jax.jit(flow), jax.jit(trace)

    def field(t: float, state: np.ndarray) -> np.ndarray:
        x = jnp.asarray(state[:size].reshape(shape), jnp.float32)
        times = jnp.full(shape[0], t, jnp.float32)
        return np.concatenate([np.asarray(a, np.float64).ravel() for a in (drift(x, times), divergence(x, times))])

    def run() -> tuple[np.ndarray, int]:
        start = np.concatenate([np.asarray(problem.x, np.float64).ravel(), np.zeros(shape[0])])
        solution = solve_ivp(field, (problem.eps, 1.0), start, rtol=tolerance, atol=tolerance, method="RK45")
        final = solution.y[:, -1]
        latent = jnp.asarray(final[:size].reshape(shape), jnp.float32)
        return np.asarray(sde.prior_logp(latent), np.float64) + final[size:], solution.nfev

    return run


def fused(problem: Problem, divergence: Divergence, tolerance: float, solver: str = "dopri5") -> Callable[[], Any]:
    """Our solver, compiled as one program."""
    settings: dict[str, Any] = {"eps": problem.eps, "rtol": tolerance, "atol": tolerance, "solver": solver}
    compiled = jax.jit(lambda x, divergence: log_likelihood(problem.predict, problem.sde, x, divergence, **settings))
    return lambda: jax.block_until_ready(compiled(problem.x, divergence))


def accurate(problem: Problem) -> np.ndarray:
    """The log-density in nats [B] in double precision at a tolerance of 1e-7, the reference for errors."""
    # Sampled in single precision: in double precision, the same keys give other probes.
    single = sample_probes("rademacher", fold_in(problem.keys, 0), problem.x.shape)
    with jax.enable_x64(True):
        exact, probes = problem._replace(x=problem.x.astype(jnp.float64)), single.astype(jnp.float64)
        return np.asarray(fused(exact, Hutchinson(probes[None]), 1e-7)().logp_nats)


def small_config(sde: str, image_size: int) -> ConfigDict:
    """An NCSN++ with 16 channels and two resolutions."""
    config = default.get_config()
    {"vp": presets.vp, "ve": presets.ve}[sde](config)
    presets.ncsnpp(config)
    config.data.update(dataset="synthetic", image_size=image_size)
    config.model.update(nf=16, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(), dropout=0.0, init_scale=0.1)
    return config


def random_problem(sde: str, image_size: int, batch: int) -> Problem:
    """A small network with random weights, on Gaussian noise of standard deviation 0.5."""
    config = small_config(sde, image_size)
    network, shape = make_network(config), (batch, image_size, image_size, 3)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, *shape[1:])), jnp.ones(1))["params"]
    x = 0.5 * jax.random.normal(jax.random.key(1), shape)
    keys = example_keys(jax.random.key(2), batch)
    name = f"{sde} ncsnpp nf16 {image_size}x{image_size}x3, random weights"
    return Problem(name, make_predict_of(config)(params, {}, None), make_sde(config), x, keys, config.eval.bpd_eps)


def noise_problem(config: ConfigDict, name: str, batch: int) -> Problem:
    """The network of any config with random weights, on uniform noise in the shape of the data."""
    network, shape = make_network(config), (batch, *data_shape(config))
    params = jax.jit(network.init)(jax.random.key(0), *example_inputs(config))["params"]
    x, keys = jax.random.uniform(jax.random.key(1), shape), example_keys(jax.random.key(2), batch)
    predict = make_predict_of(config)(params, {}, None)
    return Problem(f"{name}, random weights", predict, make_sde(config), x, keys, config.eval.bpd_eps)


def trained_problem(config: ConfigDict, name: str, workdir: str, batch: int) -> Problem:
    """The newest checkpoint of a run, on the first images of the test split."""
    run = Run.of_checkpoint(config, workdir, devices=jax.devices()[:1])
    system: Any = run.system
    checkpoints = Checkpoints(run.workdir / "checkpoints")
    params = checkpoints.restore(checkpoints.numbers()[-1], run.abstract_state()).ema_params
    checkpoints.close()
    levels = jnp.asarray(run.test.fetch(np.arange(batch))["x"])
    keys = example_keys(jax.random.key(2), batch)
    x = dequantize.uniform(fold_in(keys, 1), levels, run.test.num_levels, run.config.data.centered)
    return Problem(name, system.predict_of(params, {}, None), system.sde, x, keys, run.config.eval.bpd_eps)


def flops_of_evaluation(problem: Problem) -> float:
    """Operations of one evaluation of the drift and an estimate of its divergence, for the batch."""
    return measurement.flops_of(
        lambda x, t, probe: drift_and_divergence(problem.predict, problem.sde, x, t, probe),
        problem.x,
        jnp.ones(problem.x.shape[0]),
        problem.x,
    )


def compare(problem: Problem, tolerance: float, repeats: int, methods: Sequence[str]) -> list[dict[str, Any]]:
    """A row for the published method, one for each of our solvers and estimators, and the comparison at equal error."""
    shape, bits = problem.x.shape, math.prod(problem.x.shape[1:]) * math.log(2)
    exact = accurate(problem)
    single = Hutchinson(sample_probes("rademacher", fold_in(problem.keys, 0), shape)[None])
    estimators: dict[str, Divergence] = {
        "hutchinson 8": hutchinson("rademacher", fold_in(problem.keys, 1), shape, 8),
        "hutchpp 12": hutchpp("rademacher", fold_in(problem.keys, 2), shape, 12),
    }
    several = {name: estimator for name, estimator in estimators.items() if name in methods}
    jobs: dict[tuple[str, float], Callable[[], Any]] = {("published", tolerance): published(problem, tolerance)}
    factors = {"dopri5": (1, 3, 10), "bosh3": (3, 10, 100)}
    for solver, factor in [(name, factor) for name in factors if name in methods for factor in factors[name]]:
        jobs[solver, factor * tolerance] = fused(problem, single, factor * tolerance, solver)
    for name, estimator in several.items():
        jobs[name, 10 * tolerance] = fused(problem, estimator, 10 * tolerance)
    results, first = {}, {}
    for job, run in jobs.items():
        began = time.perf_counter()
        results[job] = run()
        first[job] = time.perf_counter() - began
    seconds, flops, peak = _timed(jobs, repeats), flops_of_evaluation(problem), measurement.peak_flops()
    rows: list[dict[str, Any]] = []
    for (method, job_tolerance), result in results.items():
        row: dict[str, Any] = {"method": method, "tolerance": job_tolerance, **seconds[method, job_tolerance]}
        row |= {"first_seconds": first[method, job_tolerance], "images_per_second": shape[0] / row["seconds"]}
        if method == "published":
            row |= {"network_evals": 2 * result[1], "error": _error(result[0], exact, bits)}
        elif method in several:
            error = float(result.standard_error_nats.mean() / bits)
            row |= {"network_evals": int(result.num_evals), "probe_error": error, "cost": row["seconds"] * error**2}
        else:
            row |= {"network_evals": int(result.num_evals), "error": _error(result.logp_nats, exact, bits)}
            rate = flops * int(result.num_evals) / row["seconds"]
            row |= {"gflops_per_second": rate / 1e9, "share_of_peak": rate / peak}
        rows.append(row | {"speedup": seconds["published", tolerance]["seconds"] / row["seconds"]})
    equal = [row for row in rows[1:] if row.get("error", math.inf) <= rows[0]["error"]]
    best = max(equal, key=lambda row: row["speedup"], default={"speedup": None, "method": None, "tolerance": None})
    summary = {"speedup_at_the_same_error": best["speedup"], "method": best["method"], "tolerance": best["tolerance"]}
    return [{"problem": problem.name, "batch": shape[0], **row} for row in [*rows, summary]]


def _timed(jobs: dict[tuple[str, float], Callable[[], Any]], repeats: int) -> dict[tuple[str, float], dict[str, float]]:
    """Median and spread of the wall-clock time of each job; the jobs alternate."""
    seconds: dict[tuple[str, float], list[float]] = {job: [] for job in jobs}
    for _ in range(repeats):
        for job, run in jobs.items():
            began = time.perf_counter()
            run()
            seconds[job].append(time.perf_counter() - began)
    return {
        job: {"seconds": statistics.median(values), "spread_seconds": max(values) - min(values)}
        for job, values in seconds.items()
    }


def _error(logp_nats: np.ndarray, exact: np.ndarray, bits: float) -> float:
    """Root mean square of the difference over the batch, in bits/dim."""
    return float(np.sqrt(np.mean((np.asarray(logp_nats, np.float64) - exact) ** 2))) / bits


def main() -> None:
    """Compares the methods on each model and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument(
        "--methods", nargs="+", default=METHODS, choices=METHODS, help="compared with the published method"
    )
    measurement.add_config(parser, required=False)
    parser.add_argument("--workdir", help="workdir of a training run of --config")
    args = parser.parse_args()
    measurement.print_json(**measurement.machine(), diffrax=diffrax.__version__, scipy=scipy.__version__)
    problems: Iterable[Problem]
    if args.workdir:
        problems = [trained_problem(measurement.config_of(args), args.config, args.workdir, args.batch)]
    elif args.config:
        problems = [noise_problem(measurement.config_of(args), args.config, args.batch)]
    else:
        problems = (random_problem(sde, size, args.batch) for sde, size in (("vp", 8), ("ve", 8), ("vp", 16)))
    for problem in problems:
        for row in compare(problem, args.tolerance, args.repeats, args.methods):
            measurement.print_json(**row)


if __name__ == "__main__":
    malloc.configure()
    main()
