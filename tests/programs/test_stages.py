"""Objectives with several losses and collections, and runs that build on other runs."""

import json
import shutil

import jax
import numpy as np
import pytest

import run_lib
from core.errors import ExitCode, RunError
from programs import convert, evaluate, restore_run, sample, train
from programs.run import Run
from tests.support.runs import asked
from tests.support.stages import Denoiser, Encoder, config_of
from training.checkpoint import Checkpoints
from training.checksums import checksums
from training.frozen import FrozenPartError


def run_of(config, workdir):
    run = Run(config, str(workdir), jax.devices()[:1])
    train.prepare(run)
    return run


def state_of(run):
    store = Checkpoints(run.workdir / "checkpoints-meta")
    state = store.restore(store.numbers()[-1], run.abstract_state())
    store.close()
    return state


def lines(workdir):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in found]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The workdir of a trained encoder; no test changes it."""
    workdir = tmp_path_factory.mktemp("encoder")
    run_lib.train_run(run_of(config_of(Encoder, loss_weights=("size=0:0.2@1:4",)), workdir))
    return workdir


@pytest.fixture(scope="module")
def denoiser(encoder, tmp_path_factory):
    """The workdir of a denoiser of the codes of an encoder whose workdir is gone."""
    moved = shutil.copytree(encoder, tmp_path_factory.mktemp("moved") / "encoder")
    workdir = tmp_path_factory.mktemp("denoiser")
    config = config_of(Denoiser)
    config.model.stages = (f"encoder={moved}:2",)
    run_lib.train_run(run_of(config, workdir))
    shutil.rmtree(moved)
    return config, workdir


def test_every_loss_is_logged_and_the_total_follows_the_ramp(encoder):
    found = lines(encoder)
    trained, tested = found[::2], found[1::2]
    assert [line["step"] for line in trained] == [3, 6]
    for line in trained:
        assert {"loss", "loss/reconstruction", "loss/size", "largest", "grad_norm"} <= line.keys()
    weight = 0.2  # from step 4 on; the test loss after step 6 is weighted as step 6
    assert tested[1]["test_loss"] == pytest.approx(
        tested[1]["test_loss/reconstruction"] + weight * tested[1]["test_loss/size"], rel=1e-5
    )


def test_collections_and_a_start_from_data_are_resumed_bit_for_bit(encoder, tmp_path):
    config = config_of(Encoder, loss_weights=("size=0:0.2@1:4",))
    with config.unlocked():
        config.training.n_iters = 3
    run_lib.train_run(run_of(config, tmp_path))
    config.training.n_iters = 6
    run = run_of(config, tmp_path)
    run.system.warm_start = None  # not called again
    run_lib.train_run(run)
    state = state_of(run)
    assert int(state.collections["usage"]["count"]) == 6 * 8
    assert checksums(state) == checksums(state_of(run_of(config, encoder)))
    assert float(np.abs(state.params["mean"]["bias"]).min()) > 0  # it was initialized to zero


def test_two_devices_that_share_the_state_and_two_parts_of_a_batch_change_nothing(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.devices.MIN_SHARDED_SIZE", 1)
    config = config_of(Encoder, loss_weights=("size=0:0.2@1:4",), fsdp=2, grad_accumulation=2)
    run = Run(config, str(tmp_path), jax.devices()[:2])
    run_lib.train_run(run)
    for ours, one in zip(lines(tmp_path), lines(encoder), strict=True):
        assert ours.keys() == one.keys()
        for name in ours.keys() - {"largest"}:  # the mean over the parts of the largest of each
            assert ours[name] == pytest.approx(one[name], rel=1e-4), name  # sums over the batch in another order
    state = state_of(run)
    assert not state.params["encode"].sharding.is_fully_replicated
    assert int(state.collections["usage"]["count"]) == 6 * 8


def test_an_evaluation_has_a_column_for_every_loss(encoder, tmp_path):
    shutil.copytree(encoder, tmp_path, dirs_exist_ok=True)
    run = Run.of_checkpoint(config_of(Encoder), tmp_path, devices=jax.devices()[:1])
    evaluate.evaluate(run)
    found = json.loads((tmp_path / "eval" / "ckpt_2" / "report.json").read_text())
    assert {column["path"] for column in found["columns"]} == {
        "loss.mean", "loss.reconstruction_mean", "loss.size_mean",
    }  # fmt: skip
    values = found["results"]["loss"]
    assert values["mean"] == pytest.approx(values["reconstruction_mean"] + values["size_mean"], rel=1e-6)


def test_the_weight_of_a_loss_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"weights 'sise', but the losses are reconstruction, size \(nearest: size\)"):
        run_of(config_of(Encoder, loss_weights=("sise=0.1",)), tmp_path)
    with pytest.raises(ValueError, match="loss_weights has size, but a weight must be NAME=WEIGHT or NAME=START"):
        run_of(config_of(Encoder, loss_weights=("size",)), tmp_path)


def test_a_run_of_two_stages_needs_only_its_own_workdir(denoiser, encoder, tmp_path):
    config, trained = denoiser
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    run = Run.of_checkpoint(config, tmp_path, devices=jax.devices()[:1])
    request = asked(run, "unconditional", num_samples=2)
    directory = sample.execute(run, request, sample.prepare(run, request))
    assert np.load(directory / "samples.npz")["arr_0"].shape == (2, 8, 8, 3)
    assert len(evaluate.evaluate(run)) == 1
    convert.export_checkpoint(config, tmp_path, tmp_path / "params.npz")
    assert list(np.load(tmp_path / "params.npz")) == ["scale"]
    config = config.copy_and_resolve_references()
    config.training.n_iters = 9
    run_lib.train_run(run_of(config, tmp_path))
    # The encoder's weights are kept exactly, and are not part of the state.
    frozen = restore_run.restore(tmp_path).variables["frozen"]["encoder"]
    assert checksums(frozen) == checksums(restore_run.restore(encoder, 2).variables)
    assert list(state_of(run).params) == ["scale"]
    store = Checkpoints(tmp_path / "checkpoints-meta")
    (note,) = store.notes(9)["frozen"].values()
    store.close()
    assert len(note["sha256"]) == 64 and note["checkpoint"] == 2 and note["config"]["system"].endswith(":Encoder")


def test_a_resume_refuses_an_earlier_stage_that_changed(denoiser, encoder, tmp_path, caplog):
    config, trained = denoiser
    workdir = shutil.copytree(trained, tmp_path / "denoiser")
    config = config.copy_and_resolve_references()
    config.training.n_iters = 9
    for number in (1, 2):  # another checkpoint has other weights
        config.model.stages = (f"encoder={encoder}:{number}",)
        run = run_of(config, workdir)
        if number == 1:
            with pytest.raises(FrozenPartError, match="^The frozen part 'encoder' was trained with the wei") as error:
                run_lib.train_run(run)
            assert error.value.exit_code != ExitCode.DONE and "\n" not in str(error.value)
            run_lib.train_run(run, allow_config_change=True)
            assert "Continuing with the run's own copy" in caplog.text
        else:
            run_lib.train_run(run)
    weights = workdir / "frozen" / "encoder.msgpack"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(FrozenPartError, match="The frozen part 'encoder' was trained with"):
        restore_run.restore(workdir)
    weights.unlink()
    with pytest.raises(FrozenPartError, match="The frozen part 'encoder' of the run in .* is missing or damaged"):
        restore_run.restore(workdir)


def test_stages_that_are_missing_or_unknown_are_named(encoder, tmp_path):
    config = config_of(Denoiser)
    with pytest.raises(ValueError, match=r"needs the run of its stage 'encoder'; give it by config.model.stages = \('"):
        run_of(config, tmp_path)
    config.model.stages = (f"encodr={encoder}",)
    with pytest.raises(ValueError, match="the stage 'encodr', which the system does not have; the nearest is 'encod"):
        run_of(config, tmp_path)
    config.model.stages = (f"encoder={tmp_path}",)
    with pytest.raises(ValueError, match="config.model.stages = .*: No checkpoint was found in"):
        run_of(config, tmp_path)


def test_a_run_starts_from_the_averaged_parameters_of_another(encoder, tmp_path, caplog):
    source = restore_run.restore(encoder, 1).variables
    config = config_of(Encoder, init_from=f"{encoder}:1")
    config.optim.frozen = ("*",)  # so that step 3 shows step 0
    run = run_of(config, tmp_path)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(run.system, "warm_start", lambda variables, fetch_batches: variables)
        run_lib.train_run(run)
    assert checksums(state_of(run).params) == checksums(source["params"])
    assert "checkpoint 1: 4 of 4 arrays taken" in caplog.text
    config.training.update(n_iters=9, init_from="gone")
    run_lib.train_run(run_of(config, tmp_path))  # a resume does not need it
    config = config_of(Denoiser, init_from=str(encoder))
    config.model.stages = (f"encoder={encoder}",)
    with pytest.raises(RunError, match=r"fits no parameter of this config \(0 of 1 arrays taken; missing there: par"):
        run_of(config, tmp_path / "other")


def test_frozen_parameters_stay_and_others_are_trained(tmp_path):
    config = config_of(Encoder)
    config.optim.frozen = ("mean/*",)
    config.optim.update(weight_decay=0.1)
    run = run_of(config, tmp_path)
    run_lib.train_run(run)
    state, start = state_of(run), run.state().params
    (mean,) = (leaf for leaf in jax.tree.leaves(state.params["mean"]))
    np.testing.assert_array_equal(mean, state.ema_params["mean"]["bias"])
    assert np.abs(np.asarray(state.params["encode"]) - start["encode"]).min() > 0
    moments = [leaf.shape for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert moments == [state.params["encode"].shape] * 2
    config.optim.frozen = ("means/*",)
    with pytest.raises(
        ValueError, match=r"optim.frozen has 'means/\*', which no parameter matches; the nearest is 'me"
    ):
        run_of(config, tmp_path / "other")
