"""Sweeps: what is planned, where runs stand by their files, and what is told of it. Nothing is trained here."""

import json
import os
import re
import subprocess
import sys

import pytest

from configs import default
from core.files import write_json
from reports import plots
from reports.records import Column
from sweeps import attempt, launch_local, plan, report, runs, table
from sweeps.overrides import chain, paired, product, vary
from sweeps.runs import State, status_of
from tests.support.configs import load
from tests.support.paths import ROOT

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
CONFIG = str(ROOT / "configs" / "vp" / "smoke.py")


# Helpers of sweep files --------------------------------------------------------------------------------------------


def test_a_product_has_every_combination_and_the_last_varies_fastest():
    assert product(vary("a", [1, 2]), vary("b", [3, 4])) == [
        {"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4},
    ]  # fmt: skip


def test_paired_goes_through_sweeps_together_and_chain_one_after_the_other():
    assert paired(vary("a", [1, 2]), vary("b", [3, 4])) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    assert chain(vary("a", [1]), vary("b", [3])) == [{"a": 1}, {"b": 3}]


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(ValueError, match=r"sweeps of \[2, 1\] runs"):
        paired(vary("a", [1, 2]), vary("b", [3]))
    with pytest.raises(ValueError, match="a is set by two"):
        product(vary("a", [1]), vary("a", [2]))


# Plans -------------------------------------------------------------------------------------------------------------


def planned(root, sweep, *given):
    return plan.plan(CONFIG, given, sweep, root)


def test_the_trainer_gets_the_config_that_was_checked(tmp_path):
    sweep = [{"optim.lr": 1, "model.ch_mult": (1, 2), "sampling.num_steps": 7, "data.category": "a b", "seed": 3}]
    (run,) = planned(tmp_path, sweep, "--config.training.n_iters=20", "--config.eval.enable_bpd")
    config = plan.configured([arg for arg in run.command("train")[2:] if arg.startswith("--config")])
    assert dict(default.flatten(default.to_json(config))) == run.config
    assert (config.optim.lr, config.model.ch_mult, config.sampling.num_steps) == (1.0, (1, 2), 7)
    assert (config.data.category, config.seed, config.training.n_iters) == ("a b", 3, 20)
    assert config.eval.enable_bpd is True and config.model.nf == load("configs/vp/smoke.py").model.nf


def test_names_can_be_read_and_depend_on_nothing_but_the_overrides(tmp_path):
    small, both, same = (
        planned(tmp_path, sweep, "--config.training.n_iters=20")[0].name
        for sweep in (
            [{"optim.lr": 1e-3, "seed": 1}],
            [{"seed": 1, "optim.lr": 0.001}],
            [{"optim.lr": 0.001, "seed": 1}],
        )
    )
    assert small.startswith("lr=0.001,seed=1-") and same == small and both.startswith("seed=1,lr=0.001-")
    assert both[-8:] == small[-8:]
    (batches,) = planned(tmp_path, [{"training.batch_size": 8, "eval.batch_size": 16}])
    assert batches.name.startswith("training.batch_size=8,eval.batch_size=16-")
    long = plan.name_of({"data.data_dir": "/a folder/" + 100 * "x"})
    assert len(long) < 75 and long.startswith("data_dir=a-folder-xxx") and "/" not in long
    assert plan.name_of({}).startswith("base-")


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            [{"optim.lrr": 1}],
            "Run 0 of the sweep, .*: config.optim.lrr is not a setting; the nearest is config.optim.lr",
        ),
        ([{"seed": 1}, {"seed": "x"}], "Run 1 of the sweep, .*config.seed=x"),
        ([{"optim.lr": -1.0}], "Run 0 of the sweep, .*config.optim.lr = -1.0, but it must be positive"),
        ([{"optim.lr": None}], "Run 0 of the sweep"),
        ([{"seed": 1}, {"optim.lr": 1e-3}, {"seed": 1}], r"Run 2 of the sweep, {'seed': 1}, equals another one"),
        ([{}, {"seed": 42}], r"Run 1 of the sweep, {'seed': 42}, equals another one, {}"),
    ],
)
def test_what_is_wrong_with_any_run_is_one_sentence(tmp_path, sweep, message):
    with pytest.raises(ValueError, match=message) as error:
        planned(tmp_path, sweep)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a Python file"),
        ("def get_sweep(): return []", "returned '\\[\\]', but it must return a list of at least one dict"),
        ("def get_sweep(): pass", "returned 'None'"),
        ("def get_sweep(): return [1]", "returned '\\[1\\]'"),
        ("x = 1", "cannot be read: AttributeError"),
        ("import nothing_of_that_name", "cannot be read: ModuleNotFoundError"),
    ],
)
def test_a_sweep_file_that_gives_no_runs_is_one_sentence_and_nothing_is_written(tmp_path, text, message):
    path, root = tmp_path / "sweep_file.py", tmp_path / "root"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        plan.read_sweep(path)
    done = swept(root, path)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not root.exists()


def test_the_sweep_of_the_repository_is_valid(tmp_path):
    config = ROOT / "configs" / "subvp" / "digits_ddpmpp_continuous.py"
    for path in (ROOT / "configs" / "sweeps").glob("*.py"):
        assert plan.plan(str(config), [], plan.read_sweep(path), tmp_path)


def test_a_root_keeps_its_plan_and_takes_no_other_config(tmp_path):
    sweep = planned(tmp_path, [{"seed": 1}, {"model.ch_mult": (1, 1)}])
    plan.save(tmp_path, CONFIG, sweep, with_eval=True)
    assert plan.load(tmp_path) == ([run_as_stored(run) for run in sweep], True)
    with pytest.raises(ValueError, match="holds a sweep of .*smoke.py, not of .*other.py"):
        plan.save(tmp_path, "other.py", sweep, with_eval=True)
    with pytest.raises(ValueError, match="holds no sweep"):
        plan.load(tmp_path / "nowhere")


def run_as_stored(run):
    return runs.Run(run.root, run.name, json.loads(json.dumps(run.overrides)), run.arguments, run.config)


# Where a run stands ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A run of ten steps, of which nothing has happened yet."""
    (run,) = planned(tmp_path, [{"seed": 1}])
    run.own.mkdir(parents=True)
    return run


def trained(run, step=10):
    (run.directory / "metrics.jsonl").write_text(
        '{"step": 5, "loss": 0.9, "images_per_second": 8.0}\n{"step": 5, "test_loss": 0.8}\n'
        '{"step": 10, "loss": 0.5, "images_per_second": 16.0}\n{"step": 10, "test_loss": 0.4}\n{"step": 1'
    )
    write_json(run.directory / "finished.json", {"step": step})


def evaluated(run, number=1, **results):
    folder = run.directory / "eval" / f"ckpt_{number}"
    folder.mkdir(parents=True)
    config = default.to_json(plan.configured(run.arguments))
    asked = {"loss": {"mean": 0.4}, "bits_per_dim": {"mean": 2.5}, "samples": {}}
    columns = [
        Column("bits_per_dim.mean", "bits/dim", "lower", error="bits_per_dim.standard_error", rank=2),
        Column("metrics.samples.fid.value", "FID", "lower", rank=3),
    ]
    entries = [column.to_dict() for column in columns]
    write_json(folder / "report.json", {"results": asked | results, "columns": entries, "config": config})


def test_a_run_is_waiting_then_trained_then_evaluated(run):
    assert (status_of(run, True).state, status_of(run, True).mode) == (State.WAITING, "train")
    trained(run, step=5)  # it was to be shorter
    assert status_of(run, False).mode == "train"
    trained(run)
    assert status_of(run, False).state is State.FINISHED
    assert (status_of(run, True).state, status_of(run, True).mode) == (State.WAITING, "eval")
    evaluated(run, metrics={"samples": {"fid": {"value": 7.0}}})
    status = status_of(run, True)
    assert (status.state, status.mode, status.step, status.loss) == (State.FINISHED, None, 10, 0.5)
    assert [status.numbers[column.path] for column in status.columns] == [2.5, 7.0]


def test_an_evaluation_of_other_settings_or_of_less_than_is_asked_for_is_not_the_evaluation(tmp_path, run):
    trained(run)
    evaluated(run)
    assert status_of(run, True).state is State.FINISHED
    for flag in ("--config.eval.enable_metrics", "--config.eval.rtol=1e-3", "--config.eval.end_ckpt=2"):
        (more,) = planned(tmp_path, [{"seed": 1}], flag)
        assert more.directory == run.directory and status_of(more, True).mode == "eval", flag


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ([0], State.WAITING), ([5], State.WAITING), ([6], State.WAITING), ([137], State.WAITING),
        ([143], State.WAITING), ([3, 137], State.WAITING), ([137] * 4, State.WAITING), ([137] * 4 + [5], State.WAITING),
        ([137] * 5, State.FAILED), ([3], State.FAILED), ([1], State.FAILED), ([139], State.FAILED),
        ([2], State.WRONG), ([137, 2], State.WRONG),
    ],
)  # fmt: skip
def test_exit_codes_say_what_is_to_be_done(run, codes, state):
    for code in codes:
        runs.record(run, "train", code)
    status = status_of(run, True)
    assert status.state is state and status.code == (codes[-1] if state in (State.FAILED, State.WRONG) else None)


def test_kills_do_not_count_as_failure_as_long_as_there_is_progress(run):
    for step in range(8):
        (run.directory / "checkpoints-meta" / str(step)).mkdir(parents=True)
        runs.record(run, "train", 137)
    assert status_of(run, True).state is State.WAITING


def test_a_failure_of_one_command_says_nothing_of_another(tmp_path, run):
    runs.record(run, "train", 2)
    (other,) = planned(tmp_path, [{"seed": 1}], "--config.data.data_dir=elsewhere")
    assert status_of(run, True).state is State.WRONG and status_of(other, True).state is State.WAITING


# Processes ---------------------------------------------------------------------------------------------------------


class Sleeper(runs.Run):
    """A run whose program waits for a line that does not come, or does what `script` says."""

    script = "import time; time.sleep(60)"

    def command(self, mode, worker=0, workers=1):
        return [sys.executable, "-c", self.script]


def sleeper(run, script=Sleeper.script):
    made = type("Scripted", (Sleeper,), {"script": script})
    return made(run.root, run.name, run.overrides, run.arguments, run.config)


def test_a_process_holds_the_lock_as_long_as_it_lives_whoever_started_it(run):
    process = attempt.Attempt(sleeper(run), "train")
    os.close(process._lock)  # as if the sweep had been killed
    assert status_of(run, False).state is State.RUNNING
    with pytest.raises(attempt.BusyError):
        attempt.Attempt(sleeper(run), "train")
    process.process.kill()
    process.process.wait()
    assert status_of(run, False).state is State.WAITING


def test_a_killed_process_is_started_again_and_a_failed_one_is_not(run, monkeypatch):
    monkeypatch.setattr(launch_local, "_PAUSE", 0.01)
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


# The program -------------------------------------------------------------------------------------------------------

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


@pytest.fixture
def finished(tmp_path):
    """The file and the root of a sweep of two runs, both finished."""
    path, root = tmp_path / "two.py", tmp_path / "root"
    path.write_text("def get_sweep(): return [{'seed': 1}, {'optim.lr': 0.5}]")
    for run in planned(root, plan.read_sweep(path)):
        run.own.mkdir(parents=True)
        trained(run)
        evaluated(run, bits_per_dim={"mean": 3.0 - run.config["seed"] / 100, "standard_error": 0.1})
    return path, root


def test_a_start_with_nothing_to_do_starts_nothing_and_imports_nothing_heavy(finished):
    path, root = finished
    done = swept(root, path, "--eval", program=("-c", IDLE))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["run", "state", "step", "loss", "bits/dim", "FID", "ETA"]
    assert lines[1].split()[1:] == ["finished", "10/10", "0.5", "2.99"]
    assert lines[3].strip() == "2 finished"
    assert lines[-1] == "loads 3 heavy []"  # the config itself, and that of each run


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


def test_the_report_has_the_figures_the_curves_and_the_best_run_and_needs_nothing_from_outside(finished):
    path, root = finished
    swept(root, path)
    samples = root / plan.load(root)[0][0].name / "samples"
    samples.mkdir()
    (samples / "snapshot_1.png").write_bytes(b"a picture")
    assert swept(root, path, "--report").returncode == 0
    rows = (root / "report.csv").read_text().splitlines()
    numbers = "step,loss,test_loss,bits_per_dim.mean,bits_per_dim.standard_error"
    assert rows[0] == f"run,state,seed,optim.lr,{numbers}" and len(rows) == 3
    assert rows[1].split(",", 2)[2].startswith("1,,10,0.5,0.6") and "finished" in rows[1]
    page = (root / "report.html").read_text()
    assert page.count("<svg ") == 1 and all(f"stroke: {plots.style(k)[0]}" in page for k in range(2))
    assert "data:image/png;base64,YSBwaWN0dXJl" in page and "no samples yet" in page
    # seed 42 of the second run has the lower bits/dim here: 3 - 0.42
    assert "Best by bits/dim: <b>lr=0.5-" in page
    assert "<script" not in page and 'src="data:' in page and page.count("src=") == 1
    assert all(url.startswith("#") for url in re.findall(r"(?:href=\"|url\()([^\")]+)", page))


def test_runs_are_compared_by_what_all_of_them_have(finished):
    _, root = finished
    statuses = [status_of(run, True) for run in planned(root, [{"seed": 1}, {"optim.lr": 0.5}])]
    numbers = [report.numbers_of(status) for status in statuses]

    def best():
        winner = report.best(statuses, numbers)
        return winner.column.path, winner.run

    assert best() == ("bits_per_dim.mean", 1)
    del numbers[1]["bits_per_dim.mean"]
    numbers[1]["test_loss"] = float("nan")
    numbers[1]["loss"] = 0.1
    assert best() == ("loss", 1)
    assert report.best([], []) is None


def test_a_sweep_of_data_without_levels_ends_and_shows_nats(tmp_path):
    """Its evaluation writes nats_per_dim; once it was waited for bits_per_dim, without end."""
    config = str(ROOT / "configs" / "vp" / "vectors_mlp_continuous.py")
    flags = ["--config.training.n_iters=10", "--config.eval.enable_bpd"]
    for run in (sweep := plan.plan(config, flags, [{"seed": 1}, {"seed": 2}], tmp_path)):
        run.own.mkdir(parents=True)
        trained(run)
        seed = run.config["seed"]
        results = {"nats_per_dim": {"mean": seed / 7, "standard_error": 0.1}}
        nats = Column("nats_per_dim.mean", "nats/dim", "lower", error="nats_per_dim.standard_error", rank=2)
        content = {
            "results": results,
            "columns": [nats.to_dict()],
            "config": default.to_json(plan.configured(run.arguments)),
        }
        write_json(run.directory / "eval" / "ckpt_2" / "report.json", content)
    statuses = [status_of(run, True) for run in sweep]
    assert [status.state for status in statuses] == [State.FINISHED] * 2
    assert list(table.table(statuses).columns[4].cells) == ["0.1429", "0.2857"]
    report.write(tmp_path, statuses)
    assert "nats_per_dim.mean,nats_per_dim.standard_error" in (tmp_path / "report.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "<th>nats/dim ↓</th>" in page and "Best by nats/dim: <b>seed=1-" in page


def test_a_made_up_task_appears_in_the_table_the_csv_and_the_page_of_a_sweep(tmp_path):
    column = Column("zeal.rate", "zeal <%>", "higher", error="zeal.wobble", rank=9)
    statuses = []
    for run in planned(tmp_path, [{"seed": 1}, {"seed": 2}, {"seed": 3}]):
        run.own.mkdir(parents=True)
        trained(run)
        zeal = {"rate": 0.25 * run.config["seed"], "wobble": 0.0125}
        content = {"results": {"zeal": zeal}, "columns": [column.to_dict()], "config": {}}
        write_json(run.directory / "eval" / "ckpt_1" / "report.json", content)
        statuses.append(status_of(run, False))
    assert [each.header for each in table.table(statuses).columns] == [
        "run",
        "state",
        "step",
        "loss",
        "zeal <%>",
        "ETA",
    ]
    report.write(tmp_path, statuses)
    header, *_, last = (tmp_path / "report.csv").read_text().splitlines()
    assert header.endswith(",zeal.rate,zeal.wobble") and last.endswith(",0.75,0.0125")
    page = (tmp_path / "report.html").read_text()
    assert "<th>zeal &lt;%&gt; ↑</th>" in page and "Best by zeal &lt;%&gt;: <b>seed=3-" in page
    assert '<td class="number">0.750<small>± 0.013</small></td>' in page
