"""Joining the other processes of a run."""

import faulthandler
import logging

import jax

from core.errors import PeerError
from core.text import first_line

# What collective operations and JAX's coordination service report when a process does not respond.
_NO_RESPONSE = ("Gloo", "gloo/", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "Connection ", "Barrier failed")


def connect(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    *,
    detect: bool = False,
    timeout_seconds: int = 100,
) -> None:
    """Joins the other processes of a run, if the arguments describe any; only the first process logs.

    detect: let JAX find the cluster (Slurm, Open MPI, Kubernetes, TPU). timeout_seconds: a process that is silent for
    longer counts as gone. Errors: ValueError for inconsistent arguments, PeerError if the others do not join.
    """
    given = (coordinator, num_processes, process_id)
    if given == (None, None, None) and not detect:
        return
    if not detect and None in given:
        raise ValueError(
            "--coordinator, --num_processes and --process_id go together; give all three, or --distributed where JAX "
            "can find them."
        )
    # JAX aborts a process whose peers are gone, from a thread of its own. Printing the stacks of the other threads
    # while they run may then end in a segmentation fault, with another exit code.
    faulthandler.disable()
    jax.config.update("jax_enable_preemption_service", False)  # it would handle SIGTERM in place of `StopRequest`
    try:
        jax.distributed.initialize(
            *given,
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=timeout_seconds,
            shutdown_timeout_seconds=timeout_seconds,
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
            f"The processes of this run did not meet within {timeout_seconds} s ({reason}); start all of them, with "
            "one --coordinator that all can reach."
        ) from error
    if jax.process_index() != 0:
        logging.getLogger().setLevel(logging.WARNING)


def peer_gone(error: Exception) -> PeerError | None:
    """The error for another process of this run that does not respond; None for any other `error`."""
    if jax.process_count() == 1 or not any(word in str(error) for word in _NO_RESPONSE):
        return None
    return PeerError(
        f"Another process of this run is gone, or cannot be reached ({first_line(error)}); "
        "start all of them again: the run resumes from its newest checkpoint."
    )
