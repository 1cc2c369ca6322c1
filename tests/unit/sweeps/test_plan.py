"""Sweeps as overrides, and the runs that are planned from them."""

import json

import pytest

from configs import default
from sweeps import plan, runs
from sweeps.overrides import chain, paired, product, vary
from tests.support.configs import load
from tests.support.paths import ROOT
from tests.support.swept import CONFIG, evaluated, planned

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


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


def test_the_trainer_gets_the_config_that_was_checked(tmp_path):
    sweep = [{"optim.lr": 1, "model.ch_mult": (1, 2), "sampling.num_steps": 7, "data.category": "a b", "seed": 3}]
    (run,) = planned(tmp_path, sweep, "--config.training.n_iters=20", "--config.eval.enable_bpd")
    config = plan.configured([arg for arg in run.command("train")[2:] if arg.startswith("--config")])
    assert dict(default.flatten(default.to_json(config))) == run.config
    assert (config.optim.lr, config.model.ch_mult, config.sampling.num_steps) == (1.0, (1, 2), 7)
    assert (config.data.category, config.seed, config.training.n_iters) == ("a b", 3, 20)
    assert config.eval.enable_bpd is True and config.model.nf == load("configs/vp/smoke.py").model.nf


def test_a_model_that_stands_alone_is_only_evaluated_and_done_with_the_report_of_its_checkpoint(tmp_path):
    sweep = plan.read_sweep(ROOT / "configs" / "sweeps" / "autoguidance.py")
    every = plan.plan(CONFIG, (), sweep, tmp_path, tmp_path / "a.model")
    assert len({run.name for run in every}) == len(sweep) == 7
    assert len(plan.read_sweep(ROOT / "configs" / "sweeps" / "guidance_interval.py")) == 7
    (run,) = plan.plan(CONFIG, (), [{"seed": 3}], tmp_path, tmp_path / "a.model")
    assert runs.status_of(run, with_eval=True).mode == "eval"
    command = run.command("eval")
    assert f"--model={tmp_path / 'a.model'}" in command and f"--workdir={run.directory}" in command
    plan.save(tmp_path, CONFIG, [run], with_eval=True)
    assert plan.load(tmp_path)[0] == [run]
    evaluated(run, number=7)  # of whichever number the checkpoint is
    assert runs.status_of(run, with_eval=True).state is runs.State.FINISHED


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
def test_a_sweep_file_that_gives_no_runs_is_one_sentence(tmp_path, text, message):
    path = tmp_path / "sweep_file.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        plan.read_sweep(path)
    assert "\n" not in str(error.value)


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
