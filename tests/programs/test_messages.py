"""What a user gets wrong at first contact: one sentence and an exit code each, without a traceback."""

import shutil

import numpy as np
import pytest
from PIL import Image

import main
from core.errors import ExitCode
from programs import restore_run
from tests.support.configs import PATHS
from tests.support.runs import tiny, untrained

CONFIG = "--config=configs/vp/smoke.py"
TRAIN = (CONFIG, "--mode=train", "--workdir=DIR/run")
WRONG = {
    "a path that does not exist": (
        ("--config=configs/vp/smok.py", "--mode=train", "--workdir=DIR/run"),
        "--config=configs/vp/smok.py does not exist; the nearest is configs/vp/smoke.py.",
    ),
    "a name without its folder": (
        ("--config=cifar10_ddpmpp_deep_continuous", "--mode=train", "--workdir=DIR/run"),
        "--config=cifar10_ddpmpp_deep_continuous does not exist; the nearest is "
        "configs/subvp/cifar10_ddpmpp_deep_continuous.py.",
    ),
    "an empty path": (
        ("--config=", "--mode=train", "--workdir=DIR/run"),
        "--config= does not exist; the nearest is configs/",
    ),
    "no mode": (
        (CONFIG, "--workdir=DIR/run"),
        f"--mode is missing; give one of {', '.join(main.PROGRAMS)}, such as --mode=train.",
    ),
    "a mode as a word": (("eval", CONFIG), "--mode is missing; give one of train,"),
    "a mode that does not exist": ((CONFIG, "--mode=trian"), "flag --mode=trian: value should be one of <train|eval"),
    "a setting as a flag": (
        (*TRAIN, "--lr=1e-4"), "--lr=1e-4 is not a flag; the nearest setting is --config.optim.lr."
    ),
    "a setting as a flag, misspelled": (
        (*TRAIN, "--batchsize", "8"),
        "--batchsize is not a flag; the nearest setting is --config.training.batch_size.",
    ),
    "a flag, misspelled": (
        (*TRAIN, "--evalfolder=x"), "--evalfolder=x is not a flag; the nearest flag is --eval_folder."
    ),
    "a setting without its section": (
        (*TRAIN, "--config.lr=1e-4"), "config.lr is not a setting; the nearest is config.optim.lr."
    ),
    "a setting in another section": (
        (*TRAIN, "--config.model.lr=1e-4"), "config.model.lr is not a setting; the nearest is config.optim.lr."
    ),
    "a switch that does not exist": (
        (*TRAIN, "--noconfig.eval.enable_bdp"),
        "config.eval.enable_bdp is not a setting; the nearest is config.eval.enable_bpd.",
    ),
    "an integer written as a float": (
        (*TRAIN, "--config.training.n_iters=1e5"),
        "flag --config.training.n_iters=1e5: '1e5' is not an integer; write 100000",
    ),
    "a fraction for an integer": (
        (*TRAIN, "--config.training.n_iters=1.5"), "flag --config.training.n_iters=1.5: '1.5' is not an integer"
    ),
    "a flag of our own, written as a float": (
        (*TRAIN, "--num_samples=2e1"), "flag --num_samples=2e1: '2e1' is not an integer; write 20"
    ),
    "None where it cannot be": (
        (*TRAIN, "--config.optim.lr=None"), "config.optim.lr = None, but it cannot be unset; its default is 0.0002."
    ),
    "not a number": ((*TRAIN, "--config.optim.lr=nan"), "config.optim.lr = nan, but it must be a number."),
    "a negative rate": ((*TRAIN, "--config.optim.lr=-1"), "config.optim.lr = -1.0, but it must be positive."),
    "an empty tuple": (
        (*TRAIN, "--config.model.ch_mult=()"), "config.model.ch_mult is empty, but it must have at least one entry."
    ),
    "an empty entry": (
        (*TRAIN, "--config.model.ch_mult=(1,,2)"),
        "flag --config.model.ch_mult=(1,,2): it is not a tuple; write one such as '(1, 2)', or '()'",
    ),
    "a text for a number in a tuple": (
        (*TRAIN, "--config.model.ch_mult=('a',)"),
        "config.model.ch_mult has a, but a multiple must be a positive integer.",
    ),
    "an unused choice": (
        (*TRAIN, "--config.sampling.solver=dpmp"), "config.sampling.solver = 'dpmp' is not known; choose one of "
    ),
    "no workdir": ((CONFIG, "--mode=train"), "--mode=train needs --workdir=DIR, the folder of the run."),
    "no config": (("--mode=train", "--workdir=DIR/run"), "--mode=train needs --config=FILE, such as configs/"),
    "a word too many": (
        (*TRAIN, "now"), "unexpected argument 'now'; every setting is a flag, such as --config.seed=1."
    ),
    "gray data to colorize": (
        ("--mode=sample", "--workdir=DIR/gray", "--task=colorize", "--input=DIR/gray.png"),
        "Colorization restores two or more channels from their mean, but examples have the shape (8, 8, 1); "
        "choose another task.",
    ),
    "samples under another key": (
        (
            CONFIG, "--mode=metrics", "--workdir=DIR/run", "--samples=DIR/other.npz", "--config.eval.features=pixels",
            "--config.eval.metrics=('kid',)",
        ),
        "DIR/other.npz has images, but no arr_0; save the samples as arr_0.",
    ),
    "data under another key": (
        (*TRAIN, "--config.data.dataset=npz:DIR/two.npz"),
        "DIR/two.npz contains first, second; name the examples x (or arr_0)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of gray images, and files that cannot be used."""
    path = tmp_path_factory.mktemp("messages")
    config = tiny()
    config.data.update(dataset="digits", num_channels=1)
    untrained(config, path / "gray")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path / "gray.png")
    images = np.zeros((4, 8, 8, 1), np.uint8)
    np.savez(path / "other.npz", images=images)
    np.savez(path / "two.npz", first=images, second=images)
    return path


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_command_is_one_sentence_and_an_exit_code(name, folder, command_line):
    words, sentence = WRONG[name]
    done = command_line(*(word.replace("DIR/", f"{folder}/") for word in words))
    lines = [line for line in done.error.splitlines() if line]
    assert done.code == ExitCode.USER_ERROR
    assert lines[-1].startswith(f"error: {sentence.replace('DIR/', f'{folder}/')}") and "Traceback" not in done.error
    assert len(lines) == 1, lines
    assert not (folder / "run").exists()


def test_without_flags_there_are_a_usage_and_three_examples(command_line):
    done = command_line()
    assert done.code == ExitCode.USER_ERROR and done.error.startswith("usage: python main.py --mode=MODE")
    examples = [line for line in done.error.splitlines() if line.startswith("  python main.py ")]
    assert len(examples) == 3
    for path in (word.removeprefix("--config=") for line in examples for word in line.split() if "--config=" in word):
        assert path in PATHS


def test_help_is_short_and_lists_the_modes(command_line, capsys):
    with pytest.raises(SystemExit) as ended:
        main.parse(["main.py", "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == ExitCode.DONE and said.count("\n") < 30
    for name, program in main.PROGRAMS.items():
        assert f"  {name:<9}{program.help}\n" in said
    assert max(map(len, said.splitlines())) <= 120


def test_the_version_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main.parse(["main.py", "--version"])
    said = capsys.readouterr().out
    assert ended.value.code == ExitCode.DONE and said.startswith("score-sde 0.") and said.count("\n") == 1


def test_a_config_is_found_from_another_folder(tmp_path, monkeypatch, command_line, capsys):
    monkeypatch.chdir(tmp_path)
    assert command_line(CONFIG, "--mode=config").code == ExitCode.DONE
    # A file of one's own of the same name comes first.
    own = tmp_path / "configs" / "vp" / "smoke.py"
    own.parent.mkdir(parents=True)
    own.write_text("from configs.vp import smoke\n\n\ndef get_config():\n    raise ValueError('mine')\n")
    assert "ValueError: mine" in command_line(CONFIG, "--mode=config").error


def test_the_settings_of_a_command_say_where_they_come_from(folder, command_line, monkeypatch, capsys):
    said = []
    monkeypatch.setattr("builtins.print", lambda *words, **kwargs: said.append(" ".join(map(str, words))))
    command_line(CONFIG, "--mode=config", "--config.optim.lr=0.5", f"--config.data.dataset=npz:{folder / 'other.npz'}")
    lines = "\n".join(said).splitlines()
    assert "config.optim.lr = 0.5  # the command line; default: 0.0002" in lines
    assert "config.model.nf = 8  # configs/vp/smoke.py; default: 128" in lines
    assert "config.optim.beta1 = 0.9" in lines
    assert "config.data.shape = (8, 8, 1)  # the data; default: ()" in lines
    said.clear()
    for flag in ("--workdir", "--model"):
        command_line("--mode=config", f"{flag}={folder / 'gray'}")
    assert len([line for line in "\n".join(said).splitlines() if "config.model.nf = 8  # the checkpoint" in line]) == 2
    assert f"config.model.nf = 8  # the checkpoint in {folder / 'gray'}; default: 128" in "\n".join(said)


def test_a_dry_run_builds_a_command_and_writes_nothing(tmp_path, command_line, monkeypatch):
    monkeypatch.setattr(main.jax.stages.Lowered, "compile", lambda *_, **__: pytest.fail("compiled"))
    workdir = tmp_path / "run"
    done = command_line(CONFIG, "--mode=train", f"--workdir={workdir}", "--dry_run", "--config.model.name=perceptron")
    assert (done.code, done.error) == (ExitCode.DONE, "") and not workdir.exists()
    wrong = ("--config.sampling.predictor=eulr", "--dry_run")
    assert command_line(CONFIG, "--mode=train", f"--workdir={workdir}", *wrong).code == ExitCode.USER_ERROR


def test_a_dry_run_compares_the_config_with_the_checkpoint(folder, tmp_path, command_line):
    shutil.copytree(folder / "gray" / restore_run.FOLDER, tmp_path / "run" / "checkpoints-meta")
    done = command_line(CONFIG, "--mode=train", f"--workdir={tmp_path / 'run'}", "--dry_run")
    assert done.code == ExitCode.RUN_ERROR and "was started with another model or other data" in done.error
    assert "model.num_scales: was 6, is " in done.error


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("sampling.solver=unipc_3", "config.sampling.method = 'pc'; it is used with solver."),
        ("sampling.snr=0.2", "config.sampling.corrector = 'none'."),
        ("sampling.guidance_scale=2", "config.sampling.guidance = 'none'."),
        ("model.sigma_max=90", "config.training.sde = 'vpsde'."),
        ("training.max_nonfinite=3", "config.training.on_nonfinite = 'stop'."),
    ],
)
def test_a_setting_that_another_one_disables_is_a_warning(setting, reason, tmp_path, command_line, caplog):
    key = setting.split("=")[0]
    quick = ("--config.model.name=perceptron", "--dry_run")
    words = (CONFIG, "--mode=train", f"--workdir={tmp_path / 'run'}", *quick, f"--config.{setting}")
    assert command_line(*words).code == ExitCode.DONE
    (line,) = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert line.startswith(f"config.{key} = ") and line.endswith(f" has no effect, because {reason}")
