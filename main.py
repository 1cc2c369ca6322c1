"""Trains, samples and measures score-based generative models.

python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=train
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=eval --config.eval.begin_ckpt=26
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=import --checkpoint=FILE.pth
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=export --checkpoint=FILE.npz
"""

import logging
import os
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import app, flags
from ml_collections import config_flags

import exchange
import run_lib
from configs.default import flatten, get_config, nearest
from experiment import Experiment
from training.checkpoint import CheckpointError

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "The experiment: a file of configs/.", lock_config=True)
flags.DEFINE_string("workdir", None, "The folder for checkpoints, samples and metrics.")
flags.DEFINE_enum("mode", None, ["train", "eval", "import", "export"], "What to do.")
flags.DEFINE_string("eval_folder", "eval", "The folder in workdir for evaluations.")
flags.DEFINE_string(
    "checkpoint",
    None,
    "import: the published Flax or PyTorch checkpoint to read, or exported parameters; "
    "export: the .npz or .safetensors to write.",
)
flags.DEFINE_integer("number", None, "export: which checkpoint of the workdir; the newest by default.")
flags.mark_flags_as_required(["config", "workdir", "mode"])

EXIT_USER_ERROR = 2  # the command or the config is wrong
EXIT_RUN_ERROR = 3  # a run that had begun cannot go on: no checkpoint, non-finite loss


def set_up() -> None:
    """Logging to the console, one line an event, and JAX's persistent compilation cache."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S", force=True)
    for name in ("absl", "jax"):  # Orbax and TFDS tell every file, JAX every backend that is not there
        logging.getLogger(name).setLevel(logging.WARNING)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "score_sde_jax"))


def main(argv: Sequence[str]) -> int:
    """Runs one program; returns the exit code."""
    if len(argv) > 1:
        return fail(
            f"unexpected argument {argv[1]!r}; every setting is a flag, such as --config.seed=1.", EXIT_USER_ERROR
        )
    set_up()
    if FLAGS.mode in ("import", "export"):
        return transfer()
    try:
        experiment = Experiment(FLAGS.config, FLAGS.workdir)
    except (ValueError, FileNotFoundError) as error:  # the config; from here on these would be errors of the code
        return fail(str(error), EXIT_USER_ERROR)
    try:
        if FLAGS.mode == "train":
            run_lib.train(experiment)
        else:
            run_lib.evaluate(experiment, FLAGS.eval_folder)
    except (CheckpointError, run_lib.NonFiniteLossError) as error:
        return fail(str(error), EXIT_RUN_ERROR)
    return 0


def transfer() -> int:
    """Imports or exports parameters, for which no data set is needed; returns the exit code."""
    if not FLAGS.checkpoint:
        return fail(f"--mode={FLAGS.mode} needs --checkpoint=FILE.", EXIT_USER_ERROR)
    workdir, path = pathlib.Path(FLAGS.workdir), pathlib.Path(FLAGS.checkpoint)
    try:
        if FLAGS.mode == "import":
            exchange.import_checkpoint(FLAGS.config, workdir, path)
        else:
            exchange.export_checkpoint(FLAGS.config, workdir, path, FLAGS.number)
    except CheckpointError as error:
        return fail(str(error), EXIT_RUN_ERROR)
    except (ValueError, OSError) as error:  # the config, the file
        return fail(str(error), EXIT_USER_ERROR)
    return 0


def parse(argv: Sequence[str]) -> Sequence[str]:
    """The flags; whatever is wrong with them is one line and an exit code."""
    known = dict(flatten(get_config()))
    sections = {key.rsplit(".", 1)[0] for key in known if "." in key}
    for arg in argv[1:]:
        key = arg.lstrip("-").split("=")[0].removeprefix("config.").removesuffix("!")
        if not arg.lstrip("-").startswith("config.") or key in known or key in sections:
            continue
        raise SystemExit(fail(f"{arg}: there is no such setting; the nearest is config.{nearest(key, known)}.", 2))
    try:
        rest = FLAGS(argv)
        FLAGS.config.lock()  # a file that could not be read is only told when it is used
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise SystemExit(fail(" ".join(str(error).split()), EXIT_USER_ERROR)) from None


def fail(message: str, code: int) -> int:
    """One line on the error stream."""
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
