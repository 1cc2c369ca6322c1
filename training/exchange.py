"""One exchange of gradients per step: devices first sum those of their own rows, over all parts of a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from core.arrays import Array
from runtime.devices import Devices
from training.objectives.base import Aux, Batch, Params, Variables

Value = tuple[tuple[Array, Aux], Params]  # ((loss, (metrics, collections)), gradients)
Gradients = Callable[[Variables, Array, Batch, Array], Value]  # (variables, key, batch, step) -> value


def unchanged(params: Params) -> Params:
    """Parameters that are used in their own type."""
    return params


@dataclasses.dataclass(frozen=True)
class Exchange:
    """How devices that compute gradients on rows of their own exchange them: a reduce-scatter of sharded parameters,
    and an all-reduce of the others.

    working: parameters in the types that they are used in; they are gathered in these. dtype: in which gradients are
    summed over devices; None: that of `working`. Each device holds all working parameters and the sum of their
    gradients in float32. Source: Zhao et al., "PyTorch FSDP", 2023 (`no_sync`, `reduce_dtype`).
    """

    devices: Devices
    working: Callable[[Params], Params] = unchanged
    dtype: Any | None = None

    def sum_over_devices(self, sums: Gradients) -> Gradients:
        """`sums`, of all rows of a batch, from those that it returns for the rows of each device."""
        mesh, everywhere = self.devices.mesh, PartitionSpec()

        def summed(variables: Variables, key: Array, batch: Batch, step: Array) -> Value:
            params = variables["params"]
            working = self.devices.gather_params(self.working(params))
            where = jax.tree.map(lambda sharding: sharding.spec, self.devices.state_shardings(params))

            def of_device(working: Params, variables: Variables, key: Array, batch: Batch, step: Array) -> Value:
                total, gradients = sums({**variables, "params": working}, key, batch, step)
                return jax.lax.psum(total, mesh.axis_names), jax.tree.map(
                    lambda g, w, p, spec: self._summed(g.astype(self.dtype or w.dtype), spec).astype(p.dtype),
                    gradients, working, params, where,
                )  # fmt: skip

            others = {name: value for name, value in variables.items() if name != "params"}
            given = (everywhere, everywhere, everywhere, self.devices.batch_sharding.spec, everywhere)
            of_devices = jax.shard_map(
                of_device, mesh=mesh, in_specs=given, out_specs=(everywhere, where), check_vma=False
            )
            return of_devices(working, others, key, batch, step)

        return summed

    def _summed(self, gradient: Array, spec: PartitionSpec) -> Array:
        """The device's shard of the sum over devices."""
        left = set(self.devices.mesh.axis_names)
        for axis, names in enumerate(spec):
            if names:
                gradient = jax.lax.psum_scatter(gradient, names, scatter_dimension=axis, tiled=True)
                left -= {names} if isinstance(names, str) else set(names)
        return jax.lax.psum(gradient, tuple(name for name in self.devices.mesh.axis_names if name in left))
