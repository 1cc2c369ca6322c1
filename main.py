"""Trains, samples and measures score-based generative models.

python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=train
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=eval --config.eval.begin_ckpt=26
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=sample --task=inpaint --input=A.png
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --mode=inspect --config.data.dataset=folder:PATH
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=import --checkpoint=FILE.pth
python main.py --config=configs/vp/cifar10_ddpmpp_continuous.py --workdir=DIR --mode=export --checkpoint=FILE.npz
"""

import logging
import os
import pathlib
import sys
import time
from collections.abc import Sequence

import jax
from absl import app, flags
from ml_collections import config_flags

import run_lib
from builders.devices import set_num_cpu_devices
from configs.default import flatten, get_config, validate
from configs.files import describe
from core.errors import PeerError, RunError, Stopped
from core.files import write_json
from core.tables import nearest
from evaluation.rounds import worker_of
from programs import convert, inspect, metrics, sample
from programs.experiment import Experiment
from reports import report
from runtime import malloc
from runtime.signals import StopRequest, report_on_signal
from training.checkpoint import CheckpointMissingError

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "The experiment: a file of configs/.", lock_config=True)
flags.DEFINE_string("workdir", None, "The folder for checkpoints, samples and metrics; inspect can do without.")
flags.DEFINE_enum(
    "mode", None, ["train", "eval", "sample", "inspect", "stats", "metrics", "import", "export"], "What to do."
)
flags.DEFINE_string("eval_folder", "eval", "The folder in workdir for evaluations.")
flags.DEFINE_integer("eval_worker", None, "eval: the number of this worker; that of a Slurm array by default, else 0.")
flags.DEFINE_integer("eval_workers", None, "eval: how many workers share the work; a Slurm array's by default, else 1.")
flags.DEFINE_string("samples", None, "metrics: a folder of pictures or an .npz file (arr_0).")
flags.DEFINE_string("stats", None, "stats: the .npz file to write; metrics: to compare with instead of the data.")
flags.DEFINE_string(
    "checkpoint",
    None,
    "import: the published Flax or PyTorch checkpoint to read, or exported parameters; "
    "export: the .npz or .safetensors to write.",
)
flags.DEFINE_integer("number", None, "export, sample: which checkpoint of the workdir; the newest by default.")
flags.DEFINE_enum("task", "unconditional", list(sample.TASKS), "sample: what to draw.")
flags.DEFINE_string(
    "input",
    None,
    "sample: a picture, an .npy or .npz file, or a folder of them; or test:0,1,2 for images of the test split.",
)
flags.DEFINE_string("mask", None, "sample: what is known, as a picture or array: not black, not zero.")
flags.DEFINE_list(
    "labels", [], "sample: classes, as numbers; of the samples of task class, else of the images in turn."
)
flags.DEFINE_integer("num_samples", None, "sample: images (64 by default), or for each class or input (8).")
flags.DEFINE_bool("measured", False, "sample: the input is measurements, not images to be measured.")
flags.DEFINE_float("temperature", 1.0, "sample: by which codes are scaled, tasks decode and interpolate.")
flags.DEFINE_string("output", None, "sample: the folder to write to; WORKDIR/sample/TASK by default.")
flags.DEFINE_float(
    "sigma_rel", None, "export: the power-function average of this relative width, of a run with model.ema_sigma_rels."
)
flags.DEFINE_integer(
    "cpu_devices",
    None,
    "On a CPU, how many devices it counts as, which share each batch; by default one to train, else one for each core.",
    lower_bound=1,
)
flags.DEFINE_bool("allow_config_change", False, "train: go on although the config says another model or other data.")
flags.DEFINE_bool(
    "distributed", False, "train: several processes, found by JAX itself (Slurm, Open MPI, Kubernetes, TPUs)."
)
flags.DEFINE_string("coordinator", None, "train: HOST:PORT of process 0, where the processes of a run meet.")
flags.DEFINE_integer("num_processes", None, "train, with --coordinator: how many processes there are.")
flags.DEFINE_integer("process_id", None, "train, with --coordinator: which of them this is, from 0.")
flags.DEFINE_integer("peer_timeout", 100, "train: seconds after which a process that is silent counts as gone.")
flags.DEFINE_string(
    "compilation_cache",
    None,
    "The folder where compiled programs are kept, or off; JAX_COMPILATION_CACHE_DIR by default, else "
    "~/.cache/score_sde_jax.",
)
flags.mark_flags_as_required(["config", "mode"])

EXIT_USER_ERROR = 2  # the command or the config is wrong
EXIT_RUN_ERROR = 3  # a run that had begun cannot go on: no checkpoint, non-finite loss, a full disk, another trainer
EXIT_NO_CHECKPOINT = 4  # eval: a checkpoint has not come; the trainer has ended or gives no sign
EXIT_STOPPED = 5  # a signal asked for it: saved; the same command goes on
EXIT_PEER_GONE = 6  # another process of the run is gone; start all of them again


def set_up() -> None:
    """Logging to the console, one line an event, and the cache of compiled programs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S", force=True)
    for name in ("absl", "jax"):  # Orbax and TFDS tell every file, JAX every backend that is not there
        logging.getLogger(name).setLevel(logging.WARNING)
    keep_compiled()


def keep_compiled() -> None:
    """JAX's persistent compilation cache. Processes may share it: an entry that is not whole counts as none."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = FLAGS.compilation_cache or os.environ.get("JAX_COMPILATION_CACHE_DIR", str(home / "score_sde_jax"))
    jax.config.update("jax_compilation_cache_dir", None if folder == "off" else folder)


def launch(argv: Sequence[str]) -> int:
    """`main` in a process of its own, which has asked for no device yet; returns the exit code."""
    try:
        validate(FLAGS.config)
    except ValueError as error:
        return fail(str(error), EXIT_USER_ERROR)
    set_num_cpu_devices(FLAGS.config, FLAGS.cpu_devices, training=FLAGS.mode not in ("sample", "eval"))
    return main(argv)


def main(argv: Sequence[str]) -> int:
    """Runs one program; returns the exit code."""
    if len(argv) > 1:
        return fail(
            f"unexpected argument {argv[1]!r}; every setting is a flag, such as --config.seed=1.", EXIT_USER_ERROR
        )
    if FLAGS.workdir is None and FLAGS.mode != "inspect":
        return fail(f"--mode={FLAGS.mode} needs --workdir=DIR, the folder of the run.", EXIT_USER_ERROR)
    set_up()
    if FLAGS.mode in ("import", "export"):
        return transfer()
    if FLAGS.mode == "inspect":
        return look()
    if FLAGS.mode != "sample":
        return work()
    directory, began = sample.folder(FLAGS.workdir, FLAGS.task, FLAGS.output), time.time()
    with report_on_signal(lambda: sample.remains(directory, began)):
        return work()


def work() -> int:
    """The programs that take an experiment; returns the exit code."""
    stop = StopRequest()
    try:
        if FLAGS.mode == "train":
            stop.install()
            connect()
        experiment = Experiment(FLAGS.config, FLAGS.workdir)
        request = request_of_flags()
        job = sample.prepare(experiment, request) if FLAGS.mode == "sample" else None
        worker = worker_of(FLAGS.eval_worker, FLAGS.eval_workers)
        is_measured = FLAGS.mode == "eval" and FLAGS.config.eval.enable_metrics
        if is_measured or FLAGS.mode == "metrics":
            metrics.check(experiment)  # before anything is drawn
        if is_measured:
            metrics.check_numbers(experiment)
        if FLAGS.mode in ("stats", "metrics"):
            return compare(experiment)
    except PeerError as error:
        return fail(str(error), EXIT_PEER_GONE)
    except (ValueError, FileNotFoundError) as error:  # the config; from here on these would be errors of the code
        return fail(str(error), EXIT_USER_ERROR)
    try:
        if FLAGS.mode == "train":
            run_lib.train(experiment, stop, FLAGS.allow_config_change)
        elif job is not None:
            print(f"-> {sample.execute(experiment, request, job)}")
        else:
            run_lib.evaluate(experiment, FLAGS.eval_folder, worker)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return EXIT_STOPPED
    except RunError as error:
        codes = {PeerError: EXIT_PEER_GONE, CheckpointMissingError: EXIT_NO_CHECKPOINT}
        code = fail(str(error), codes.get(type(error), EXIT_RUN_ERROR))
        if jax.process_count() > 1:
            os._exit(code)  # the usual end would wait for the others
        return code
    return 0


def compare(experiment: Experiment) -> int:
    """The programs stats and metrics; returns the exit code. Errors: ValueError for what the user gave."""
    given = FLAGS.stats if FLAGS.mode == "stats" else FLAGS.samples
    if given is None:
        raise ValueError(f"--mode={FLAGS.mode} needs --{'stats' if FLAGS.mode == 'stats' else 'samples'}=PATH.")
    if FLAGS.mode == "stats":
        metrics.write_statistics(experiment, pathlib.Path(given))
        return 0
    figures = metrics.of_files(experiment, pathlib.Path(given), pathlib.Path(FLAGS.stats) if FLAGS.stats else None)
    if FLAGS.output:
        write_json(pathlib.Path(FLAGS.output) / "metrics.json", figures)
    print(report.figures(figures["samples"]))
    return 0


def look() -> int:
    """The program inspect; returns the exit code."""
    try:
        figures = inspect.inspect(FLAGS.config, pathlib.Path(FLAGS.workdir) if FLAGS.workdir else None)
    except (ValueError, OSError) as error:  # the config, the files
        return fail(str(error), EXIT_USER_ERROR)
    print(inspect.table(figures))
    if FLAGS.workdir:
        for name in (inspect.FIGURES, inspect.PICTURE):
            print(f"-> {pathlib.Path(FLAGS.workdir) / name}")
    return 0


def connect() -> None:
    """Joins the other processes of a run, where the flags say that there are any; only the first one logs.

    Errors: ValueError for flags that do not go together, PeerError where the others do not come.
    """
    given = (FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    if given == (None, None, None) and not FLAGS.distributed:
        return
    if not FLAGS.distributed and None in given:
        raise ValueError(
            "--coordinator, --num_processes and --process_id go together; give all three, or --distributed where JAX "
            "can find them."
        )
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from `StopRequest`
    try:
        jax.distributed.initialize(
            *given,
            initialization_timeout=FLAGS.peer_timeout,
            heartbeat_timeout_seconds=FLAGS.peer_timeout,
            shutdown_timeout_seconds=FLAGS.peer_timeout,
        )
    except ValueError as error:
        if None not in given:
            raise
        raise ValueError(
            "--distributed: JAX finds no cluster here (Slurm, Open MPI, Kubernetes, TPU); give --coordinator, "
            "--num_processes and --process_id instead."
        ) from error
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or ["no answer"])[0]
        raise PeerError(
            f"The processes of this run did not meet within {FLAGS.peer_timeout} s ({reason}); start all of them, with "
            "one --coordinator that all can reach."
        ) from error
    if jax.process_index() != 0:
        logging.getLogger().setLevel(logging.WARNING)


def request_of_flags() -> sample.Request:
    """What the flags of mode sample say. Errors: ValueError for labels that are no numbers."""
    try:
        labels = tuple(int(label) for label in FLAGS.labels)
    except ValueError:
        raise ValueError(
            f"--labels={','.join(FLAGS.labels)}: classes are given as numbers, such as --labels=3,7."
        ) from None
    return sample.Request(
        task=FLAGS.task,
        input=FLAGS.input,
        mask=FLAGS.mask,
        labels=labels,
        num_samples=FLAGS.num_samples or (64 if FLAGS.task == "unconditional" else 8),
        measured=FLAGS.measured,
        temperature=FLAGS.temperature,
        output=FLAGS.output,
        number=FLAGS.number,
    )


def transfer() -> int:
    """Imports or exports parameters, for which no data set is needed; returns the exit code."""
    if not FLAGS.checkpoint:
        return fail(f"--mode={FLAGS.mode} needs --checkpoint=FILE.", EXIT_USER_ERROR)
    workdir, path = pathlib.Path(FLAGS.workdir), pathlib.Path(FLAGS.checkpoint)
    try:
        if FLAGS.mode == "import":
            convert.import_checkpoint(FLAGS.config, workdir, path)
        else:
            convert.export_checkpoint(FLAGS.config, workdir, path, FLAGS.number, FLAGS.sigma_rel)
    except RunError as error:
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
        raise SystemExit(fail(describe(error), EXIT_USER_ERROR)) from None


def fail(message: str, code: int) -> int:
    """One line on the error stream."""
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    malloc.keep_memory()
    app.run(launch, flags_parser=parse)
