"""The config of a checkpoint is the one that it is used with, and needs neither --config nor the data."""

import jax
import numpy as np
import pytest

import main
from configs import default
from core.errors import ExitCode
from data import stock
from data.fields import Field, labeled
from data.spec import DataSpec
from programs import restore_run, sample
from programs.restore_run import ConfigMismatchError
from programs.run import Run
from tests.support.flags import flags_of_main
from tests.support.runs import asked, tiny
from training.checkpoint import CheckpointError, Checkpoints


def checkpoint(config, workdir, spec, stored=None):
    """A workdir whose checkpoint 1 holds random parameters, the config and what is known of the data.

    `stored`: the config that it stores, if that is another one than that of its parameters.
    """
    draw = np.random.default_rng(0)
    state = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), Run(config, workdir, spec=spec).abstract_state())
    config = stored or config
    random = jax.tree.map(lambda a: draw.normal(scale=0.2, size=a.shape).astype(a.dtype), state.params)
    store = Checkpoints(workdir / restore_run.FOLDER)
    store.save(1, jax.device_put(state.replace(ema_params=random)), default.to_json(config), {"data": spec.to_json()})
    store.close()
    return workdir


@pytest.fixture(scope="module")
def centered(tmp_path_factory):
    """The run of a centered VP model of 8x8 RGB images."""
    return checkpoint(
        tiny(), tmp_path_factory.mktemp("centered"), DataSpec(labeled(Field((8, 8, 3), "uint8", 256), 10))
    )


@pytest.fixture
def command_line(monkeypatch):
    """The flags of a command of these words, as `main.parse` reads them."""

    def parse(*words):
        monkeypatch.setattr(main, "FLAGS", flags_of_main(words))
        main.parse(["main.py", *words])
        return main.FLAGS

    return parse


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "sde", "cosine"), ("training", "sde", "subvpsde"), ("training", "continuous", False),
        ("data", "centered", False), ("model", "nf", 16), ("model", "beta_max", 3.0), ("model", "num_labels", 10),
        ("data", "image_size", 16), ("model", "parameterization", "velocity"),
    ],
)  # fmt: skip
def test_a_config_of_another_model_is_refused_by_key(centered, section, key, value):
    config = tiny()
    config[section][key] = value
    before = default.to_json(tiny())[section][key]
    with pytest.raises(
        ConfigMismatchError, match=f"config.{section}.{key} is {value!r}, but {before!r} there"
    ) as found:
        Run.of_checkpoint(config, centered)
    assert "\n" not in str(found.value) and found.value.exit_code == ExitCode.USER_ERROR


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sampling", "num_steps", 3),
        ("eval", "num_samples", 7),
        ("restore", "noise_std", 0.1),
        ("model", "dtype", "bfloat16"),
    ],
)
def test_what_does_not_change_the_model_is_taken_from_the_command(centered, section, key, value):
    config = tiny()
    config[section][key] = value
    config.seed = 5
    run = Run.of_checkpoint(config, centered)
    assert run.config[section][key] == value and run.config.seed == 5


def test_what_only_training_uses_is_taken_from_the_checkpoint(centered):
    config = tiny()
    config.model.update(dropout=0.3, ema_rates=(0.9,))
    run = Run.of_checkpoint(config, centered)
    assert run.config.model.dropout == tiny().model.dropout and run.config.model.ema_rates == ()


def test_the_number_of_steps_of_a_continuous_model_is_no_other_model(centered):
    config = tiny()
    config.model.num_scales = 4
    assert Run.of_checkpoint(config, centered).config.model.num_scales == 4


def test_sampling_needs_no_data(centered, tmp_path, monkeypatch):
    """Stock data without a prepared copy, and a folder that is gone: both end with samples."""

    def refuse(*args, **kwargs):
        raise AssertionError("the data set was opened")

    monkeypatch.setattr(stock, "load", refuse)
    monkeypatch.setattr("builders.data.load", refuse)
    for name, dataset in (("stock", "cifar10"), ("own", "folder:/gone")):
        config = tiny()
        config.data.update(dataset=dataset, image_size=8)
        if name == "own":  # what `builders.data.resolve` found in the folder when the model was trained
            config.data.update(shape=(8, 8, 3), num_levels=256)
        workdir = checkpoint(config, tmp_path / name, DataSpec(labeled(Field((8, 8, 3), "uint8", 256), 10)))
        given = config.copy_and_resolve_references()
        given.data.update(dataset="", shape=(), num_levels=None)  # not repeated
        run = Run.of_checkpoint(given, workdir)
        request, output = asked(run, "unconditional", num_samples=2), str(tmp_path / f"{name}_samples")
        directory = sample.execute(run, request, sample.prepare(run, request), output=output)
        assert np.load(directory / "samples.npz")["arr_0"].shape == (2, 8, 8, 3)
        assert run.config.data.dataset == dataset


def test_an_imported_checkpoint_of_stock_data_is_sampled_without_them(tmp_path, monkeypatch):
    """Shape and levels of a stock data set follow from its name, where a checkpoint does not have them."""
    config = tiny()
    config.data.update(dataset="cifar10", image_size=8)
    run = Run(config, tmp_path)
    assert run.spec == DataSpec(labeled(Field((8, 8, 3), "uint8", 256), 10))
    with pytest.raises(FileNotFoundError, match="no copy of cifar10"):
        run.splits.named("train")


def test_the_command_line_needs_no_config(centered, command_line):
    given = command_line("--mode=sample", f"--workdir={centered}", "--config.sampling.num_steps=3")
    assert given.config.sampling.num_steps == 3
    assert given.config.model.nf == tiny().model.nf and given.config.data.dataset == "synthetic"
    given = command_line("--mode=eval", "--workdir", str(centered), "--config.eval.begin_ckpt=7")
    assert given.config.eval.begin_ckpt == 7  # it is waited for; checkpoint 1 says what the model is


def test_the_command_line_needs_a_config_where_there_is_no_checkpoint(tmp_path, capsys, command_line):
    for words, code, message in (
        (("--mode=sample", f"--workdir={tmp_path}"), ExitCode.RUN_ERROR, "No checkpoint was found in"),
        (("--mode=train", f"--workdir={tmp_path}"), ExitCode.USER_ERROR, "--mode=train needs --config=FILE"),
    ):
        with pytest.raises(SystemExit) as ended:
            command_line(*words)
        error = capsys.readouterr().err
        assert ended.value.code == code and error.startswith(f"error: {message}") and error.count("\n") == 1


def test_an_override_of_another_model_ends_the_command_with_one_sentence(centered, command_line, monkeypatch, capsys):
    command_line("--mode=sample", f"--workdir={centered}", "--config.training.sde=cosine")
    monkeypatch.setattr(main, "set_up", lambda: None)
    assert main.main(["main.py"]) == ExitCode.USER_ERROR
    error = capsys.readouterr().err
    assert error.startswith("error: --config describes another model") and error.count("\n") == 1


def test_a_damaged_config_of_a_checkpoint_is_one_sentence(tmp_path):
    workdir = checkpoint(tiny(), tmp_path, DataSpec(labeled(Field((8, 8, 3), "uint8", 256), 10)))
    (workdir / restore_run.FOLDER / "1" / "config" / "metadata").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        main.stored_config(["main.py", "--mode=sample", f"--workdir={workdir}"])


def test_code_that_a_checkpoint_names_is_run_only_if_the_user_names_it(tmp_path, command_line, monkeypatch):
    config = tiny()
    with config.unlocked():
        config.data.dataset, config.eval.features = "own_set:source", "own_set:features"
        config.data.shape, config.data.num_levels = (8, 8, 3), 256
    # A run of this config would name its code; a checkpoint of someone else does not.
    workdir = checkpoint(tiny(), tmp_path, DataSpec(labeled(Field((8, 8, 3), "uint8", 256), 10)), stored=config)
    marker = tmp_path / "was_imported"
    (tmp_path / "own_set.py").write_text(
        f"""open({str(marker)!r}, "w").close()
import numpy as np
from data.source import from_arrays
def source(split):
    return from_arrays("own", np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 10, num_classes=10)
def features(x):
    return {{"features": x.reshape(len(x), -1)}}
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = command_line("--mode=eval", f"--workdir={workdir}")
    run = Run.of_checkpoint(given.config, workdir)
    for use in (lambda: run.train, lambda: run.extractor):
        with pytest.raises(ValueError, match="'own_set:.*' is code that a checkpoint names, which is not run unasked"):
            use()
    assert not marker.exists() and run.spec.shape == (8, 8, 3)  # what it knows of the data is in the checkpoint
    named = ("--config.data.dataset=own_set:source", "--allow_code=other:function,own_set:features")
    run = Run.of_checkpoint(command_line("--mode=eval", f"--workdir={workdir}", *named).config, workdir)
    assert len(run.train) == 4 and run.extractor.name == "own_set:features" and marker.exists()
