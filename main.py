"""Trains, samples and measures score-based generative models.

python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=train
python main.py --workdir=DIR --mode=eval --config.eval.begin_ckpt=26
python main.py --workdir=DIR --mode=sample --task=inpaint --input=A.png
python main.py --workdir=DIR --mode=encode
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --mode=inspect --config.data.dataset=folder:PATH
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --mode=plan --topology=v5e:2x2
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=import --checkpoint=FILE.pth
python main.py --workdir=DIR --mode=export --checkpoint=NAME.model
python main.py --mode=sample --model=NAME.model --output=DIR

--help lists the modes.
eval, sample, encode and export use the config of the checkpoint: --config is optional there, and --config.KEY=VALUE
changes it.
"""

import contextlib
import importlib.util
import logging
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a program has an answer of its own: no traceback of an import
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

from core import interpreter
from runtime import malloc

if interpreter.problem():
    print(f"error: {interpreter.problem()}", file=sys.stderr)
    sys.exit(2)
if __name__ == "__main__":
    malloc.configure()

import jax
from absl import app, flags
from ml_collections import config_flags

from builders.devices import set_num_cpu_devices
from configs import parsers
from configs.default import validate
from configs.files import describe, make_importable
from core.errors import ExitCode, RunError, Stopped
from core.files import writing
from core.progress import LogHandler, hide
from core.text import OneLine, printable
from programs import command_line, compare, convert, encode, evaluate, inspect, metrics, plan, sample, settings, train
from programs.command_line import Program
from programs.flags import STORED, stored_config, value_of, with_request
from runtime.compile_cache import use_compile_cache
from runtime.devices import announce
from runtime.signals import report_on_signal

# From flags to a function that runs the program; everything that the user gave is checked before that.
PROGRAMS = {
    "train": Program(train.command, "train a model, or continue its training"),
    "eval": Program(evaluate.command, "evaluate checkpoints: loss, bits/dim, samples, metrics"),
    "sample": Program(sample.command, "generate or restore samples; --task=NAME says how"),
    "encode": Program(encode.command, "write the tokens or latents of a data set"),
    "inspect": Program(inspect.command, "read the data, and describe them"),
    "plan": Program(plan.command, "compile for devices that are not here: what they need"),
    "config": Program(settings.command, "show the settings of a command, and where they come from"),
    "stats": Program(metrics.stats_command, "write statistics of features of the data"),
    "metrics": Program(compare.command, "compare samples from files with data"),
    "import": Program(convert.import_command, "make a checkpoint of published or exported parameters"),
    "export": Program(
        convert.export_command,
        "write the parameters of a checkpoint to a file, or a model to a folder that needs nothing else",
    ),
}
NEED_NO_WORKDIR = NEED_NO_DEVICE = ("inspect", "config", "plan")
REMAINS = "checkpoints and finished rounds are kept; start the same command again."
FLAGS = flags.FLAGS
parsers.register()
config_flags.DEFINE_config_file("config", None, "The experiment: a file of configs/.", lock_config=True)
flags.DEFINE_string("workdir", None, "The folder for checkpoints, samples and metrics; optional for inspect.")
flags.DEFINE_string("model", None, "eval, sample, export: a model that stands alone, as --mode=export writes it.")
flags.DEFINE_enum("mode", None, list(PROGRAMS), "What to do.")
flags.DEFINE_bool("dry_run", False, "Only check the command: build what it needs, but compute and write nothing.")
flags.DEFINE_bool("version", False, "Print the version.")
flags.DEFINE_string("topology", None, "plan: devices to compile for, such as v5e:2x2, v5p-256, h100x8 or h200x1.")
flags.DEFINE_list("programs", ["train"], "plan: what to compile: train, sample, likelihood.")
flags.DEFINE_bool("fit", False, "plan: try what makes training fit, and search for the largest batch.")
flags.DEFINE_string("eval_folder", "eval", "The folder in workdir for evaluations.")
flags.DEFINE_integer("eval_worker", None, "eval: index of this worker; by default that of a Slurm array, else 0.")
flags.DEFINE_integer("eval_workers", None, "eval: number of workers; by default that of a Slurm array, else 1.")
flags.DEFINE_string("samples", None, "metrics: a folder of images or an .npz file (arr_0).")
flags.DEFINE_string("stats", None, "stats: the .npz file to write; metrics: to compare with instead of the data.")
flags.DEFINE_string("reference", None, "metrics: a folder of images or an .npz file to compare with, all of it.")
flags.DEFINE_string(
    "checkpoint",
    None,
    "import: the published Flax or PyTorch checkpoint to read, or exported parameters; "
    "export: the .npz or .safetensors file to write, or the .model folder, which needs nothing else.",
)
flags.DEFINE_integer("number", None, "encode, export, sample: which checkpoint of the workdir; the newest by default.")
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
flags.DEFINE_list("do", [], "sample: what is done for task counterfactual, as NAME=VALUE,NAME+=VALUE.")
flags.DEFINE_float("temperature", None, "sample: scales latent codes, for decode and interpolate (1 by default).")
flags.DEFINE_string(
    "output",
    None,
    "encode, sample, metrics: the folder to write to; WORKDIR/sample/TASK or WORKDIR/encoded by default.",
)
flags.DEFINE_enum("format", "npz", list(sample.FORMATS), "sample: png also writes each sample as a PNG.")
flags.DEFINE_integer("seed", None, "sample: instead of config.seed.", lower_bound=0, upper_bound=2**32 - 1)
flags.DEFINE_bool("overwrite", False, "sample: replace what an earlier command has written to the same folder.")
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
flags.DEFINE_string(
    "tracker", None, "train: wandb, mlflow, trackio, or package.module:function, a tracker that lines of metrics go to."
)
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
    """Runs one program; returns the exit code. SIGTERM and SIGINT are answered at once, by training as by others."""
    set_up()
    with contextlib.nullcontext() if FLAGS.mode == "train" else report_on_signal(lambda: REMAINS):
        return answer(argv)


def answer(argv: Sequence[str]) -> int:
    """Checks the command, and unless it is a dry run, runs its program; returns the exit code."""
    try:
        run = checked(argv)
    except RunError as error:
        return fail(str(error), error.exit_code)
    except (ValueError, OSError) as error:  # the command, the config, the files; later these would be our errors
        return fail(str(error), ExitCode.USER_ERROR)
    if FLAGS.dry_run:
        print(f"dry run: --mode={FLAGS.mode} can start; nothing was computed or written.")
        return ExitCode.DONE
    try:
        with writing(FLAGS.workdir or "The output"):
            run()
            sys.stdout.flush()
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except RunError as error:
        code = fail(str(error), error.exit_code)
        if jax.process_count() > 1:
            os._exit(code)  # an ordinary exit would wait for the others
        return code
    return 0


def checked(argv: Sequence[str]) -> Callable[[], object]:
    """Checks the flags, and returns what runs their program. Errors: ValueError, OSError, RunError."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; every setting is a flag, such as --config.seed=1.")
    alone = FLAGS.model is not None and FLAGS.mode in STORED
    if FLAGS.workdir is None and FLAGS.mode not in NEED_NO_WORKDIR and not alone:
        raise ValueError(f"--mode={FLAGS.mode} needs --workdir=DIR, the folder of the run.")
    if FLAGS.mode not in (*NEED_NO_DEVICE, "train"):  # training first finds its other processes
        announce(FLAGS.mode)
    run = PROGRAMS[FLAGS.mode].command(FLAGS)
    for line in settings.without_effect(FLAGS):
        logging.warning("%s", line)
    return run


def set_up() -> None:
    """Logging to the console, one line per event, and the cache of compiled programs."""
    handler = LogHandler()
    handler.setFormatter(OneLine("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("absl", "jax"):  # Orbax and TFDS log every file, JAX every backend that is missing
        logging.getLogger(name).setLevel(logging.WARNING)
    use_compile_cache(FLAGS.compilation_cache)


def parse(argv: Sequence[str]) -> Sequence[str]:
    """The flags; whatever is wrong with them is one line and an exit code."""
    if len(argv) == 1:
        print(command_line.usage(PROGRAMS), file=sys.stderr)
        raise SystemExit(ExitCode.USER_ERROR)
    for word, text in (("--help", command_line.help_text(PROGRAMS)), ("--version", command_line.version())):
        if word in argv:
            print(text)
            raise SystemExit(ExitCode.DONE)
    try:
        command_line.check_settings(argv)
        command_line.check_mode(argv, PROGRAMS)
        argv = command_line.with_located_config(argv)
        if (file := value_of(argv, "config")) is not None:
            make_importable(file)
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
    except flags.UnrecognizedFlagError as error:
        raise SystemExit(fail(command_line.unknown_flag(error, dir(FLAGS)), ExitCode.USER_ERROR)) from None
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise SystemExit(fail(describe(error), ExitCode.USER_ERROR)) from None


def fail(message: str, code: int) -> int:
    """One line on the error stream."""
    hide()
    print(f"error: {printable(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    del __file__  # else multiprocessing would import it in every data worker, which needs nothing of it
    app.run(launch, flags_parser=parse)
