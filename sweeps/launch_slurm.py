"""Runs on a cluster with Slurm, through submitit: an array of training jobs, and arrays of evaluations after each.

A job starts `main.py`. A job that is preempted, whose node fails, or that reaches its time limit is requeued and
resumes from its newest checkpoint; if only the process is killed, the job starts it again.
"""

import pathlib
import shlex
import signal
import subprocess
import time
import types
from collections.abc import Mapping, Sequence
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, FailedSubmissionError

from core.errors import ExitCode
from core.files import damaged_file, read_json, write_json
from sweeps.attempt import Attempt, BusyError
from sweeps.runs import PROGRAM, Run, State, Status, gave_up

_PAUSE = 0.5  # seconds between checks of the process
_TIMEOUTS = 1000  # requeues of a job at its time limit: a run ends after its own steps
_QUEUED = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "STOPPED")
_PARAMETERS: Mapping[str, Any] = {"time": 24 * 60, "signal_delay_s": 120}


class JobError(Exception):
    """A job cannot continue."""


class Job:
    """The work of a Slurm job: a process of `main.py`, restarted as needed. Pickled by submitit."""

    def __init__(self, run: Run, mode: str, worker: int = 0, workers: int = 1):
        self._run, self._mode, self._worker, self._workers = run, mode, worker, workers
        self._attempt: Attempt | None = None
        self._ending = False

    def __call__(self) -> None:
        """Returns once the run's mode is done. Errors: JobError, so that Slurm marks the job as failed."""
        signal.signal(signal.SIGTERM, self._note)
        while True:
            code = self._once()
            if code == ExitCode.DONE:
                return
            if self._ending:  # Slurm decides whether it starts again: it may have been canceled
                raise SystemExit(code)
            if gave_up(self._run, self._mode) is not None:
                raise JobError(f"{self._run.name}: {self._mode} ended with code {code}.")

    def _once(self) -> int:
        # Slurm sends SIGTERM to the whole process group, and main.py handles it. SIGUSR2, which announces the time
        # limit, would end main.py silently; it is handled by submitit, which calls `checkpoint`.
        announced = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        try:
            self._attempt = self._begun()
        finally:
            signal.signal(signal.SIGUSR2, announced)
        while (code := self._attempt.poll()) is None:
            time.sleep(_PAUSE)
        return code

    def _begun(self) -> Attempt:
        while True:
            try:
                return Attempt(self._run, self._mode, self._worker, self._workers, own_session=False)
            except BusyError:  # a process from before the job was requeued, about to end
                time.sleep(_PAUSE)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        """SIGTERM: Slurm ends the job, to preempt, requeue or cancel it."""
        self._ending = True

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit before the time limit: saves, ends, and returns what to submit again."""
        if self._attempt is not None:
            self._attempt.stop()
            self._attempt.process.wait()
        return DelayedSubmission(Job(self._run, self._mode, self._worker, self._workers))


def queued(runs: Sequence[Run]) -> set[str]:
    """The names of the runs that have a job in Slurm's queue. Errors: ValueError if Slurm does not respond."""
    jobs = {run.name: _submitted(run) for run in runs if _jobs(run).exists()}
    if not jobs:
        return set()
    try:
        answer = subprocess.run(
            ["squeue", "--noheader", "--array", "--me", "--format=%i %T"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        raise ValueError(f"Slurm's squeue failed ({reason}); start the sweep where sbatch works.") from error
    listed = dict(line.split() for line in answer.stdout.splitlines())
    return {name for name, ids in jobs.items() if any(listed.get(job) in _QUEUED for job in ids)}


def _jobs(run: Run) -> pathlib.Path:
    return run.own / "slurm.json"


def _submitted(run: Run) -> set[str]:
    """The ids of a run's jobs. Errors: DamagedFileError, for without them it might be submitted twice."""
    jobs = read_json(_jobs(run)).get("jobs")
    if not isinstance(jobs, list) or not all(isinstance(job, str) for job in jobs):
        raise damaged_file(_jobs(run), "lists no jobs")
    return set(jobs)


def submit(
    statuses: Sequence[Status], root: pathlib.Path, parallel: int, eval_workers: int, given: Mapping[str, Any]
) -> list[Status]:
    """Submits the waiting runs and returns them: an array that trains, `parallel` at a time, and, if there are
    `eval_workers`, for each run an array of that many jobs that evaluates it afterwards.

    `given`: parameters of submitit's SlurmExecutor, such as partition, time (minutes), gpus_per_node.
    Errors: ValueError, one sentence, for a parameter or a job that submitit or Slurm rejects.
    """
    waiting = [status for status in statuses if status.state is State.WAITING]
    try:
        executor = _executor(root, {**given, "array_parallelism": parallel})
        training = [status.run for status in waiting if status.mode == "train"]
        first = dict(zip((run.name for run in training), _array(executor, training, "train", 1), strict=True))
        for run in training:
            _note(run, [first[run.name]])
        for run in (status.run for status in waiting if eval_workers):
            job = first.get(run.name)
            after = {"dependency": f"afterok:{job}", "kill-on-invalid-dep": "yes"} if job else {}
            evaluators = _array(_executor(root, given, after), [run], "eval", eval_workers)
            _note(run, [job, *evaluators] if job else evaluators)
    except (FailedSubmissionError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise ValueError(f"Slurm rejected the sweep: {' '.join(str(error).split())}") from error
    return waiting


def _note(run: Run, jobs: Sequence[str]) -> None:
    run.own.mkdir(parents=True, exist_ok=True)
    write_json(_jobs(run), {"jobs": jobs})


def _executor(root: pathlib.Path, given: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Any:
    executor = submitit.SlurmExecutor(root.absolute() / "slurm" / "%j", max_num_timeout=_TIMEOUTS)
    imports = f"export PYTHONPATH={shlex.quote(str(PROGRAM.parent))}${{PYTHONPATH:+:$PYTHONPATH}}"
    additional = {"requeue": True, **(more or {})}
    executor.update_parameters(
        **{"job_name": root.name, **_PARAMETERS, **given}, setup=[imports], additional_parameters=additional
    )
    return executor


def _array(executor: Any, runs: Sequence[Run], mode: str, workers: int) -> list[str]:
    """Submits one array with `workers` jobs for each run; returns the job ids."""
    if not runs:
        return []
    with executor.batch():
        jobs = [executor.submit(Job(run, mode, k, workers)) for run in runs for k in range(workers)]
    return [job.job_id for job in jobs]
