"""What JAX says of other processes and of the memory of devices, in one sentence."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator

import jax

from core.errors import RunError
from programs.run import Run
from runtime.distributed import peer_gone

MEMORY_PROFILE = "memory.prof"  # in the workdir, for `pprof`


@dataclasses.dataclass
class Memory:
    """The memory that training needs, once it is known."""

    bytes: int = 0


@contextlib.contextmanager
def explaining(run: Run) -> Iterator[Memory]:
    """Turns what JAX says of other processes and of the devices into one sentence. Errors: PeerError, RunError.

    Where a device has no memory left, what fills it is written to `MEMORY_PROFILE`.
    """
    memory = Memory()
    try:
        yield memory
    except RunError:
        raise
    except (RuntimeError, ValueError) as error:
        explained = _explained(error, run, memory.bytes)
        if explained is None:
            raise
        raise explained from error


def _explained(error: Exception, run: Run, memory_bytes: int) -> RunError | None:
    """The error for another process that is gone, or a device without memory; None for any other `error`."""
    if (gone := peer_gone(error)) is not None:
        return gone
    message = str(error)
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in message:
        _profile_memory(run)
        return RunError(
            f"The device ran out of memory (a training step of {run.config.training.batch_size} images on "
            f"{run.devices.count} device(s) needs about {memory_bytes / 2**20:.0f} MiB of each); "
            "set config.model.remat, raise config.training.grad_accumulation, lower config.training.batch_size, "
            "config.training.snapshot_num_samples or config.model.nf, or use more devices, and start again."
        )
    return None


def _profile_memory(run: Run) -> None:
    """Writes which arrays fill the devices, and where they were made."""
    path = run.workdir / MEMORY_PROFILE
    try:
        jax.profiler.save_device_memory_profile(str(path))
    except (OSError, RuntimeError, ValueError) as error:  # the error that ended the run is the one to report
        logging.warning("the memory of the devices could not be profiled (%s)", str(error).splitlines()[:1])
    else:
        logging.info("what fills the memory of the devices -> %s (for `pprof -web`)", path)
