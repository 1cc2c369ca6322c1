"""The command sweep.py and the processes that it starts; they sleep or fail, and nothing is trained."""

import os
import shlex
import subprocess
import sys

import pytest

from sweeps import attempt, launch_local, plan, runs
from sweeps.runs import State, status_of
from tests.support.paths import ROOT
from tests.support.swept import CONFIG, finished_sweep, planned

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def run(tmp_path):
    """A run of ten steps that has not started."""
    (run,) = planned(tmp_path, [{"seed": 1}])
    run.own.mkdir(parents=True)
    return run


@pytest.fixture
def finished(tmp_path):
    return finished_sweep(tmp_path)


class Sleeper(runs.Run):
    """A run whose program waits for a line that does not come, or does what `script` says."""

    script = "import time; time.sleep(60)"

    def command(self, mode, worker=0, workers=1):
        return [sys.executable, "-c", self.script]


def sleeper(run, script=Sleeper.script):
    made = type("Scripted", (Sleeper,), {"script": script})
    return made(run.root, run.name, run.overrides, run.arguments, run.config)


def test_a_process_holds_the_lock_as_long_as_it_lives_also_without_its_sweep(run):
    process = attempt.Attempt(sleeper(run), "train")
    os.close(process.lock)  # as if the sweep had been killed
    assert status_of(run, False).state is State.RUNNING
    with pytest.raises(attempt.BusyError):
        attempt.Attempt(sleeper(run), "train")
    process.process.kill()
    process.process.wait()
    assert status_of(run, False).state is State.WAITING


def test_a_lock_never_names_the_process_of_an_earlier_attempt(run):
    """A reader may signal that process, and another one may have its number by then."""

    class Reading(Sleeper):
        def command(self, mode, worker=0, workers=1):
            read.append(self.lock(mode, worker).read_text())
            return super().command(mode, worker, workers)

    read = []
    run.lock("train").write_text("12345\n")
    process = attempt.Attempt(Reading(run.root, run.name, run.overrides, run.arguments, run.config), "train")
    assert read == [""] and run.lock("train").read_text() == f"{process.process.pid}\n"
    process.process.kill()
    process.process.wait()
    os.close(process.lock)


def test_a_killed_process_is_started_again_and_a_failed_one_is_not(run, monkeypatch):
    monkeypatch.setattr(launch_local, "PAUSE_SECONDS", 0.01)
    script = f"""
import os, pathlib, signal
count = pathlib.Path({str(run.own / "count")!r})
count.write_text(count.read_text() + "x" if count.exists() else "x")
if len(count.read_text()) < 3: os.kill(os.getpid(), signal.SIGKILL)
print("what went wrong"); raise SystemExit(3)
"""
    said = []
    local = launch_local.Local([sleeper(run, script)], with_eval=False, parallel=1)
    (status,) = launch_local.run_all(local, lambda statuses: None, said.append)
    assert [line.split("  ")[1] for line in said] == ["train starts", "train ended with code 137"] * 2 + [
        "train starts", "train ended with code 3",
    ]  # fmt: skip
    assert (status.state, status.code) == (State.FAILED, 3) and runs.log_tail(status) == ["what went wrong"]
    for again, starts in ((False, 0), (True, 1)):
        said.clear()
        local = launch_local.Local([sleeper(run, script)], with_eval=False, parallel=1, again=again)
        launch_local.run_all(local, lambda statuses: None, said.append)
        assert sum("starts" in line for line in said) == starts


def test_a_stopped_sweep_asks_its_processes_to_end_and_starts_no_more(tmp_path):
    begun = [sleeper(run) for run in planned(tmp_path, [{"seed": 1}, {"seed": 2}, {"seed": 3}])]
    local = launch_local.Local(begun, with_eval=False, parallel=2)
    assert local.advance(lambda line: None)
    assert sorted(str(status.state) for status in local.statuses.values()) == ["running", "running", "waiting"]
    local.stop()
    said = []
    while local.advance(said.append):
        pass
    assert sorted(line.split("  ")[1] for line in said) == ["train ended with code 143"] * 2
    assert {status.state for status in local.statuses.values()} == {State.WAITING}


IDLE = """
import subprocess, sys
import sweep
from absl import app
from sweeps import plan
loads, configured = [], plan.configured
plan.configured = lambda arguments: (loads.append(arguments), configured(arguments))[1]
def refuse(*args, **kwargs): raise AssertionError("a process was started")
subprocess.Popen = refuse
code = sweep.main(sweep.parse(sys.argv))
heavy = {"jax", "jinja2", "matplotlib", "numpy", "submitit", "tensorflow_datasets"}
print("loads", len(loads), "heavy", sorted(heavy & sys.modules.keys()))
raise SystemExit(code)
"""


def swept(root, sweep, *flags, program=("sweep.py",)):
    command = [sys.executable, *program, f"--config={CONFIG}", f"--sweep={sweep}", f"--root={root}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_start_with_nothing_to_do_starts_nothing_and_imports_nothing_heavy(finished):
    path, root = finished
    done = swept(root, path, "--eval", program=("-c", IDLE))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["run", "state", "step", "loss", "bits/dim", "FID", "ETA"]
    assert lines[1].split()[1:] == ["finished", "10/10", "0.5", "2.99"]
    assert lines[3].strip() == "2 finished"
    assert lines[-1] == "loads 3 heavy []"  # the config itself, and that of each run


def test_the_printed_commands_can_be_pasted_into_a_shell(tmp_path):
    path, root = tmp_path / "my sweep's.py", tmp_path / "a [red] root (v2) $HOME; :smile:"
    path.write_text("def get_sweep(): return [{'model.ch_mult': (1, 2)}, {'data.data_dir': 'a  \"b\" & *'}]")
    shown = [line for line in swept(root, path, "--dry_run").stdout.splitlines() if "main.py" in line]
    expected = [run.command("train") for run in planned(root, plan.read_sweep(path))]
    assert [shlex.split(line) for line in shown] == expected


def test_exit_codes_tell_finished_failed_wrong_and_unfinished(finished):
    path, root = finished
    assert swept(root, path, "--dry_run", "--config.training.n_iters=20").returncode == 0
    assert not (root / "sweep.json").exists()
    assert swept(root, path).returncode == 0
    assert swept(root, path, "--status").returncode == 0
    run = plan.load(root)[0][0]
    (run.directory / "finished.json").unlink()
    assert swept(root, path, "--status").returncode == 4
    runs.record(run, "train", 3)
    run.log("train").write_text("starting\nerror: the reason\n")
    failed = swept(root, path)
    assert failed.returncode == 3 and "failed (3)" in failed.stdout and "error: the reason" in failed.stdout
    for flag, message in (
        ("--launcher=nowhere", "flag --launcher=nowhere"),
        ("more", "unexpected argument 'more'"),
        ("--config.optim.lrr=1", "the nearest is config.optim.lr"),
        ("--slurm=partition", "--slurm=partition: give NAME=VALUE"),
    ):
        wrong = swept(root, path, flag, "--launcher=slurm") if flag.startswith("--slurm") else swept(root, path, flag)
        assert wrong.returncode == 2 and message in wrong.stderr and wrong.stderr.count("\n") == 1, flag
    assert "keeps checkpoints 1 to 1" in swept(root, path, "--eval", "--config.eval.end_ckpt=2").stderr


def test_a_wrong_sweep_file_is_one_sentence_and_nothing_is_written(tmp_path):
    path, root = tmp_path / "none.py", tmp_path / "root"
    path.write_text("def get_sweep(): return []")
    done = swept(root, path)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not root.exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(finished, tmp_path):
    path, _ = finished
    (tmp_path / "file").write_text("")
    done = swept(tmp_path / "file" / "root", path)
    assert done.returncode == 2 and "file/root cannot be written to (Not a directory)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_report_is_written_on_demand(finished):
    path, root = finished
    assert swept(root, path).returncode == 0
    done = swept(root, path, "--report")
    assert done.returncode == 0 and done.stdout.split() == [
        "->", str(root / "report.csv"), "->", str(root / "report.html"),
    ]  # fmt: skip


def test_a_root_that_cannot_be_used_is_one_sentence(finished, tmp_path):
    file, root = finished
    (tmp_path / "file").write_text("")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / plan.PLAN).write_bytes(b"\xff")
    start = (f"--config={CONFIG}", f"--sweep={file}")
    for given, code in (
        (["--status", f"--root={root}\n--mode=train"], 2),
        (["--status", f"--root={tmp_path}/\x1b[31m"], 2),
        (["--status", f"--root={damaged}"], 3),
        ([*start, f"--root={tmp_path}/file"], 2),
        ([*start, f"--root={tmp_path}/file/below"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "sweep.py", *given], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ") and "\x1b" not in line
