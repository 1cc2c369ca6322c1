"""Networks of a user's own, for tests that name them by their import path."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

LINEN, NNX, NORMALIZED = (f"tests.support.own_networks:{name}" for name in ("Linen", "Nnx", "normalized"))


class Linen(nn.Module):
    """A dense layer of x and time; a field that is no setting has a default."""

    nf: int
    num_channels: int
    slope: float = 0.1

    capabilities = {"ranks": (1,)}  # noqa: RUF012

    @nn.compact
    def __call__(self, x, time, cond=None, *, train=False):
        h = nn.leaky_relu(nn.Dense(self.nf)(jnp.concatenate([x, time[:, None] / 1000], axis=-1)), self.slope)
        return nn.Dense(self.num_channels)(h)


@jax.custom_vjp
def backward_only(h):
    """h, with a derivative in reverse mode alone."""
    return h


backward_only.defvjp(lambda h: (h, None), lambda _, g: (g,))


class Untaught(nn.Module):
    """A network that cannot be differentiated in forward mode."""

    capabilities = {"ranks": (1,), "second_time": True}  # noqa: RUF012

    @nn.compact
    def __call__(self, x, time, cond=None, *, train=False):
        return nn.Dense(x.shape[-1])(backward_only(x))


class Nnx(nnx.Module):
    """The same with three layers and dropout."""

    def __init__(self, nf, num_channels, *, rngs):
        self.layers = nnx.List([nnx.Linear(num_channels + 1, nf, rngs=rngs), nnx.Linear(nf, nf, rngs=rngs)])
        self.dropout, self.out = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(nf, num_channels, rngs=rngs)

    def __call__(self, x, time):
        h = jnp.concatenate([x, time[:, None] / 1000], axis=-1)
        for layer in self.layers:
            h = self.dropout(nnx.swish(layer(h)))
        return self.out(h)


def normalized(nf, num_channels, rngs):
    """A network with running statistics."""
    return nnx.Sequential(nnx.Linear(num_channels, nf, rngs=rngs), nnx.BatchNorm(nf, rngs=rngs))


def narrow(rngs):
    """A network whose output does not have the shape of its input."""
    return nnx.Sequential(lambda x, time: x[:, :3])


class Counting(nn.Module):
    """A Linen module with a collection of its own."""

    @nn.compact
    def __call__(self, x, time, cond=None, *, train=False):
        self.variable("counts", "calls", jnp.zeros, ())
        return nn.Dense(x.shape[-1])(x)


def needs_more(nf, depth):
    """`depth` is not a setting."""


def nothing(nf):
    """Makes no network."""
    return nf


nothing.capabilities = {"colour": True}
