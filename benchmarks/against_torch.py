"""Training, sampling, and likelihood compared with PyTorch, with the same network, weights, and batch.

    python -m benchmarks.against_torch [--parts train sampling likelihood] [--nf=32] [--batch=16] [--repeats=5]
        [--cpu_devices=2]

The network is NCSN++ with the VE SDE on 32x32 images: three resolutions with nf, 2 nf, and 2 nf channels and two
residual blocks each. `benchmarks/torch_ncsnpp.py` is the same network in PyTorch. Each run first checks that they agree
in the number of parameters and, to a relative error of 1e-4, in the output, the loss, and the gradient.

    train       Forward and backward pass, clipping, Adam, EMA; dropout 0.1. PyTorch uses fused Adam, its `foreach`
                functions, and channels first or last, whichever is faster.
    sampling    `--steps` predictor-corrector steps (reverse diffusion, Langevin) and a final denoising step. PyTorch
                uses inference mode.
    likelihood  Bits/dim of the batch. PyTorch uses the published method: SciPy's RK45 on the host in double precision,
                with separate passes for the drift and for the divergence, the latter by automatic differentiation.
                Three comparisons: `likelihood` has both at `--tolerance`, `bosh3` has our solver of that name at three
                times the tolerance, and `evaluations` has Euler's method with the same number of evaluations of drift
                and divergence in both. Errors are root mean squares over the batch, relative to our solution at a
                thirtieth of the tolerance.

The two alternate. `ratio` is PyTorch's time divided by ours: the median over the repeats, with minimum and maximum. On
a CPU shared with other processes, `ratio_of_processor_time` varies less. Everything runs on the GPU if both frameworks
have one, otherwise on the CPU: PyTorch with one thread per core, ours with the batch sharded over `--cpu_devices`, by
default as many as `main.py` uses to sample and to evaluate. Prints JSON lines. Needs PyTorch: `pip install torch`.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import measurement
from benchmarks.train_step import compile_step
from builders.devices import make_devices, set_num_cpu_devices
from builders.network import example_inputs, make_network
from builders.process import make_sde
from builders.sampler import make_sampler
from builders.score import make_predict_of
from configs import default, presets
from core.keys import example_keys
from corruption.predictions import score_of
from likelihood.divergence import sample_probes
from likelihood.ode import drift_and_divergence, log_likelihood
from runtime import malloc
from training.objectives.score_matching import denoising_score_matching

try:
    import torch

    from benchmarks import torch_work
except ImportError:
    torch = None  # type: ignore[assignment]

NEEDED = "benchmarks.against_torch compares with PyTorch, which is not installed: `pip install torch`."
PARTS = ("train", "sampling", "likelihood")
TARGETS = {"train": 1.0, "sampling": 1.5, "likelihood": 3.0, "bosh3": 3.0}


class Pair(NamedTuple):
    """The same work in both frameworks; a call does `size` units of it (steps, images)."""

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    size: int


def config_of(nf: int, batch: int, steps: int) -> ConfigDict:
    """The network and SDE. `init_scale` makes the initial weights of the last layers large enough to matter."""
    config = default.get_config()
    presets.ve(config)
    presets.ncsnpp(config)
    config.model.update(nf=nf, ch_mult=(1, 2, 2), num_res_blocks=2, attn_resolutions=(16,), init_scale=0.1)
    config.training.batch_size = config.eval.batch_size = batch
    config.sampling.num_steps = steps
    default.validate(config)
    return config


def check(config: ConfigDict, params: Any, work: Any) -> dict[str, Any]:
    """Checks that both networks are the same function; the relative errors. Errors: SystemExit if they differ."""
    ours, theirs = sum(leaf.size for leaf in jax.tree.leaves(params)), work.num_params()
    rng = np.random.default_rng(1)
    x0 = jnp.asarray(rng.random((4, 32, 32, 3), np.float32))
    t, z = jnp.asarray([0.05, 0.3, 0.6, 0.95]), jnp.asarray(rng.standard_normal(x0.shape, np.float32))
    sde, predict_of = make_sde(config), make_predict_of(config)

    def loss(params: Any) -> Any:
        return jnp.mean(denoising_score_matching(predict_of(params, {}, None), sde, x0, t, z, reduce_mean=False))

    with jax.default_matmul_precision("highest"):
        score = np.asarray(
            jax.jit(lambda p: score_of(predict_of(p, {}, None)(sde.perturb(x0, t, z), t), sde, t))(params)
        )
        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    their_score, their_value, their_gradient = work.exact(*map(np.asarray, (x0, t, z)))
    axes = (1, 2, 3)
    errors = {
        "output": float(np.max(np.abs(score - their_score).max(axes) / np.abs(score).max(axes))),
        "loss": abs(float(value) - their_value) / abs(their_value),
        "gradient": work.distance(gradient, their_gradient),
    }
    if ours != theirs or max(errors.values()) > 1e-4:
        raise SystemExit(
            f"The two networks differ: {ours} parameters here, {theirs} in PyTorch; relative errors {errors}."
        )
    return {"parameters": ours, **{f"{name}_error": error for name, error in errors.items()}}


def agreement(params: Any, network: Any, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> dict[str, Any]:
    """The number of parameters and the relative error of the output. Errors: SystemExit if the networks differ."""
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    counts = sum(leaf.size for leaf in jax.tree.leaves(params)), sum(p.numel() for p in network.parameters())
    if counts[0] != counts[1] or error > tolerance:
        raise SystemExit(f"The two networks differ: {counts} parameters, relative error {error} of the output.")
    return {"parameters": counts[0], "output_error": error}


def training(config: ConfigDict, work: Any, steps: int) -> Pair:
    """`steps` training steps in both frameworks."""
    compiled, state, (batch, sharding), _ = compile_step(config)

    def ours() -> Any:
        nonlocal state
        for _ in range(steps):
            state, metrics = compiled(state, jax.device_put(batch, sharding))
        return metrics["loss"]

    return Pair(ours, work.training(batch["x"], steps), steps)


def sampling(config: ConfigDict, params: Any, work: Any) -> Pair:
    """A batch of samples in both frameworks."""
    sampler: Any = make_sampler(config)
    predict_of, devices = make_predict_of(config), make_devices(config)
    shape = (config.training.batch_size, 32, 32, 3)
    sample = jax.jit(lambda params, keys: sampler(keys, predict_of(params, {}, None), shape).x)
    replicated = jax.device_put(params, devices.replicated)
    keys = jax.device_put(example_keys(jax.random.key(2), shape[0]), devices.batch_sharding)
    return Pair(lambda: np.asarray(sample(replicated, keys)), work.sampling(shape, sampler.times), shape[0])


def likelihoods(
    config: ConfigDict, params: Any, work: Any, tolerance: float, num: int
) -> tuple[dict[str, Pair], Callable[[], Any]]:
    """Log-densities of a batch in both frameworks, by comparison, and a function that computes the reference.

    The comparisons are at the same tolerance, at about the same error, and with `num` evaluations.
    """
    sde, predict_of, eps = make_sde(config), make_predict_of(config), config.eval.bpd_eps
    batch, devices = config.training.batch_size, make_devices(config)
    x = np.random.default_rng(3).random((batch, 32, 32, 3), np.float32)
    probes = sample_probes("rademacher", example_keys(jax.random.key(3), batch), x.shape)
    grid = np.linspace(eps, 1, num + 1, dtype=np.float32)

    @functools.partial(jax.jit, static_argnums=(3, 4))
    def solve(params: Any, x: Any, probes: Any, solver: str, factor: float) -> Any:
        limits = {"eps": eps, "rtol": factor * tolerance, "atol": factor * tolerance, "solver": solver}
        result = log_likelihood(predict_of(params, {}, None), sde, x, probes, **limits)
        return result.logp_nats, result.num_evals

    @jax.jit
    def euler(params: Any, x: Any, probes: Any) -> Any:
        def step(carry: Any, interval: Any) -> Any:
            (x, logp), (t, dt) = carry, interval
            times = jnp.full((batch,), t)
            drift, divergence = drift_and_divergence(predict_of(params, {}, None), sde, x, times, probes)
            return (x + dt * drift, logp + dt * divergence), None

        (x, logp), _ = jax.lax.scan(step, (x, jnp.zeros(batch)), (grid[:-1], np.diff(grid)))
        return sde.prior_logp(x) + logp, num

    inputs = np.asarray(x), np.asarray(probes)
    placed = jax.device_put(params, devices.replicated), *jax.device_put(inputs, devices.batch_sharding)
    published = work.published(*inputs, eps, tolerance)
    pairs = {
        "likelihood": Pair(lambda: jax.device_get(solve(*placed, "dopri5", 1.0)), published, batch),
        "bosh3": Pair(lambda: jax.device_get(solve(*placed, "bosh3", 3.0)), published, batch),
        "evaluations": Pair(lambda: jax.device_get(euler(*placed)), work.euler(*inputs, grid), batch),
    }
    return pairs, lambda: np.asarray(solve(*placed, "dopri5", 1 / 30)[0], np.float64)


def compare(part: str, pair: Pair, repeats: int, unit: str, exact: Any = None, target: float | None = None) -> None:
    """Alternates the two and prints the result. The first call of each compiles and is not timed.

    `unit`: the unit of `pair.size`. `exact`: reference log-densities in nats [B] for errors.
    """
    firsts = pair.ours(), pair.theirs()
    jobs = {"ours": pair.ours, "torch": pair.theirs}
    costs = measurement.interleave(jobs, repeats, measurement.wall_and_processor_seconds)
    wall, processor = (
        [theirs[which] / ours[which] for ours, theirs in zip(costs["ours"], costs["torch"], strict=True)]
        for which in range(2)
    )
    line: dict[str, Any] = {"part": part, "ratio": statistics.median(wall), "spread": [min(wall), max(wall)]}
    if (goal := TARGETS.get(part, target)) is not None:
        line["target"] = goal
    if jax.default_backend() == "cpu":
        line["ratio_of_processor_time"] = statistics.median(processor)
    for name, measured in costs.items():
        seconds = [wall_seconds for wall_seconds, _ in measured]
        line[f"{name}_seconds"] = statistics.median(seconds)
        line[f"{name}_spread"] = [min(seconds), max(seconds)]
        line[f"{name}_{unit}_per_second"] = pair.size / statistics.median(seconds)
    if exact is not None:
        bits = 3072 * np.log(2)
        for name, (logp, num_evals) in zip(costs, firsts, strict=True):
            line[f"{name}_bits_per_dim"] = float(8 - np.mean(logp) / bits)  # for data in [0, 1] with 256 levels
            line[f"{name}_error"] = float(np.sqrt(np.mean((logp - exact) ** 2)) / bits)
            line[f"{name}_evaluations"] = int(num_evals)
    measurement.print_json(**line, repeats=repeats)


def main() -> None:
    """Checks that the networks agree, measures all parts, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--nf", type=int, default=32, help="channels at full resolution")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100, help="predictor-corrector steps")
    parser.add_argument("--train_steps", type=int, default=5, help="training steps per repeat")
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, help="relative and absolute tolerance of the likelihood"
    )
    parser.add_argument("--evaluations", type=int, default=20, help="evaluations of Euler's method")
    parser.add_argument("--repeats", type=int, default=5, help="number of repeats; training has three times as many")
    measurement.add_devices(parser)
    args = parser.parse_args()
    if torch is None:
        raise SystemExit(NEEDED)
    config = config_of(args.nf, args.batch, args.steps)
    set_num_cpu_devices(config, args.cpu_devices, training=False)
    network = make_network(config)
    params = jax.jit(network.init)(jax.random.key(0), *example_inputs(config))["params"]
    work = torch_work.Work(config, params)
    facts = {**measurement.machine(), "torch": torch.__version__, "torch_device": work.device_name, "batch": args.batch}
    measurement.print_json(**facts, **check(config, params, work), channels_last=work.choose_layout(args.batch))
    if "train" in args.parts:
        compare("train", training(config, work, args.train_steps), 3 * args.repeats, "steps")
    if "sampling" in args.parts:
        compare("sampling", sampling(config, params, work), args.repeats, "images")
    if "likelihood" in args.parts:
        pairs, reference = likelihoods(config, params, work, args.tolerance, args.evaluations)
        exact = reference()
        for part, pair in pairs.items():
            compare(part, pair, args.repeats, "images", exact)


if __name__ == "__main__":
    malloc.configure()
    main()
