"""Trains and evaluates a model for each of a list of overrides of a config, on this machine or on a cluster.

python sweep.py --config=CONFIG --sweep=configs/sweeps/digits.py --root=DIR --parallel=2 --eval
python sweep.py --config=CONFIG --sweep=configs/sweeps/digits.py --root=DIR --launcher=slurm --slurm=partition=gpu
python sweep.py --config=CONFIG --sweep=configs/sweeps/guidance_interval.py --root=DIR --model=NAME.model --eval
python sweep.py --root=DIR --status
python sweep.py --root=DIR --report

The same command again resumes the runs that are not finished. JAX is not imported here, so that a start with nothing to
do takes a second.
"""

import contextlib
import dataclasses
import pathlib
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence

from core import interpreter

if interpreter.problem():
    print(f"error: {interpreter.problem()}", file=sys.stderr)
    sys.exit(2)

from absl import app, flags
from rich.console import Console
from rich.live import Live

from core.errors import RunError
from core.files import locked, writing
from core.outputs import check_folder
from core.text import printable
from sweeps import launch_local, plan, table
from sweeps.runs import Run, State, Status, num_snapshots, status_of

FLAGS = flags.FLAGS
flags.DEFINE_string("config", None, "The experiment: a file of configs/; --config.KEY=VALUE sets a key of all runs.")
flags.DEFINE_string("sweep", None, "A Python file whose get_sweep() returns a list of overrides; see configs/sweeps/.")
flags.DEFINE_string("root", None, "The folder that holds a folder for each run.", required=True)
flags.DEFINE_enum("launcher", "local", ["local", "slurm"], "As processes on this machine, or as Slurm jobs.")
flags.DEFINE_string("model", None, "Evaluate this model, which --mode=export wrote, in every run; nothing is trained.")
flags.DEFINE_integer("parallel", 1, "Number of runs at a time.", lower_bound=1)
flags.DEFINE_bool("eval", False, "Evaluate each run after training, as its config says.")
flags.DEFINE_integer("eval_workers", 1, "slurm: number of jobs that share the evaluation of a run.", lower_bound=1)
flags.DEFINE_list("slurm", [], "slurm: parameters of the jobs, as submitit names them: partition=gpu,gpus_per_node=1.")
flags.DEFINE_bool("retry_failed", False, "Start failed runs once more.")
flags.DEFINE_bool("dry_run", False, "Only print the commands.")
flags.DEFINE_bool("status", False, "Only print the state of the runs.")
flags.DEFINE_bool("report", False, "Only write report.csv and report.html.")

DONE, USER_ERROR, SOME_FAILED, UNFINISHED, STOPPED = 0, 2, 3, 4, 5  # docs/exit_codes.md


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    given, console = argv[1:], Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    root = pathlib.Path(FLAGS.root)
    try:
        if printable(FLAGS.root) != FLAGS.root:
            raise ValueError(f"--root={FLAGS.root} has characters that control a terminal; give another --root.")
        if FLAGS.status or FLAGS.report:
            return look(root, console)
        runs = planned(given, root)
        statuses = [status_of(run, FLAGS.eval) for run in runs]
        if FLAGS.dry_run:
            return rehearse(statuses, console)
        check_folder(root, f"--root={root}")
        plan.save(root, FLAGS.config, runs, FLAGS.eval)
        with alone(root), writing(root):
            return submit(statuses, root, console) if FLAGS.launcher == "slurm" else run_here(statuses, console)
    except (RunError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return SOME_FAILED
    except ValueError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return USER_ERROR


def planned(given: Sequence[str], root: pathlib.Path) -> list[Run]:
    """The runs, all of them checked. Errors: ValueError, one sentence."""
    if not FLAGS.config or not FLAGS.sweep:
        raise ValueError("A sweep needs --config=FILE and --sweep=FILE, such as --sweep=configs/sweeps/digits.py.")
    model = None if FLAGS.model is None else pathlib.Path(FLAGS.model)
    if model is not None and not (FLAGS.eval and model.is_dir()):
        raise ValueError(
            f"--model={FLAGS.model} must be a folder that --mode=export --checkpoint=NAME.model wrote, and is only "
            "evaluated: add --eval, or leave it out to train."
        )
    runs = plan.plan(FLAGS.config, given, plan.read_sweep(pathlib.Path(FLAGS.sweep)), root, model)
    for run in runs if FLAGS.eval and model is None else ():
        if run.config["eval.end_ckpt"] > (kept := num_snapshots(run.config)):
            raise ValueError(
                f"--eval: config.eval.end_ckpt = {run.config['eval.end_ckpt']}, but {run.name} keeps checkpoints 1 to "
                f"{kept}; give --config.eval.begin_ckpt={kept} --config.eval.end_ckpt={kept} for the last one."
            )
    return runs


def look(root: pathlib.Path, console: Console) -> int:
    """The programs status and report."""
    runs, with_eval = plan.load(root)
    statuses = [status_of(run, with_eval) for run in runs]
    if any(status.state is State.WAITING for status in statuses) and (root / "slurm").is_dir():
        try:
            statuses = in_queue(runs, with_eval)
        except ValueError as error:  # the files still show the state without Slurm
            print(f"warning: {error}", file=sys.stderr)
    if FLAGS.report:
        check_folder(root, f"--root={root}")
        from sweeps import report  # matplotlib and jinja2 are needed only here

        for path in report.write(root, statuses):
            print(f"-> {path}")
        return DONE
    return conclude(statuses, console)


def rehearse(statuses: Sequence[Status], console: Console) -> int:
    """Prints the commands that would be started."""
    for status in statuses:
        console.print(f"{status.run.name}  {status.state}", style="bold")
        if status.state is State.WAITING and status.mode:
            print(f"  {shlex.join(status.run.command(status.mode))}", flush=True)
    console.print(table.summary(statuses))
    return DONE


def run_here(statuses: Sequence[Status], console: Console) -> int:
    """The local launcher: a live table in a terminal, otherwise a line for each event and the table at the end."""
    local = launch_local.Local([s.run for s in statuses], FLAGS.eval, FLAGS.parallel, FLAGS.retry_failed)
    stopped = []

    def stop(number: int, frame: object) -> None:
        stopped.append(number)
        local.stop()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)  # a second signal ends the sweep at once; the runs still save and end

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            now = launch_local.run_all(
                local, lambda s: live.update(table.table(s), refresh=True), lambda line: live.console.print(line)
            )
    else:
        now = launch_local.run_all(local, lambda s: None, lambda line: print(line, flush=True))
    code = conclude(now, console)
    return STOPPED if stopped and code != DONE else code


def in_queue(runs: Sequence[Run], with_eval: bool) -> list[Status]:
    """The state of runs that may be in Slurm's queue. Errors: ValueError if Slurm does not respond."""
    from sweeps import launch_slurm  # submitit is needed only here

    queue = launch_slurm.queued(runs)
    return [status_of(run, with_eval, run.name in queue) for run in runs]


def submit(statuses: Sequence[Status], root: pathlib.Path, console: Console) -> int:
    """The Slurm launcher: submits waiting runs and returns."""
    from sweeps import launch_slurm

    statuses = in_queue([status.run for status in statuses], FLAGS.eval)
    if FLAGS.retry_failed:
        statuses = [dataclasses.replace(s, state=State.WAITING) if s.state is State.FAILED else s for s in statuses]
    workers = FLAGS.eval_workers if FLAGS.eval else 0
    submitted = launch_slurm.submit(statuses, root, FLAGS.parallel, workers, slurm_parameters())
    look_again = shlex.join(["python", "sweep.py", f"--root={root}", "--status"])
    print(f"{len(submitted)} runs submitted; {look_again} shows their state.", flush=True)
    console.print(table.failures(statuses))
    return SOME_FAILED if any(s.state in (State.FAILED, State.WRONG) for s in statuses) else DONE


def slurm_parameters() -> dict[str, str | int]:
    """The parameters in --slurm. Errors: ValueError for an entry that is not NAME=VALUE."""
    pairs = [item.split("=", 1) for item in FLAGS.slurm]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"--slurm={','.join(FLAGS.slurm)}: give NAME=VALUE, such as partition=gpu,time=600.")
    return {name: int(value) if value.isdigit() else value for name, value in pairs}


def conclude(statuses: Sequence[Status], console: Console) -> int:
    """Prints the table and the logs of failed runs; returns the exit code."""
    console.print(table.table(statuses))
    console.print(table.failures(statuses))
    if any(status.state in (State.FAILED, State.WRONG) for status in statuses):
        return SOME_FAILED
    return DONE if all(status.state is State.FINISHED for status in statuses) else UNFINISHED


@contextlib.contextmanager
def alone(root: pathlib.Path) -> Iterator[None]:
    """Holds the lock of the sweep's folder. Errors: ValueError if another sweep holds it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(root / "sweep.lock", wait=False))
        except BlockingIOError:
            raise ValueError(f"Another sweep is running in --root={root}; wait for it, or stop it.") from None
        yield


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the flags; those that set config keys are left to `plan`, which checks them with every run's."""
    settings = [arg for arg in argv[1:] if arg.startswith("--config.")]
    try:
        rest = FLAGS([arg for arg in argv if arg not in settings])
        if len(rest) > 1:
            raise flags.Error(f"unexpected argument {rest[1]!r}; every setting is a flag, such as --config.seed=1.")
    except flags.Error as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    return [argv[0], *settings]


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
