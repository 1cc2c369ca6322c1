"""Auto-encoders of a user's own, for tests: half the resolution of images in [-1, 1], and some that are wrong."""

import jax.numpy as jnp


class Halves:
    """Every second pixel, and each of them twice."""

    code_shape = (4, 4, 3)

    def encode(self, x):
        return x[:, ::2, ::2]

    def decode(self, z):
        return jnp.repeat(jnp.repeat(z, 2, axis=1), 2, axis=2)


class Wrong(Halves):
    """It says another shape than its codes have."""

    code_shape = (4, 4, 1)


def halves():
    return Halves()


def wrong():
    return Wrong()


def nothing():
    return object()


def sums(x):
    """Features for a loss: sums of the columns."""
    return {"features": x.sum(axis=1).reshape(len(x), -1)}


def not_features(x):
    return {"other": x}
