"""A barrier: where the processes of a run wait for each other."""

import itertools

import jax
import orbax.checkpoint as ocp

TIMEOUT_SECONDS = 3600.0  # for a process that compiles; one that died is noticed much earlier, by its heartbeat
_COUNT = itertools.count()  # equal in all processes, as they reach the same barriers in the same order


def barrier(name: str) -> None:
    """Returns once every process of the run is here; `name` appears in JAX's messages about who is missing.

    Processes do not compile equally fast (only the first one writes JAX's cache), and a collective operation on CPUs
    gives up after 30 seconds, so they wait for each other before the first operation of a program. Uses JAX's own
    service and no device. Errors: JaxRuntimeError where a process is gone.
    """
    if jax.process_count() > 1:
        ocp.multihost.get_barrier_sync_fn()(key=f"{name} {next(_COUNT)}", timeout_ms=int(1000 * TIMEOUT_SECONDS))
