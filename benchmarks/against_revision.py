r"""Is this tree slower than an earlier revision? A training step and a sampling step, alternating, in one run.

    python -m benchmarks.against_revision --revision=REV --config=configs/subvp/digits_ddpmpp_continuous.py \
        [--what=train,sample] [--pairs=5] [--rounds=5] [--steps=3] [--config.KEY=VALUE ...]

Checks out REV in a temporary git worktree. For each of `--what`, one process in each tree compiles the program and then
waits; they take turns to run blocks of `--steps` steps, so that whatever else the machine does slows both down. Two
processes of one and the same tree differ by a few percent for as long as they live, by where their memory lies; so
there are several pairs, the first process of a pair now from this tree, now from REV. `--revision=HEAD` shows how much
of a difference is chance. Prints a JSON line each: the median over rounds of the ratio of times (this tree / REV) for
every pair, the median over pairs, and likewise the processor time of tracing and compilation. Both trees must have the
config.
"""

import argparse
import json
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKER = f"import runpy; runpy.run_path({str(Path(__file__).resolve())!r}, run_name='worker')"


def training(config: Any, steps: int) -> Callable[[], Any]:
    """A block of training steps, compiled."""
    train_step = runpy.run_module("benchmarks.train_step")
    compiled, state, (batch, sharding), _ = train_step["compile_step"](config)
    states = [state]

    def block() -> Any:
        for _ in range(steps):
            states[0], metrics = compiled(states[0], train_step["jax"].device_put(batch, sharding))
        return states[0], metrics

    return block


def sampling(config: Any, steps: int) -> Callable[[], Any]:
    """A block of sampling steps of the config's sampler, without the final posterior mean, compiled."""
    tree = runpy.run_module("benchmarks.sampling")  # its names, wherever this tree keeps them
    jax, size = tree["jax"], config.training.batch_size
    config.sampling.update(num_steps=steps, noise_removal=False)
    make_predict_of = tree.get("make_predict_of") or tree["make_score_of"]
    network, shape, sampler = tree["make_network"](config), tree["data_shape"](config), tree["make_sampler"](config)
    keys = tree["example_keys"](jax.random.key(0), size)
    params = jax.jit(network.init)(keys[0], *tree["example_inputs"](config))["params"]
    run = jax.jit(lambda params, keys: sampler(keys, make_predict_of(config)(params, {}, None), (size, *shape)).x)
    return lambda: run(params, keys)


def serve(argv: Sequence[str]) -> None:
    """Compiles, prints the processor seconds that took, and then runs a block for every line of the input."""
    import jax

    from benchmarks import measurement

    parser = argparse.ArgumentParser()
    measurement.add_config(parser)
    parser.add_argument("--what")
    parser.add_argument("--steps", type=int)
    args = parser.parse_args(argv)
    began = time.process_time()
    block = {"train": training, "sample": sampling}[args.what](measurement.config_of(args), args.steps)
    jax.block_until_ready(block())
    print(time.process_time() - began, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        jax.block_until_ready(block())
        print(time.perf_counter() - began, flush=True)


class Worker:
    """A process that serves in a tree; `compile_seconds`: of processors, with tracing and the first block."""

    def __init__(self, tree: Path, argv: Sequence[str]):
        command, pipe = [sys.executable, "-c", WORKER, *argv], subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=tree, stdin=pipe, stdout=pipe, text=True)
        self.compile_seconds = self._answer()

    def block(self) -> float:
        """Seconds of one block."""
        assert self.process.stdin
        print("go", file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()

    def _answer(self) -> float:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("The process of a tree ended; its error is above.")
        return float(line)


def compare(what: str, trees: Sequence[Path], argv: Sequence[str], pairs: int, rounds: int) -> dict[str, Any]:
    """The ratio of the times in both trees, the first one divided by the second, in each pair of processes."""
    found = [_pair(what, trees, argv, rounds, number % 2 == 1) for number in range(pairs)]
    ratios, compile_seconds = [ratio for ratio, _ in found], [seconds for _, seconds in found]
    ratio_of_compiling = [ours / theirs for ours, theirs in compile_seconds]
    return {
        "what": what,
        "ratio": statistics.median(ratios),
        "ratios": sorted(ratios),
        "compile_ratio": statistics.median(ratio_of_compiling),
        "compile_ratios": sorted(ratio_of_compiling),
        "compile_seconds": [statistics.median(seconds) for seconds in zip(*compile_seconds, strict=True)],
    }


def _pair(
    what: str, trees: Sequence[Path], argv: Sequence[str], rounds: int, swapped: bool
) -> tuple[float, list[float]]:
    """The median ratio of the times of two processes, and the processor seconds in which each compiled."""
    started = {tree: Worker(tree, [f"--what={what}", *argv]) for tree in (trees[::-1] if swapped else trees)}
    workers = [started[tree] for tree in trees]
    ratios = []
    for number in range(rounds):
        times = {worker: worker.block() for worker in (workers if number % 2 else workers[::-1])}
        ours, theirs = (times[worker] for worker in workers)
        ratios.append(ours / theirs)
    for worker in workers:
        worker.close()
    return statistics.median(ratios), [worker.compile_seconds for worker in workers]


def main() -> None:
    """Compares this tree with a revision and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revision", required=True, help="a commit, tag or branch")
    parser.add_argument("--what", default="train,sample")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of processes")
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each process")
    parser.add_argument("--steps", type=int, default=3, help="steps in a block")
    args, argv = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", tree, args.revision], cwd=ROOT, check=True)
        try:
            for what in args.what.split(","):
                found = compare(what, (ROOT, tree), [f"--steps={args.steps}", *argv], args.pairs, args.rounds)
                print(json.dumps({"revision": args.revision, **found}), flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
if __name__ == "worker":
    serve(sys.argv[1:])
