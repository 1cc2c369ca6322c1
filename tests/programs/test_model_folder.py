"""A model that stands alone: one folder gives what the run gave, wherever it lies, and damage to it is noticed."""

import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

import run_lib
from core.errors import ExitCode
from programs import convert, restore_run
from programs.run import Run
from tests.support.paths import DEVICES, ROOT
from tests.support.runs import tiny, untrained
from tests.support.stages import Denoiser, Encoder, config_of
from training import model_folder
from training.checkpoint import CheckpointError

IN_A_PROCESS = """
import sys
import numpy as np
import pytest
from tests.support import perceptron
perceptron.register(pytest.MonkeyPatch())
import run_lib
model = run_lib.load(sys.argv[1])
x = model.sample(3)
np.savez(sys.argv[2], x=x, nats=model.log_likelihood(x))
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    untrained(tiny(), folder)
    return folder


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "tiny.model"
    assert convert.export_checkpoint(tiny(), workdir, path) == 1
    return path


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy.model")


def test_a_moved_folder_gives_the_samples_and_likelihoods_of_the_run_in_another_process(exported, workdir, tmp_path):
    model = run_lib.load(workdir)
    x = model.sample(3)
    nats = model.log_likelihood(x)
    moved = shutil.copytree(exported, tmp_path / "elsewhere" / "m")
    flags = f"{os.environ['XLA_FLAGS']} {DEVICES}={jax.device_count()}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags}
    command = [sys.executable, "-c", IN_A_PROCESS, str(moved), str(tmp_path / "found.npz")]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["x"], x)
        np.testing.assert_array_equal(found["nats"], nats)


def test_the_command_samples_from_a_folder_as_from_the_run(workdir, tmp_path, command_line):
    folder = tmp_path / "a.model"
    assert command_line(f"--workdir={workdir}", "--mode=export", f"--checkpoint={folder}").code == 0
    arrays = []
    for source in (f"--model={folder}", f"--workdir={workdir}", f"--workdir={folder}"):
        output = tmp_path / f"out{len(arrays)}"
        done = command_line(source, "--mode=sample", "--num_samples=3", f"--output={output}")
        assert done == (0, "")
        arrays.append(np.load(output / "samples.npz")["arr_0"])
    np.testing.assert_array_equal(arrays[0], arrays[1])
    np.testing.assert_array_equal(arrays[0], arrays[2])
    done = command_line(f"--model={folder}", "--mode=sample", "--number=2")
    assert done.code == ExitCode.RUN_ERROR and "No checkpoint 2 was found" in done.error


def test_the_command_evaluates_a_folder_as_the_run(exported, workdir, tmp_path, command_line):
    settings = ("--config.eval.enable_loss", "--config.eval.enable_sampling=False", "--config.eval.batch_size=48")
    found = []
    for source in ((f"--model={exported}", f"--workdir={tmp_path}"), (f"--workdir={workdir}",)):
        assert command_line(*source, "--mode=eval", *settings).code == 0
        report = (tmp_path if len(source) > 1 else workdir) / "eval" / "ckpt_1" / "report.json"
        found.append(json.loads(report.read_text())["results"])
    assert found[0] == found[1]
    assert not (exported / "eval").exists()


def test_the_card_has_the_measured_figures_and_the_picture(workdir, tmp_path):
    config = tiny()
    config.eval.update(enable_loss=True, enable_sampling=True, enable_bpd=False, num_samples=4, batch_size=48)
    run_lib.evaluate_run(Run.of_checkpoint(config, workdir, devices=jax.devices()[:1]), "measured")
    convert.export_checkpoint(config, workdir, tmp_path / "b.model", eval_folder="measured")
    card = (tmp_path / "b.model" / "README.md").read_text()
    assert "# b.model" in card and "![Samples](samples.png)" in card and "| shape | 8 x 8 x 3, 256 levels |" in card
    assert "test loss" in card and " examples" in card and "ddim, 6 steps" in card
    convert.export_checkpoint(config, workdir, tmp_path / "c.model", eval_folder="none")
    assert "has no report" in (tmp_path / "c.model" / "README.md").read_text()


def test_collections_and_earlier_stages_are_in_the_folder(tmp_path):
    encoder, workdir = tmp_path / "encoder", tmp_path / "run"
    run_lib.train(config_of(Encoder), encoder)
    config = config_of(Denoiser)
    config.model.stages = (f"encoder={encoder}",)
    run_lib.train(config, workdir)
    for name, source in (("e.model", encoder), ("d.model", workdir)):
        convert.export_checkpoint(restore_run.about(source).config, source, tmp_path / name)
        found, expected = restore_run.restore(tmp_path / name), restore_run.restore(source)
        assert (found.number, found.step) == (expected.number, expected.step)
        jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)
        shapes = [jax.tree.map(lambda a: (a.shape, a.dtype), each.variables) for each in (found, expected)]
        assert shapes[0] == shapes[1]  # numbers, too
    samples = run_lib.load(workdir).sample(2)
    shutil.rmtree(encoder)
    shutil.rmtree(workdir)
    np.testing.assert_array_equal(run_lib.load(tmp_path / "d.model").sample(2), samples)
    config.model.stages = (f"encoder={tmp_path / 'e.model'}",)  # a folder is an earlier stage, as a run is
    run_lib.train(config, tmp_path / "again")
    weights = tmp_path / "d.model" / "frozen" / "encoder.msgpack"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"frozen/encoder.msgpack has the SHA-256 \w+, but data.json says"):
        run_lib.load(tmp_path / "d.model")


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "no parameters": lambda folder: (folder / "params.safetensors").unlink(),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no description": lambda folder: (folder / "data.json").unlink(),
    "cut parameters": lambda folder: cut(folder / "params.safetensors"),
    "a flipped bit": lambda folder: flipped(folder / "params.safetensors"),
    "a cut config": lambda folder: cut(folder / "config.json"),
    "a cut description": lambda folder: cut(folder / "data.json"),
    "another description": lambda folder: (folder / "data.json").write_text("[1]"),
    "an empty description": lambda folder: (folder / "data.json").write_text("{}"),
    "text as a number": lambda folder: edit(folder, checkpoint="1"),
    "another step": lambda folder: edit(folder, step=7),
    "bytes that are no text": lambda folder: (folder / "data.json").write_bytes(b"\xff\xfe{"),
    "another config": lambda folder: swap(folder / "config.json", '"nf": 8', '"nf": 16'),
}


def edit(folder, **values):
    content = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps(content | values))


def swap(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_folder_is_one_sentence(case, copy, tmp_path, command_line):
    DAMAGE[case](copy)
    with pytest.raises(CheckpointError, match=r"^The model in .* is damaged or incomplete: .* again\.$"):
        run_lib.load(copy)
    done = command_line(f"--model={copy}", "--mode=sample", "--num_samples=1", f"--output={tmp_path / 'out'}")
    assert done.code == ExitCode.RUN_ERROR and done.error.startswith("error: The model in ")
    assert len(done.error.splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[..., :-1], r"\['params'\].* is float32 \(.*\), but float32 \(.*\) is expected, and \d+ more"),
        (lambda a: a.astype(np.float16), r"is float16 \(.*\), but float32 \(.*\) is expected"),
    ],
)
def test_arrays_that_do_not_fit_the_config_are_one_sentence(copy, change, message):
    """Also where somebody has made the hashes fit."""
    path = copy / model_folder.PARAMS
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(change(a)) for name, a in safetensors.numpy.load_file(path).items()}, path
    )
    content = json.loads((copy / "data.json").read_text())
    content["sha256"][model_folder.PARAMS] = model_folder.sha256_of(path)
    content.pop("checksum")
    model_folder.write_about(copy, content)
    with pytest.raises(CheckpointError, match=message) as error:
        run_lib.load(copy)
    assert "\n" not in str(error.value)


def test_code_that_only_a_folder_names_is_not_run(tmp_path, monkeypatch, command_line):
    workdir, folder, marker = tmp_path / "run", tmp_path / "own.model", tmp_path / "was_imported"
    untrained(tiny(), workdir)
    convert.export_checkpoint(tiny(), workdir, folder)
    config = json.loads((folder / "config.json").read_text())
    config["system"] = "evil_system:System"
    (folder / "config.json").write_text(json.dumps(config))
    content = json.loads((folder / "data.json").read_text())
    content["sha256"]["config.json"] = model_folder.sha256_of(folder / "config.json")
    content.pop("checksum")
    model_folder.write_about(folder, content)
    (tmp_path / "evil_system.py").write_text(
        f"open({str(marker)!r}, 'w').close()\nfrom systems.diffusion import Diffusion as System\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'evil_system:System' is code that a checkpoint names, which is not run"):
        run_lib.load(folder)
    words = (f"--model={folder}", "--mode=sample", "--num_samples=1")
    done = command_line(*words)
    assert done.code == ExitCode.USER_ERROR and "--allow_code=evil_system:System" in done.error
    assert not marker.exists()
    assert command_line(*words, "--allow_code=evil_system:System").code == 0 and marker.exists()


def test_an_export_says_first_what_is_wrong_with_where_it_goes(workdir, tmp_path, command_line):
    (tmp_path / "file").write_text("")
    (tmp_path / "there.model").mkdir()
    for path, message in (
        (tmp_path / "there.model", "already exists"),
        (tmp_path / "file" / "a.model", "cannot be written to (Not a directory)"),
        (tmp_path / ("n" * 300 + ".npz"), "cannot be written to (File name too long)"),
        (tmp_path / ("n" * 300) / "a.npz", "cannot be written to (File name too long)"),
        (tmp_path / "a.modell", "does not end in a known suffix; parameters are written as .npz or .safetensors"),
    ):
        done = command_line(f"--workdir={workdir}", "--mode=export", f"--checkpoint={path}")
        assert done.code == ExitCode.USER_ERROR and message in done.error and len(done.error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there.model"]


def test_a_folder_has_one_average_and_is_exported_again(exported, tmp_path):
    convert.export_checkpoint(tiny(), exported, tmp_path / "again.model")
    first, second = (
        safetensors.numpy.load_file(path / "params.safetensors") for path in (exported, tmp_path / "again.model")
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    config = tiny(ema_sigma_rels=(0.05, 0.1))
    untrained(config, tmp_path / "run")
    convert.export_checkpoint(config, tmp_path / "run", tmp_path / "run.model")
    with pytest.raises(ValueError, match="run.model has one average alone"):
        convert.export_checkpoint(config, tmp_path / "run.model", tmp_path / "wide.npz", sigma_rel=0.1)


def test_a_guide_comes_with_the_model(workdir, tmp_path, command_line):
    config = tiny()
    config.sampling.update(guidance="autoguidance", guidance_scale=2.0, guide_workdir=str(workdir))
    untrained(config, tmp_path / "run")
    assert (
        command_line(f"--workdir={tmp_path / 'run'}", "--mode=export", f"--checkpoint={tmp_path / 'a.model'}").code == 0
    )
    expected = run_lib.load(tmp_path / "run").sample(3)
    shutil.move(tmp_path / "a.model", tmp_path / "moved.model")
    model = run_lib.load(tmp_path / "moved.model")
    assert model.config.sampling.guide_workdir == str(tmp_path / "moved.model" / "guide.model")
    np.testing.assert_array_equal(model.sample(3), expected)
    convert.export_checkpoint(model.config, tmp_path / "moved.model", tmp_path / "again.model")
    np.testing.assert_array_equal(run_lib.load(tmp_path / "again.model").sample(3), expected)
    (tmp_path / "again.model" / "guide.model" / "params.safetensors").write_bytes(b"")
    done = command_line(f"--model={tmp_path / 'again.model'}", "--mode=sample", f"--output={tmp_path / 'out'}")
    assert done.code == ExitCode.RUN_ERROR and "guide.model/params.safetensors has the SHA-256 e3b0" in done.error


def test_a_folder_is_no_place_to_train(exported, command_line):
    before = sorted(exported.rglob("*"))
    done = command_line("--config=configs/vp/smoke.py", f"--workdir={exported}", "--mode=train")
    assert done.code == ExitCode.USER_ERROR and "is an exported model, which has no training state" in done.error
    assert sorted(exported.rglob("*")) == before


def test_a_scalar_parameter_keeps_its_shape(tmp_path):
    about = {"checkpoint": 3, "step": 5, "data": {}, "frozen": {}}
    variables = {"params": {"scale": np.float32(2.0)}, "usage": {"count": np.int32(7)}}
    model_folder.write(tmp_path / "s.model", variables, {}, about, tmp_path, {})
    found = model_folder.ModelFolder(tmp_path / "s.model").read(3, ("step", "ema_params", "collections", "averages"))
    assert found["ema_params"]["scale"].shape == () and found["collections"]["usage"]["count"] == 7
    assert int(found["step"]) == 5 and found["averages"] == {}


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, command_line):
    done = command_line(f"--model={tmp_path / 'typo.model'}", "--mode=sample")
    assert done.code == ExitCode.RUN_ERROR
    assert done.error == f"error: No model was found in {tmp_path}/typo.model; give a folder that --mode=export wrote."
