"""The memory of training: what is predicted before the first step, and what the process holds at its peak.

    python -m benchmarks.memory --batch_sizes 128 512 1000 2000 5000
    python -m benchmarks.memory --config=configs/subvp/photos_ddpmpp_continuous.py --batch_sizes 16 64 256
    python -m benchmarks.memory --batch_sizes 128 --steps=2000

Each batch size is a training run of its own process with a few steps; `peak_mib` is the largest resident size after the
step was compiled, sampled every 20 ms, because the compiler itself may have held more. `growth` is the largest of the
last fifth of the steps' time relative to that of the second fifth. Prints JSON lines.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from core.memory import resident_bytes

ROOT = pathlib.Path(__file__).parent.parent
PREDICTED = re.compile(r"training needs about (\d+) MiB")


def measure(config: str, batch_size: int, steps: int, overrides: list[str]) -> dict[str, float]:
    """Predicted and measured memory of one run, in MiB."""
    with tempfile.TemporaryDirectory() as workdir, open(pathlib.Path(workdir) / "log", "w+") as log:
        command = [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}/run", "--mode=train"]
        command += [f"--config.training.batch_size={batch_size}", f"--config.training.n_iters={steps}"]
        command += [f"--config.training.log_freq={min(steps, 100)}", "--config.training.eval_freq=0"]
        command += [f"--config.training.snapshot_freq={steps}", "--noconfig.training.snapshot_sampling"]
        command += [f"--config.training.snapshot_freq_for_preemption={steps}", *overrides]
        predicted = None
        run = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        resident: list[int] = []
        after: list[int] = []  # the last step, when a checkpoint is written
        while run.poll() is None:
            time.sleep(0.02)
            said = (pathlib.Path(workdir) / "log").read_text()
            if predicted is None:
                predicted = PREDICTED.search(said)
            else:
                (after if f"step {steps}/{steps}" in said else resident).append(resident_bytes(run.pid))
        if run.returncode or predicted is None:
            raise SystemExit((pathlib.Path(workdir) / "log").read_text())
        mib, needed, fifth = max(resident + after) / 2**20, float(predicted[1]), max(1, len(resident) // 5)
        growth = max(resident[-fifth:]) / max(resident[fifth : 2 * fifth] or resident) - 1
        sizes = {"predicted_mib": needed, "peak_mib": mib, "ratio": needed / mib}
        return {"batch_size": batch_size, **sizes, "growth": growth}


def main() -> None:
    """Prints one line for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="configs/subvp/digits_ddpmpp_continuous.py")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 512, 1000])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("overrides", nargs="*", help="after --: further flags of main.py, such as --config.model.nf=32")
    given = parser.parse_args()
    for batch_size in given.batch_sizes:
        print(json.dumps(measure(given.config, batch_size, given.steps, given.overrides)), flush=True)


if __name__ == "__main__":
    main()
