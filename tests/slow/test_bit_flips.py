"""A flipped bit in any file of a checkpoint, through the command line; `benchmarks/bit_flips.py` has the harness."""

import json
import subprocess
import sys

from tests.support.paths import ROOT


def test_a_flipped_bit_is_harmless_or_detected_or_fallen_back_from(tmp_path):
    command = [sys.executable, "-m", "benchmarks.bit_flips", "--flips=12", "--seconds=300", f"--folder={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and summary["flips"] == 12, done.stdout + done.stderr
