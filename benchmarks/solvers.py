"""Quality of samples against the number of network calls, for all samplers.

    python -m benchmarks.solvers [--plot PATH]                             an 8-D Gaussian mixture, exact score
    python -m benchmarks.solvers --config=configs/... --workdir=DIR        a trained model, against its test images

Quality is the sliced Wasserstein distance W2 to held-out data: over fixed random directions, the root mean square of
the distance between the sorted projections. The floor is that of other data. Prints JSON lines: sampler, calls, SWD.
"""

import argparse
import functools
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sampling import grids, steps
from sampling.base import Sampler
from sampling.coefficients import METHODS, Method
from sampling.multistep import Multistep
from sampling.ode import ProbabilityFlow
from sampling.pc import PC
from sampling.solvers import Churn, ddim, heun
from sde.base import SDE, Array
from sde.discrete import Tabulated
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.oracles import Mixture, correlated

BUDGETS = (5, 10, 15, 20, 50)  # calls of the network
NUM_DIMS, NUM_PARTS, NUM_SAMPLES = 8, 5, 10_000
SDES: dict[str, SDE] = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
Draw = Callable[[Sampler], tuple[np.ndarray, int]]  # -> samples [N, D], calls


def samplers(sde: SDE, eps: float, grid: str) -> dict[str, Callable[[int], Sampler | None]]:
    """By name, the sampler that makes at most so many calls (None where it has no step left)."""
    last = 0 if isinstance(sde, Tabulated) else 1  # the call that denoises

    def times(num: int) -> tuple[float, ...]:
        return grids.GRIDS[grid](sde, num, eps)

    def pc(step: Callable[[int], Any], each: int, calls: int) -> Sampler | None:
        num = (calls - last) // each
        return PC(sde, step(num), steps.none(), times(num)) if num >= 1 else None

    def multistep(method: Method, calls: int) -> Sampler:
        return Multistep(sde, method, times(calls - last))

    table: dict[str, Callable[[int], Sampler | None]] = {
        "reverse_diffusion": functools.partial(pc, lambda num: steps.reverse_diffusion(), 1),
        "ddim": functools.partial(pc, lambda num: ddim(), 1),
        "ddim eta=1": functools.partial(pc, lambda num: ddim(eta=1.0), 1),
        "heun": functools.partial(pc, lambda num: heun(), 2),
        "heun churn=4": functools.partial(pc, lambda num: heun(churn=Churn(4.0, num)), 2),
    }
    for name, method in METHODS.items():
        table[name] = functools.partial(multistep, method)
    return table


def mixture() -> tuple[Mixture, np.ndarray, np.ndarray]:
    """A mixture of five correlated Gaussians in eight dimensions, and two independent sets of data [N, D]."""
    parts = tuple(correlated(NUM_DIMS, spread=0.4, shift=1.0, seed=k) for k in range(NUM_PARTS))
    data = Mixture((0.1, 0.15, 0.2, 0.25, 0.3), parts)
    sets = []
    for seed in (1000, 2000):
        counts = np.random.default_rng(seed).multinomial(NUM_SAMPLES, data.weights)
        drawn = [
            np.asarray(part.draw(seed + k, (int(n), NUM_DIMS)))
            for k, (part, n) in enumerate(zip(parts, counts, strict=True))
        ]
        sets.append(np.concatenate(drawn))
    return data, sets[0], sets[1]


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, num: int = 128) -> float:
    """Root mean square over `num` fixed directions of the W2 distance of the projections of a [N, D] and b [M, D]."""
    directions = np.random.default_rng(0).normal(size=(a.shape[1], num))
    directions /= np.linalg.norm(directions, axis=0)
    levels = (np.arange(1000) + 0.5) / 1000
    quantiles = [np.quantile(x @ directions, levels, axis=0) for x in (a, b)]
    return float(np.sqrt(np.mean((quantiles[0] - quantiles[1]) ** 2)))


def measure(name: str, sde: SDE, eps: float, grid: str, held_out: np.ndarray, draw: Draw, em: int) -> list[dict]:
    """One line for each sampler and number of calls, printed as it is known."""
    jobs = [(key, make(calls)) for calls in BUDGETS for key, make in samplers(sde, eps, grid).items()]
    if not isinstance(sde, Tabulated):
        reference = PC(sde, steps.euler_maruyama(), steps.none(), grids.uniform(em, eps))
        jobs += [("euler_maruyama", reference), *_adaptive(sde, eps)]
    lines = []
    for key, sampler in jobs:
        if sampler is None:
            continue
        began = time.perf_counter()
        x, calls = draw(sampler)
        swd = sliced_wasserstein(x, held_out) if np.all(np.isfinite(x)) else None
        line = {"sde": name, "grid": grid, "sampler": key, "calls": calls, "swd": swd and round(swd, 5)}
        lines.append({**line, "seconds": round(time.perf_counter() - began, 2)})
        print(json.dumps(lines[-1]), flush=True)
    return lines


def _adaptive(sde: SDE, eps: float) -> list[tuple[str, Sampler]]:
    """The adaptive solver at three tolerances."""
    return [
        (f"tsit5 {tol:g}", ProbabilityFlow(sde, eps, tol, tol, denoise=True, solver="tsit5"))
        for tol in (1e-1, 1e-2, 1e-3)
    ]


def of_mixture(names: list[str], grid: str) -> list[dict]:
    """All samplers with the exact score."""
    data, held_out, other = mixture()
    print(json.dumps({"sampler": "floor: other data", "swd": round(sliced_wasserstein(other, held_out), 5)}))
    lines = []
    for name in names:
        sde = SDES[name]
        score_fn = data.score_fn(sde)

        def draw(sampler: Sampler, score_fn: Any = score_fn) -> tuple[np.ndarray, int]:
            run = jax.jit(lambda key: sampler(key, score_fn, (NUM_SAMPLES, NUM_DIMS)))
            samples = run(jax.random.key(0))
            return np.asarray(samples.x), int(samples.num_evals)

        lines += measure(name, sde, 1e-5 if name == "ve" else 1e-3, grid, held_out, draw, 1000)
    return lines


def of_model(config_path: str, workdir: str, checkpoint: int | None, grid: str, num: int, em: int) -> list[dict]:
    """All samplers with the averaged parameters of a checkpoint, against the test images in grey levels of [0, 1]."""
    from experiment import Experiment
    from likelihood import dequantize
    from training.checkpoint import Checkpoints

    namespace: dict[str, Any] = {}
    exec(compile(pathlib.Path(config_path).read_text(encoding="utf-8"), config_path, "exec"), namespace)
    run = Experiment(namespace["get_config"](), workdir)
    kept = Checkpoints(run.workdir / "checkpoints")
    number = kept.numbers()[-1] if checkpoint is None else checkpoint
    params, top = kept.restore(number, run.abstract_state()).ema_params, run.test.num_levels - 1
    kept.close()

    def images(source: Any) -> np.ndarray:
        return source.fetch(np.arange(source.num_examples))["x"].reshape(source.num_examples, -1) / top

    def draw(sampler: Sampler) -> tuple[np.ndarray, int]:
        def fn(params: Any, keys: Array) -> tuple[Array, Array]:
            drawn = sampler(keys, run.score_of(params, {}, None), (num, *run.test.shape))
            return dequantize.quantize(drawn.x, top + 1, centered=run.config.data.centered), drawn.num_evals

        x, calls = jax.device_get(jax.jit(fn)(params, run.sample_keys(number, 0, num)))
        return x.reshape(num, -1) / top, int(calls)

    held_out = images(run.test)
    print(
        json.dumps(
            {"sampler": "floor: training images", "swd": round(sliced_wasserstein(images(run.train), held_out), 5)}
        )
    )
    eps = 1e-5 if run.config.training.sde == "vesde" else 1e-3
    return measure(run.config.training.sde, run.sde, eps, grid, held_out, draw, em)


def plot(lines: list[dict], path: str) -> None:
    """SWD against calls, one panel for each SDE. Needs matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit("--plot needs matplotlib, which is not installed: pip install matplotlib.") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(line["sde"] for line in lines))
    figure, panels = plt.subplots(1, len(names), figsize=(6 * len(names), 4.5), squeeze=False, sharey=True)
    for panel, name in zip(panels[0], names, strict=True):
        mine = [line for line in lines if line["sde"] == name and line["swd"] is not None]
        for key in dict.fromkeys(line["sampler"] for line in mine):
            points = [(line["calls"], line["swd"]) for line in mine if line["sampler"] == key]
            panel.loglog(*zip(*points, strict=True), marker="o", label=key)
        panel.set(title=name, xlabel="network calls", ylabel="sliced Wasserstein distance to held-out data")
    panels[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sde", action="append", choices=sorted(SDES), help="of the mixture, several times for several; vp by default"
    )
    parser.add_argument("--grid", default="log_snr", choices=sorted(grids.GRIDS))
    parser.add_argument("--config", help="a config file; with --workdir")
    parser.add_argument("--workdir", help="the folder of its training run")
    parser.add_argument("--checkpoint", type=int, help="its newest by default")
    parser.add_argument("--num", type=int, default=300, help="samples of the model")
    parser.add_argument("--em-steps", type=int, default=1000, help="Euler-Maruyama steps of the model's reference")
    parser.add_argument("--plot", help="path of a PNG")
    args = parser.parse_args()
    if (args.config is None) != (args.workdir is None):
        parser.error("--config and --workdir go together")
    if args.config:
        lines = of_model(args.config, args.workdir, args.checkpoint, args.grid, args.num, args.em_steps)
    else:
        lines = of_mixture(args.sde or ["vp"], args.grid)
    if args.plot:
        plot(lines, args.plot)


if __name__ == "__main__":
    main()
