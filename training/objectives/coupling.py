"""Which noise belongs to which example of a training batch."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from core.arrays import Array

Couple = Callable[[Array, Array], Array]  # (x0 [B, ...], noise [B, ...]) -> the noise in another order [B, ...]


def optimal_transport(x0: Array, z: Array) -> Array:
    """The noise z [B, ...], reordered so that the sum of |x0_i - z_i|^2 over the batch is as small as possible.

    Paths of different examples then cross less, and the velocity that they average to is straighter. Each marginal
    stays as it is, the joint distribution does not: the noise is no longer independent of the data, so that
    -noise / std is not the score; what remains true for every coupling is the ODE with the velocity noise - x0.
    Source: Tong et al., "Improving and Generalizing Flow-Based Generative Models", TMLR 2024, section 3.2.4; Pooladian
    et al., ICML 2023.
    """
    size = len(x0)
    cost = -jnp.matmul(x0.reshape(size, -1), z.reshape(size, -1).T, precision="highest")  # |x0_i|^2, |z_j|^2: the same
    rows, columns = optax.assignment.hungarian_algorithm(cost)
    return jnp.zeros_like(z).at[rows].set(z[columns])
