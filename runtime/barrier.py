"""The other processes of a run, and where all of them wait for each other."""

import itertools

import jax
import orbax.checkpoint as ocp

PATIENCE_SECONDS = 3600.0  # for one that compiles; one that is gone is noticed much earlier, by its missing heartbeat
_OCCASIONS = itertools.count()  # the same in all processes, as they barrier in the same order


def barrier(name: str) -> None:
    """Returns once every process of the run is here; `name` is for those who look why it waits.

    Processes do not compile equally fast (only the first writes JAX's cache), and a collective operation on CPUs gives
    up after 30 seconds; so they barrier before the first operation of a program. Needs no device: JAX's own service.
    Errors: JaxRuntimeError where a process is gone.
    """
    if jax.process_count() > 1:
        ocp.multihost.get_barrier_sync_fn()(key=f"{name} {next(_OCCASIONS)}", timeout_ms=int(1000 * PATIENCE_SECONDS))
