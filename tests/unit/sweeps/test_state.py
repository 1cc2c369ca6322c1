"""The state of a run of a sweep, by its files."""

import json
import os
import subprocess

import pytest

from core.errors import RunError
from core.files import write_json
from sweeps import launch_slurm, plan, runs
from sweeps.runs import State, status_of
from tests.support.swept import evaluated, planned, trained

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def run(tmp_path):
    """A run of ten steps that has not started."""
    (run,) = planned(tmp_path, [{"seed": 1}])
    run.own.mkdir(parents=True)
    return run


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


def test_what_the_data_determine_is_no_other_setting(tmp_path):
    for dataset, state in (
        ("npz:a.npz", State.FINISHED),
        ("own_set:source", State.FINISHED),
        ("digits", State.WAITING),
    ):
        (run,) = planned(tmp_path / dataset[:3], [{"seed": 1}], f"--config.data.dataset={dataset}")
        run.own.mkdir(parents=True)
        trained(run)
        evaluated(run)
        path = run.directory / "eval" / "ckpt_1" / "report.json"
        report = json.loads(path.read_text())
        report["config"]["data"].update(shape=[4], num_channels=4, random_flip=False)
        path.write_text(json.dumps(report))
        assert status_of(run, True).state is state, dataset


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


# Files that others have written to --------------------------------------------------------------------------------

STRANGE = [b"", b"\xff\xfe", b"[1]", b"null", b'{"step": ', b'{"step": "ten"}', b'{"results": 1, "config": 2}']


@pytest.mark.parametrize("content", STRANGE)
def test_a_run_whose_files_are_damaged_does_again_what_they_were_to_show(run, content):
    trained(run)
    evaluated(run)
    assert status_of(run, True).state is State.FINISHED
    report = run.directory / "eval" / "ckpt_1" / "report.json"
    whole = report.read_bytes()
    report.write_bytes(content)
    assert (status_of(run, True).state, status_of(run, True).mode) == (State.WAITING, "eval")
    report.write_bytes(whole)
    (report.parent.parent / "ckpt_of_mine").mkdir()
    (report.parent.parent / "ckpt_of_mine" / "report.json").write_bytes(content)
    assert status_of(run, True).state is State.FINISHED
    (run.directory / "finished.json").write_bytes(content)
    assert (status_of(run, True).state, status_of(run, True).mode) == (State.WAITING, "train")


@pytest.mark.parametrize("content", [*STRANGE, b'{"mode": "train", "code": "3", "arguments": [], "progress": 0}'])
def test_lines_of_strangers_hide_no_exit_code_and_no_metrics(run, content):
    runs.record(run, "train", 3)
    with (run.own / "ended.jsonl").open("ab") as file:
        file.write(content)
    assert status_of(run, True).state is State.FAILED
    runs.record(run, "train", 5)
    assert status_of(run, True).state is State.WAITING
    trained(run)
    with (run.directory / "metrics.jsonl").open("ab") as file:
        file.write(b"\n" + content + b'\n{"step": 12, "loss": "low"}\n')
    assert status_of(run, False).step == 10 and status_of(run, False).loss == 0.5
    assert [line["step"] for line in runs.lines(run)] == [5, 5, 10, 10]


def test_a_list_of_jobs_that_is_damaged_is_one_sentence(run):
    path = run.own / "slurm.json"
    for content in (b"", b"{}", b'{"jobs": 3}', b'{"jobs": [3]}'):
        path.write_bytes(content)
        with pytest.raises(RunError, match=rf"^{path} .*; restore it from a copy, or remove it, .*\.$"):
            launch_slurm.queued([run])


def test_a_sweep_that_cannot_note_what_has_ended_says_so(run, monkeypatch):
    (run.own / "ended.jsonl").mkdir()
    with pytest.raises(RunError, match=rf"^{run.own}/ended.jsonl cannot be written \(Is a directory\); .*\.$"):
        runs.record(run, "train", 3)


def test_the_path_of_the_repository_is_only_text_in_the_script_of_a_job(tmp_path, monkeypatch):
    setups, repository = [], tmp_path / "a $(touch ran) `touch ran` 'b' \"c\""

    class Executor:
        def __init__(self, *args, **kwargs):
            pass

        def update_parameters(self, **given):
            setups.extend(given["setup"])

    monkeypatch.setattr(launch_slurm.submitit, "SlurmExecutor", Executor)
    monkeypatch.setattr(launch_slurm, "PROGRAM", repository / "main.py")
    launch_slurm.submit([], tmp_path, 1, 0, {})
    script = "\n".join([*setups, 'printf %s "$PYTHONPATH"'])
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, check=True
    )
    assert done.stdout.decode() == str(repository) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../elsewhere"}, {"name": ".."}, {"name": ""}, {"name": 3}, {"arguments": []}, {"arguments": [{}]},
        {"arguments": 3}, {"config": {}}, {"config": {"training.n_iters": 5}}, {"overrides": 3}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_sweep_with_runs_of_other_contents_is_one_sentence(change, run):
    one = {"name": run.name, "overrides": run.overrides, "arguments": run.arguments, "config": run.config}
    write_json(run.root / plan.PLAN, {"config": "a", "eval": True, "runs": [one]})
    assert [found.name for found in plan.load(run.root)[0]] == [run.name]
    write_json(run.root / plan.PLAN, {"config": "a", "eval": True, "runs": [one | change]})
    with pytest.raises(RunError, match=rf"^{run.root}/{plan.PLAN} holds no sweep; restore it from a copy, .*\.$"):
        plan.load(run.root)
