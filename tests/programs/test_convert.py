"""Import and export as programs: a run goes on from a published checkpoint as if it had never stopped."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization
from ml_collections import config_flags

import main
import run_lib
from builders.network import example_inputs, make_network
from builders.objective import make_objective
from builders.optimizer import make_ema, make_optimizer
from configs import default
from core.errors import ExitCode
from interop import base
from interop.load import load
from interop.names.order import outline
from programs import convert
from programs.run import Run
from tests.support import torch_files
from tests.support.configs import load as load_config
from tests.support.flags import flags_of_main
from tests.support.published import FILES, config_of, golden_file, outline_of, published_order, pytorch_contents
from training.checkpoint import CheckpointError, Checkpoints
from training.objectives.base import make_loss_fn
from training.state import initial_state
from training.step import make_train_step

NAMES = list(FILES)


def restore(config, workdir, folder, number):
    """A checkpoint of a workdir, as NumPy arrays."""
    shapes, _ = outline(make_network(config), *example_inputs(config))
    tx, _ = make_optimizer(config)
    like = jax.eval_shape(lambda params: initial_state({"params": params}, tx), shapes)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    store = Checkpoints(workdir / folder)
    state = store.restore(
        number, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), like)
    )
    kept = store.config(number)
    store.close()
    return jax.device_get(state), kept


@pytest.mark.parametrize("name", ["jax_ncsnpp_ve_cont", "torch_ddpmpp_vp_cont", "torch_ncsnpp_ve_cont_skip"])
def test_an_imported_checkpoint_lies_in_both_folders_with_all_of_its_state(name, tmp_path):
    config = config_of(name)
    number = convert.import_checkpoint(config, tmp_path, golden_file(name))
    assert number == int(FILES[name].removeprefix("checkpoint_").removesuffix(".pth"))
    found = load(golden_file(name), *outline_of(make_network(config)))
    for folder, key in (("checkpoints", number), ("checkpoints-meta", found.step)):
        assert [path.name for path in (tmp_path / folder).iterdir()] == [str(key)]
        state, kept = restore(config, tmp_path, folder, key)
        assert default.differences(kept, default.to_json(config)) == {}
        (adam,) = [s for s in state.opt_state if isinstance(s, optax.ScaleByAdamState)]
        (schedule,) = [s for s in state.opt_state if isinstance(s, optax.ScaleByScheduleState)]
        assert (int(state.step), int(adam.count), int(schedule.count)) == (4, 4, 4)
        pairs = ((state.params, found.params), (state.ema_params, found.ema_params))
        for tree, flat in (*pairs, (adam.mu, found.adam.mu), (adam.nu, found.adam.nu)):
            jax.tree.map(np.testing.assert_array_equal, tree, base.nest(flat))


def test_frozen_parameters_are_imported_without_moments(tmp_path):
    name = "torch_ddpmpp_vp_cont"
    config = config_of(name)
    config.optim.frozen = ("Conv_0/*",)
    convert.import_checkpoint(config, tmp_path, golden_file(name))
    state, _ = restore(config, tmp_path, "checkpoints-meta", 4)
    (adam,) = [s for s in state.opt_state.inner_state if isinstance(s, optax.ScaleByAdamState)]
    assert not jax.tree.leaves(adam.mu["Conv_0"]) and jax.tree.leaves(adam.mu["Dense_0"])


def test_the_next_training_step_uses_the_moments_and_the_count_of_the_file(tmp_path):
    name = "torch_ddpmpp_vp_cont"
    config = config_of(name)
    config.model.dropout = 0.0
    convert.import_checkpoint(config, tmp_path, golden_file(name))
    state, _ = restore(config, tmp_path, "checkpoints-meta", 4)
    tx, schedule = make_optimizer(config)
    loss = make_loss_fn(make_objective(config, 256))
    key = jax.random.key(0)
    batch = {"x": np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)}
    step = jax.jit(make_train_step(loss, tx, make_ema(config), schedule, key))
    after, metrics = step(jax.tree.map(jnp.asarray, state), batch)
    assert int(after.step) == 5 and float(metrics["learning_rate"]) == pytest.approx(config.optim.lr)
    old, new = (next(s for s in a.opt_state if isinstance(s, optax.ScaleByAdamState)) for a in (state, after))
    leaves = (old.mu, old.nu, new.mu, new.nu, state.params, after.params)
    m, v, new_m, new_v, before, now = (np.asarray(tree["Conv_0"]["kernel"]) for tree in leaves)
    beta1, beta2 = config.optim.beta1, config.optim.beta2
    gradient = (new_m - beta1 * m) / (1 - beta1)
    np.testing.assert_allclose(new_v, beta2 * v + (1 - beta2) * gradient**2, rtol=1e-4)  # a difference in float32
    update = new_m / (1 - beta1**5) / (np.sqrt(new_v / (1 - beta2**5)) + config.optim.eps)
    np.testing.assert_allclose(now, before - config.optim.lr * update, atol=1e-6)  # an update is about 5e-3


# A run of our own, written as the published programs would have written it -----------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(config, workdir) of ten steps with checkpoints at 5 and 10; no test changes it."""
    workdir = tmp_path_factory.mktemp("trained")
    config = load_config("configs/vp/smoke.py")
    config.training.update(snapshot_freq=5, snapshot_sampling=False, eval_freq=0)
    run_lib.train_run(Run(config, str(workdir), jax.devices()[:1]))
    return config, workdir


def flax_file(parts, steps):
    """The bytes of a published Flax checkpoint; `parts` as for `pytorch_contents`."""

    def old(flat):
        return base.nest({n: v.reshape(1, 1, 1, -1) if "GroupNorm" in n else v for n, v in flat.items()})

    moments = jax.tree.map(lambda m, v: {"grad_ema": m, "grad_sq_ema": v}, old(parts["mu"]), old(parts["nu"]))
    optimizer = {"target": old(parts["params"]), "state": {"step": np.int32(steps), "param_states": moments}}
    state = {"step": np.int32(steps), "optimizer": optimizer, "params_ema": old(parts["ema"]), "lr": 1.0}
    return serialization.msgpack_serialize(state | {"model_state": {}, "ema_rate": 0.5, "rng": np.zeros(2, np.uint32)})


@pytest.mark.parametrize("kind", ["flax", "pytorch"])
def test_a_run_continued_from_a_published_file_equals_one_that_never_stopped(kind, trained, tmp_path):
    config, workdir = trained
    state, _ = restore(config, workdir, "checkpoints", 1)
    adam = next(s for s in state.opt_state if isinstance(s, optax.ScaleByAdamState))
    trees = {"params": state.params, "ema": state.ema_params, "mu": adam.mu, "nu": adam.nu}
    parts = {part: base.flatten(tree) for part, tree in trees.items()}
    if kind == "flax":
        (tmp_path / "checkpoint_1").write_bytes(flax_file(parts, 5))
    else:
        order = published_order(make_network(config), config.data.image_size)
        torch_files.save(tmp_path / "checkpoint_1", pytorch_contents(parts, order, steps=5))
    assert convert.import_checkpoint(config, tmp_path / "run", tmp_path / "checkpoint_1") == 1
    run_lib.train_run(Run(config, str(tmp_path / "run"), jax.devices()[:1]))
    continued, _ = restore(config, tmp_path / "run", "checkpoints", 2)
    expected, _ = restore(config, workdir, "checkpoints", 2)
    jax.tree.map(np.testing.assert_array_equal, continued, expected)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_exported_parameters_are_the_average_and_can_be_imported(suffix, trained, tmp_path):
    config, workdir = trained
    path = tmp_path / f"ema{suffix}"
    assert convert.export_checkpoint(config, workdir, path) == 2  # the newest
    assert convert.export_checkpoint(config, workdir, tmp_path / f"first{suffix}", 1) == 1
    assert convert.import_checkpoint(config, tmp_path / "run", path) == 1
    imported, _ = restore(config, tmp_path / "run", "checkpoints", 1)
    expected, _ = restore(config, workdir, "checkpoints", 2)
    jax.tree.map(np.testing.assert_array_equal, imported.ema_params, expected.ema_params)
    jax.tree.map(np.testing.assert_array_equal, imported.params, expected.ema_params)
    assert int(imported.step) == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(imported.opt_state))


def test_export_says_what_is_wrong(trained, tmp_path):
    config, workdir = trained
    with pytest.raises(CheckpointError, match=r"No checkpoint 7 was found in .*; there are: 1, 2\."):
        convert.export_checkpoint(config, workdir, tmp_path / "a.npz", 7)
    with pytest.raises(CheckpointError, match="there are: none"):
        convert.export_checkpoint(config, tmp_path, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"\.npz or \.safetensors"):
        convert.export_checkpoint(config, workdir, tmp_path / "a.pth")
    assert not list(tmp_path.iterdir())


# The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """`command(mode, file)` runs it in this process: (exit code, what it wrote to stderr)."""

    def run(mode, checkpoint, config=None, *flags, workdir=tmp_path / "run"):
        config = config_of(NAMES[0]) if config is None else config
        words = ["main.py", f"--mode={mode}", f"--workdir={workdir}", f"--checkpoint={checkpoint}", *flags]
        given = flags_of_main(words[1:])
        delattr(given, "config")
        config_flags.DEFINE_config_dict("config", config, lock_config=True, flag_values=given, sys_argv=words)
        given(words)
        monkeypatch.setattr(main, "FLAGS", given)
        monkeypatch.setattr(main, "set_up", lambda: None)
        return main.main(["main.py"]), capsys.readouterr().err

    return run


def test_an_import_writes_a_workdir_once(command, tmp_path):
    assert command("import", str(golden_file(NAMES[0]))) == (0, "")
    code, error = command("import", str(golden_file(NAMES[0])))
    assert code == ExitCode.RUN_ERROR and "already has checkpoints; import into another --workdir" in error
    assert command("export", str(tmp_path / "ema.npz")) == (0, "")
    code, error = command("export", str(tmp_path / "ema.npz"))
    assert code == ExitCode.USER_ERROR and "already exists" in error


def test_a_dry_run_reads_and_checks_everything_and_writes_nothing(command, tmp_path, capsys):
    file, path = str(golden_file(NAMES[0])), tmp_path / "ema.npz"
    assert command("import", file, None, "--dry_run") == (0, "") and not list(tmp_path.iterdir())
    (tmp_path / "cut").write_bytes(golden_file(NAMES[0]).read_bytes()[:-50])
    assert command("import", str(tmp_path / "cut"), None, "--dry_run")[0] == ExitCode.USER_ERROR
    code, error = command("import", file, None, "--dry_run", workdir=tmp_path / "cut")
    assert code == ExitCode.USER_ERROR and "cut cannot be written to (Not a directory)" in error
    assert command("import", file) == (0, "")
    assert command("export", str(path), None, "--dry_run") == (0, "") and not path.exists()
    assert command("export", str(path), None, "--dry_run", "--number=9")[0] == ExitCode.RUN_ERROR


@pytest.mark.parametrize("name", NAMES[::2])
def test_a_failed_import_is_one_line_and_an_exit_code_and_writes_nothing(name, command, tmp_path):
    wider = config_of(name)
    wider.model.nf = 16
    (tmp_path / "cut").write_bytes(golden_file(name).read_bytes()[:-50])
    for config, path in (
        (wider, golden_file(name)),
        (None, tmp_path / "cut"),
        (None, tmp_path / "nothing"),
        (None, ""),
    ):
        code, error = command("import", str(path), config)
        assert code == ExitCode.USER_ERROR and error.startswith("error: ") and error.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_the_log_names_settings_that_are_not_used_and_numbers_that_clash(command, caplog):
    config = config_of(NAMES[0])
    config.optim.lr = 1e-4
    with caplog.at_level(logging.INFO):
        assert command("import", str(golden_file(NAMES[0])), config)[0] == 0
    assert "optim.lr = 0.005, but the config's 0.0001 is used" in caplog.text
    assert "model.ema_rate = 0.7, but the config's 0.999 is used" in caplog.text
    assert "step 4" in caplog.text and "the checkpoint of step 250000 would have the same number" in caplog.text


@pytest.mark.parametrize(
    ("file", "step", "number"),
    [("checkpoint_8", 400_001, 8), ("checkpoint_8.pth", 400_001, 8), ("ema.pth", 400_001, 8), ("ema.pth", 3, 1)],
)
def test_the_number_is_that_of_the_file_or_of_the_step(file, step, number, tmp_path):
    assert convert.checkpoint_number(tmp_path / file, step, 50_000) == number


def test_the_command_refuses_a_bomb_and_executes_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch_files.write_zip(tmp_path / "checkpoint_1.pth", b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch marker\x85R.")
    code, error = command("import", str(tmp_path / "checkpoint_1.pth"))
    assert code == ExitCode.USER_ERROR
    assert "asks for posix.system, which is not executed); nothing in it was executed." in error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_1.pth"]
