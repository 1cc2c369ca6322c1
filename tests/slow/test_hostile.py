"""Hostile files, through the command line; `benchmarks/hostile` makes them. A third of the kinds, chosen by a seed."""

import json
import subprocess
import sys

from tests.support.paths import ROOT


def test_hostile_files_are_refused_in_one_sentence_within_bounds_and_nothing_is_executed(tmp_path):
    command = [sys.executable, "-m", "benchmarks.hostile", "--share=3", f"--folder={tmp_path / 'files'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and summary["files"] > 70, done.stdout + done.stderr
