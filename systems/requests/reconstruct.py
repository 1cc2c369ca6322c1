"""Reconstructions of given examples by a tokenizer: the task reconstruct of the program sample."""

import functools
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from evaluation.metrics.psnr import psnr_db
from systems.requests.base import Input, RequestTask, SampleFn, SampleResult, batch_size, images, in_batches
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has a table of its tasks
    from systems.tokenizer import TokenizerSystem


def reconstructing(system: "TokenizerSystem", request: Input) -> SampleFn:
    """Pairs of each example and its reconstruction, and its code. Errors: ValueError for input that does not fit."""
    return functools.partial(_reconstructed, system, *images(system, request))


def _reconstructed(
    system: "TokenizerSystem", names: list[str], values: np.ndarray, variables: Variables, number: int
) -> SampleResult:
    def compute(rows: np.ndarray) -> dict[str, Array]:
        x = system.devices.shard_rows(jnp.asarray(values[rows]))
        codes, found = system.codes(variables, x), system.reconstructed(variables, x)
        units = {"truth": system.to_unit(system.to_model(x)), "unit": system.to_unit(found)}
        return {"codes": codes, "found": system.to_data(found), **units, "num_evals": jnp.int32(1)}

    found = in_batches(compute, len(values), batch_size(system, len(values)))
    cells = np.stack([values, found["found"]], axis=1).reshape(-1, *system.spec.shape)
    psnr = psnr_db(found["unit"], found["truth"], None if system.spec.num_levels else float(np.ptp(values)))
    figures = {"names": names, "psnr_db": psnr, "psnr_db_over_examples": float(psnr.mean())}
    return SampleResult(system.picture(cells, 16), {"arr_0": found["found"], "codes": found["codes"]}, figures)


RECONSTRUCT = RequestTask(Input, reconstructing)
