"""Trains, samples and measures score-based generative models.

python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=train
python main.py --workdir=DIR --mode=eval --config.eval.begin_ckpt=26
python main.py --workdir=DIR --mode=sample --task=inpaint --input=A.png
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --mode=inspect --config.data.dataset=folder:PATH
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=import --checkpoint=FILE.pth
python main.py --workdir=DIR --mode=export --checkpoint=FILE.npz

eval, sample and export use the config of the checkpoint: --config is optional there, and --config.KEY=VALUE changes it.
"""

import importlib.util
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

HERE = pathlib.Path(__file__).resolve().parent
for name in sorted(
    path.parent.name for path in HERE.glob("[a-z]*/__init__.py")
):  # others have a `data` or `models`, too
    spec = importlib.util.find_spec(name)
    found = spec.origin if spec is not None else None
    if found is None or not pathlib.Path(found).resolve().is_relative_to(HERE):
        print(
            f"error: package {name!r} is {found}, not the one in {HERE}; put no other first on PYTHONPATH.",
            file=sys.stderr,
        )
        sys.exit(2)

import jax
from absl import app, flags
from ml_collections import config_flags

from builders.devices import set_num_cpu_devices
from configs import parsers
from configs.default import flatten, get_config, validate
from configs.files import describe, make_importable
from core.errors import ExitCode, RunError, Stopped
from core.progress import LogHandler
from core.tables import nearest
from programs import convert, evaluate, inspect, metrics, sample, train
from programs.flags import stored_config, value_of, with_request
from runtime import malloc
from runtime.compile_cache import use_compile_cache

# From flags to a function that runs the program; everything that the user gave is checked before that.
PROGRAMS: dict[str, Callable[[flags.FlagValues], Callable[[], object]]] = {
    "train": train.command,
    "eval": evaluate.command,
    "sample": sample.command,
    "inspect": inspect.command,
    "stats": metrics.stats_command,
    "metrics": metrics.command,
    "import": convert.import_command,
    "export": convert.export_command,
}
FLAGS = flags.FLAGS
parsers.register()
config_flags.DEFINE_config_file("config", None, "The experiment: a file of configs/.", lock_config=True)
flags.DEFINE_string("workdir", None, "The folder for checkpoints, samples and metrics; optional for inspect.")
flags.DEFINE_enum("mode", None, list(PROGRAMS), "What to do.")
flags.DEFINE_string("eval_folder", "eval", "The folder in workdir for evaluations.")
flags.DEFINE_integer("eval_worker", None, "eval: index of this worker; by default that of a Slurm array, else 0.")
flags.DEFINE_integer("eval_workers", None, "eval: number of workers; by default that of a Slurm array, else 1.")
flags.DEFINE_string("samples", None, "metrics: a folder of images or an .npz file (arr_0).")
flags.DEFINE_string("stats", None, "stats: the .npz file to write; metrics: to compare with instead of the data.")
flags.DEFINE_string(
    "checkpoint",
    None,
    "import: the published Flax or PyTorch checkpoint to read, or exported parameters; "
    "export: the .npz or .safetensors file to write.",
)
flags.DEFINE_integer("number", None, "export, sample: which checkpoint of the workdir; the newest by default.")
flags.DEFINE_string("task", "unconditional", "sample: a task of the run's system, such as class, inpaint or encode.")
flags.DEFINE_multi_string("request", [], "sample: an option of the task, as --request.NAME=VALUE.")
flags.DEFINE_string(
    "input",
    None,
    "sample: an image, an .npy or .npz file, or a folder of them; or test:0,1,2 for images of the test split.",
)
flags.DEFINE_string("mask", None, "sample: the known pixels, an image or array: those that are not black, not zero.")
flags.DEFINE_list("labels", [], "sample: class labels, as numbers; for task class, else of the images in turn.")
flags.DEFINE_integer("num_samples", None, "sample: images (64 by default), or per class or input (8).")
flags.DEFINE_bool("measured", False, "sample: the input is measurements, not images to be measured.")
flags.DEFINE_float("temperature", None, "sample: scales latent codes, for decode and interpolate (1 by default).")
flags.DEFINE_string("output", None, "sample, metrics: the folder to write to; WORKDIR/sample/TASK by default.")
flags.DEFINE_float(
    "sigma_rel", None, "export: the power-function average of this relative width, of a run with model.ema_sigma_rels."
)
flags.DEFINE_integer(
    "cpu_devices",
    None,
    "How many devices a CPU is split into, which share each batch; by default one to train, else one per core.",
    lower_bound=1,
)
flags.DEFINE_list("allow_code", [], "Import paths, package.module:name, of checkpoints whose code you trust to be run.")
flags.DEFINE_bool("allow_config_change", False, "train: continue although the config describes another model or data.")
flags.DEFINE_bool(
    "distributed", False, "train: several processes, found by JAX itself (Slurm, Open MPI, Kubernetes, TPUs)."
)
flags.DEFINE_string("coordinator", None, "train: HOST:PORT of process 0, where the processes of a run meet.")
flags.DEFINE_integer("num_processes", None, "train, with --coordinator: the number of processes.")
flags.DEFINE_integer("process_id", None, "train, with --coordinator: the index of this process, from 0.")
flags.DEFINE_integer("peer_timeout", 100, "train: seconds after which a silent process counts as gone.")
flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder of compiled programs, or off; by default JAX_COMPILATION_CACHE_DIR, else ~/.cache/score_sde_jax.",
)
flags.mark_flag_as_required("mode")


def launch(argv: Sequence[str]) -> int:
    """`main` in a process of its own, which has used no device yet; returns the exit code."""
    try:
        validate(FLAGS.config)
    except ValueError as error:
        return fail(str(error), ExitCode.USER_ERROR)
    set_num_cpu_devices(FLAGS.config, FLAGS.cpu_devices, training=FLAGS.mode not in ("sample", "eval"))
    return main(argv)


def main(argv: Sequence[str]) -> int:
    """Runs one program; returns the exit code."""
    set_up()
    try:
        if len(argv) > 1:
            raise ValueError(f"unexpected argument {argv[1]!r}; every setting is a flag, such as --config.seed=1.")
        if FLAGS.workdir is None and FLAGS.mode != "inspect":
            raise ValueError(f"--mode={FLAGS.mode} needs --workdir=DIR, the folder of the run.")
        run = PROGRAMS[FLAGS.mode](FLAGS)
    except RunError as error:
        return fail(str(error), error.exit_code)
    except (ValueError, OSError) as error:  # the command, the config, the files; later these would be our errors
        return fail(str(error), ExitCode.USER_ERROR)
    try:
        run()
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except RunError as error:
        code = fail(str(error), error.exit_code)
        if jax.process_count() > 1:
            os._exit(code)  # an ordinary exit would wait for the others
        return code
    return 0


def set_up() -> None:
    """Logging to the console, one line per event, and the cache of compiled programs."""
    handler = LogHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("absl", "jax"):  # Orbax and TFDS log every file, JAX every backend that is missing
        logging.getLogger(name).setLevel(logging.WARNING)
    use_compile_cache(FLAGS.compilation_cache)


def parse(argv: Sequence[str]) -> Sequence[str]:
    """The flags; whatever is wrong with them is one line and an exit code."""
    known = dict(flatten(get_config()))
    sections = {key.rsplit(".", 1)[0] for key in known if "." in key}
    for arg in argv[1:]:
        key = arg.lstrip("-").split("=")[0].removeprefix("config.").removesuffix("!")
        if not arg.lstrip("-").startswith("config.") or key in known or key in sections:
            continue
        raise SystemExit(
            fail(f"{arg} is not a setting; the nearest is config.{nearest(key, known)}.", ExitCode.USER_ERROR)
        )
    if (file := value_of(argv, "config")) is not None:
        make_importable(file)
    try:
        if (stored := stored_config(argv)) is not None:
            delattr(FLAGS, "config")
            config_flags.DEFINE_config_dict("config", stored, lock_config=True, flag_values=FLAGS, sys_argv=[*argv])
        rest = FLAGS(with_request(argv))
        if FLAGS.config is None:
            raise ValueError(
                f"--mode={FLAGS.mode} needs --config=FILE, such as configs/subvp/digits_ddpmpp_continuous.py."
            )
        FLAGS.config.lock()  # a file that could not be read is only reported when it is used
        return rest
    except RunError as error:
        raise SystemExit(fail(str(error), error.exit_code)) from None
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise SystemExit(fail(describe(error), ExitCode.USER_ERROR)) from None


def fail(message: str, code: int) -> int:
    """One line on the error stream."""
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    malloc.keep_memory()
    app.run(launch, flags_parser=parse)
