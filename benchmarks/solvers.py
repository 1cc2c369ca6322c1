"""Sample quality against the number of network calls, for all samplers.

    python -m benchmarks.solvers [--plot PATH]                             an 8-D Gaussian mixture with its exact score
    python -m benchmarks.solvers --config=configs/... --workdir=DIR        a trained model against its test images;
                                                                           settings as for main.py

Quality is the sliced Wasserstein distance (SWD) to held-out data: the root mean square, over fixed random directions,
of the W2 distance between the sorted projections. The result is the mean over several seeds with its standard error.
The floor is the distance of other data of the same size. Prints JSON lines (sampler, calls, SWD), then a Markdown
table.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.measurement import add_config, config_of
from core.arrays import Array
from sampling import grids
from sampling.base import Sampler
from sampling.coefficients import METHODS, Method
from sampling.multistep import multistep
from sampling.ode import ProbabilityFlow
from sampling.pc import pc
from sampling.steps.ddim import ddim
from sampling.steps.euler_maruyama import euler_maruyama
from sampling.steps.heun import Churn, heun
from sampling.steps.none import none
from sampling.steps.reverse_diffusion import reverse_diffusion
from sde.base import SDE
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Mixture, correlated

BUDGETS = (5, 10, 15, 20, 50)  # network calls
NUM_DIMS, NUM_PARTS, NUM_SAMPLES, NUM_HELD_OUT = 8, 5, 20_000, 200_000
NUM_IMAGES = 300  # samples of a trained model
SDES: dict[str, SDE] = {"vp": VP(), "subvp": SubVP(), "ve": VE()}
SampleFn = Callable[[Sampler], tuple[list[np.ndarray], int]]  # -> samples [N, D] for each seed, network calls


def samplers(sde: SDE, eps: float, grid: str) -> dict[str, Callable[[int], Sampler | None]]:
    """By name, a function from a budget of network calls to the sampler (None if the budget allows no step)."""
    last = 0 if sde.is_discrete else 1  # the call of the final denoising step

    def times(num: int) -> tuple[float, ...]:
        return grids.GRIDS[grid](sde, num, eps)

    def one_step(step: Callable[[int], Any], calls_per_step: int, calls: int) -> Sampler | None:
        num = (calls - last) // calls_per_step
        return pc(sde, step(num), none(), times(num)) if num >= 1 else None

    def several_steps(method: Method, calls: int) -> Sampler:
        return multistep(sde, method, times(calls - last))

    by_name: dict[str, Callable[[int], Sampler | None]] = {
        "reverse_diffusion": functools.partial(one_step, lambda num: reverse_diffusion(), 1),
        "ddim": functools.partial(one_step, lambda num: ddim(), 1),
        "ddim eta=1": functools.partial(one_step, lambda num: ddim(eta=1.0), 1),
        "heun": functools.partial(one_step, lambda num: heun(), 2),
        "heun churn=4": functools.partial(one_step, lambda num: heun(churn=Churn(4.0, num)), 2),
    }
    for name, method in METHODS.items():
        by_name[name] = functools.partial(several_steps, method)
    return by_name


def mixture(num_sets: int, num: int) -> tuple[Mixture, np.ndarray, list[np.ndarray]]:
    """A mixture of five Gaussians in eight dimensions, quantiles of held-out data, and `num_sets` sets [num, D]."""
    parts = tuple(correlated(NUM_DIMS, spread=0.4, shift=1.0, seed=k) for k in range(NUM_PARTS))
    data = Mixture((0.1, 0.15, 0.2, 0.25, 0.3), parts)
    sets = []
    for seed in range(1000, 1000 * (num_sets + 2), 1000):
        size = NUM_HELD_OUT if seed == 1000 else num
        counts = np.random.default_rng(seed).multinomial(size, data.weights)
        samples = [
            np.asarray(part.sample(seed + k, (int(n), NUM_DIMS)))
            for k, (part, n) in enumerate(zip(parts, counts, strict=True))
        ]
        sets.append(np.concatenate(samples))
    return data, quantiles(sets[0]), sets[1:]


def quantiles(x: np.ndarray, num: int = 128) -> np.ndarray:
    """1,000 quantiles of the projections of x [N, D] onto `num` fixed random directions: [1000, num]."""
    directions = np.random.default_rng(0).normal(size=(x.shape[1], num))
    directions /= np.linalg.norm(directions, axis=0)
    return np.quantile(x @ directions, (np.arange(1000) + 0.5) / 1000, axis=0)


def sliced_wasserstein(x: np.ndarray, held_out: np.ndarray) -> float:
    """Root mean square over the directions of the W2 distance of x [N, D] to the quantiles `held_out` [1000, num]."""
    return float(np.sqrt(np.mean((quantiles(x) - held_out) ** 2)))


def summarize(sets: list[np.ndarray], held_out: np.ndarray) -> dict[str, float | None]:
    """Mean distance of the sets to the quantiles `held_out`, and its standard error (None for a single set)."""
    if not all(np.all(np.isfinite(x)) for x in sets):
        return {"swd": None, "error": None}
    distances = [sliced_wasserstein(x, held_out) for x in sets]
    error = round(float(np.std(distances, ddof=1)) / len(sets) ** 0.5, 5) if len(sets) > 1 else None
    return {"swd": round(float(np.mean(distances)), 5), "error": error}


def table(lines: list[dict], budgets: Sequence[int]) -> str:
    """A Markdown table of the SWD by sampler and budget; samplers without a budget have one cell, with their calls."""
    rows = [f"| sampler | {' | '.join(f'{calls} calls' for calls in budgets)} |", "| --- |" + " --- |" * len(budgets)]
    for sde, key in dict.fromkeys((line["sde"], line["sampler"]) for line in lines):
        selected = [line for line in lines if (line["sde"], line["sampler"]) == (sde, key) and line["swd"] is not None]
        if any(line["calls"] > max(budgets) for line in selected) or len(selected) < 2:
            rows += [f"| {sde} `{key}`: {line['swd']:.3f} in {line['calls']} |" for line in selected]
            continue
        cells = []
        for budget in budgets:
            matching = [line for line in selected if budget - 1 <= line["calls"] <= budget]
            cells.append(f"{matching[-1]['swd']:.3f}" if matching else "")
        rows.append(f"| {sde} `{key}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def measure(
    name: str, sde: SDE, eps: float, held_out: np.ndarray, sample: SampleFn, args: argparse.Namespace
) -> list[dict]:
    """One line per sampler and budget, each printed as soon as it is measured. Errors: SystemExit, unknown sampler."""
    by_name = samplers(sde, eps, args.grid)
    if unknown := set(args.samplers or ()) - by_name.keys():
        raise SystemExit(f"--samplers: unknown {', '.join(sorted(unknown))}; choose from {', '.join(by_name)}.")
    jobs = [(key, by_name[key](calls)) for calls in args.calls for key in args.samplers or by_name]
    if not sde.is_discrete:
        reference = pc(sde, euler_maruyama(), none(), grids.uniform(args.em_steps, eps))
        jobs += [("euler_maruyama", reference), *([] if args.samplers else _adaptive(sde, eps))]
    lines = []
    for key, sampler in jobs:
        if sampler is None:
            continue
        began = time.perf_counter()
        sets, calls = sample(sampler)
        line = {"sde": name, "grid": args.grid, "sampler": key, "calls": calls, **summarize(sets, held_out)}
        lines.append({**line, "seconds": round(time.perf_counter() - began, 2)})
        print(json.dumps(lines[-1]), flush=True)
    return lines


def _adaptive(sde: SDE, eps: float) -> list[tuple[str, Sampler]]:
    """The adaptive solver at three tolerances."""
    return [
        (f"tsit5 {tol:g}", ProbabilityFlow(sde, eps, tol, tol, denoise=True, solver="tsit5"))
        for tol in (1e-1, 1e-2, 1e-3)
    ]


def of_mixture(names: list[str], args: argparse.Namespace) -> list[dict]:
    """All samplers with the exact score of the mixture."""
    num = args.num or NUM_SAMPLES
    data, held_out, others = mixture(args.seeds, num)
    print(json.dumps({"sampler": "floor: other data", **summarize(others, held_out)}))
    lines = []
    for name in names:
        sde = SDES[name]
        predict = data.predict(sde)

        def sample(sampler: Sampler, predict: Any = predict) -> tuple[list[np.ndarray], int]:
            run = jax.jit(lambda key: sampler(key, predict, (num, NUM_DIMS)))
            results = [run(jax.random.key(seed)) for seed in range(args.seeds)]
            return [np.asarray(samples.x) for samples in results], int(results[0].num_evals)

        lines += measure(name, sde, 1e-5 if name == "ve" else 1e-3, held_out, sample, args)
    return lines


def of_model(args: argparse.Namespace) -> list[dict]:
    """All samplers with the EMA parameters of a checkpoint, compared with the test images, with pixels in [0, 1]."""
    from likelihood import dequantize
    from programs.run import Run
    from training.checkpoint import Checkpoints

    run, num = Run.of_checkpoint(config_of(args), args.workdir, args.checkpoint), args.num or NUM_IMAGES
    system: Any = run.system
    checkpoints = Checkpoints(run.workdir / "checkpoints")
    number = checkpoints.numbers()[-1] if args.checkpoint is None else args.checkpoint
    params, max_level = checkpoints.restore(number, run.abstract_state()).ema_params, run.test.num_levels - 1
    checkpoints.close()

    def images(source: Any) -> np.ndarray:
        return source.fetch(np.arange(source.num_examples))["x"].reshape(source.num_examples, -1) / max_level

    def sample(sampler: Sampler) -> tuple[list[np.ndarray], int]:
        def fn(params: Any, keys: Array) -> tuple[Array, Array]:
            samples = sampler(keys, system.predict_of(params, {}, None), (num, *run.test.shape))
            return dequantize.quantize(samples.x, max_level + 1, centered=run.config.data.centered), samples.num_evals

        compiled = jax.jit(fn)
        results = [
            jax.device_get(compiled(params, system.sample_keys(number, num * seed, num))) for seed in range(args.seeds)
        ]
        return [x.reshape(num, -1) / max_level for x, _ in results], int(results[0][1])

    held_out = quantiles(images(run.test))
    training = np.random.default_rng(0).permutation(images(run.train))
    print(json.dumps({"sampler": "floor: training images", **summarize([training[:num]], held_out)}))
    eps = 1e-5 if run.config.training.sde == "vesde" else 1e-3
    return measure(run.config.training.sde, system.sde, eps, held_out, sample, args)


def plot(lines: list[dict], budgets: Sequence[int], path: str) -> None:
    """Plots SWD against network calls, one panel per SDE, with the reference as a dashed line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(line["sde"] for line in lines))
    figure, panels = plt.subplots(1, len(names), figsize=(6 * len(names), 4.5), squeeze=False, sharey=True)
    for panel, name in zip(panels[0], names, strict=True):
        selected = [line for line in lines if line["sde"] == name and line["swd"] is not None]
        for number, key in enumerate(dict.fromkeys(line["sampler"] for line in selected)):
            points = [(line["calls"], line["swd"]) for line in selected if line["sampler"] == key]
            if key == "euler_maruyama":
                calls, swd = points[0]
                panel.axhline(swd, color="black", linestyle="--", label=f"{key}, {calls} calls")
            elif not key.startswith("tsit5"):
                color = plt.get_cmap("tab20")(number % 20)
                panel.loglog(*zip(*points, strict=True), marker="os^Dv"[number % 5], color=color, label=key)
        swds = [line["swd"] for line in selected]
        panel.set_ylim(0.8 * min(swds), 1.0)  # Heun with few steps is far above
        panel.set_xticks(budgets, budgets)
        panel.minorticks_off()
        panel.set(title=name, xlabel="network calls", ylabel="sliced Wasserstein distance to held-out data")
    panels[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures all samplers and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sde", action="append", choices=sorted(SDES), help="SDE for the mixture; may be repeated; vp by default"
    )
    parser.add_argument("--grid", default="log_snr", choices=sorted(grids.GRIDS))
    add_config(parser, required=False)
    parser.add_argument("--workdir", help="workdir of a training run of --config")
    parser.add_argument("--checkpoint", type=int, help="number of the checkpoint; the newest by default")
    parser.add_argument(
        "--num",
        type=int,
        help=f"number of samples; by default {NUM_SAMPLES} of the mixture and {NUM_IMAGES} of a model",
    )
    parser.add_argument("--calls", type=int, nargs="+", default=BUDGETS, help="budgets of network calls")
    parser.add_argument("--em-steps", type=int, default=1000, help="steps of the reference, Euler-Maruyama")
    parser.add_argument("--samplers", nargs="+", help="only these samplers and the reference")
    parser.add_argument("--seeds", type=int, default=3, help="sets of samples to average over")
    parser.add_argument("--plot", help="path of a PNG file to write")
    args = parser.parse_args()
    if (args.config is None) != (args.workdir is None):
        parser.error("--config and --workdir must be given together")
    lines = of_model(args) if args.config else of_mixture(args.sde or ["vp"], args)
    print(f"\n{table(lines, args.calls)}")
    if args.plot:
        plot(lines, args.calls, args.plot)


if __name__ == "__main__":
    main()
