"""Complex examples as real ones: two channels, the real and the imaginary part, for each complex number."""

import jax.numpy as jnp

from core.arrays import Array


def to_complex(x: Array) -> Array:
    """Complex z [..., C] from real x [..., 2 C], whose channels 2 k and 2 k + 1 are Re z_k and Im z_k."""
    return x[..., 0::2] + 1j * x[..., 1::2]


def to_channels(z: Array) -> Array:
    """The inverse of `to_complex`: real x [..., 2 C] from complex z [..., C]."""
    return jnp.stack([z.real, z.imag], axis=-1).reshape(*z.shape[:-1], 2 * z.shape[-1])
