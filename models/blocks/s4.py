"""A diagonal state-space layer along the time axis of series (S4D), as a long convolution or as a recurrence."""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from core.arrays import Array
from models.blocks.convolution import over_space


class Modes(NamedTuple):
    """A diagonal linear system of N complex modes for each of H channels, in discrete time; arrays [H, N].

    state_t = exp(rate) state_(t-1) + u_t,    y_t = 2 Re sum_n weight_n state_(t, n)
    """

    rate: Array
    weight: Array


def discretized(log_decay: Array, frequency: Array, log_step: Array, weight: Array) -> Modes:
    """The system x' = A x + u, y = 2 Re(C x), A = -exp(log_decay) + i frequency, held constant over steps of time.

        rate = A step,    weight = C (exp(A step) - 1) / A

    log_decay, frequency, weight: [H, N]; log_step: [H]. Source: Gu et al., "On the Parameterization and Initialization
    of Diagonal State Space Models", NeurIPS 2022, section 3, with the zero-order hold.
    """
    A = jax.lax.complex(-jnp.exp(log_decay), frequency)
    rate = A * jnp.exp(log_step)[:, None]
    return Modes(rate, weight * jnp.expm1(rate) / A)


def kernel(modes: Modes, length: int) -> Array:
    """The response to an impulse at time 0: `K_l = 2 Re sum_n weight_n exp(rate_n l)`, [H, length], float32.

    With l = i size + j, exp(rate l) = exp(rate size i) exp(rate j): a matrix product of about 2 sqrt(length) powers.
    """
    size = math.isqrt(length - 1) + 1
    count = -(-length // size)
    coarse, fine = (
        jnp.exp(modes.rate[..., None] * (step * jnp.arange(num, dtype=jnp.float32))[None, None])
        for num, step in ((count, size), (size, 1))
    )
    products = jnp.einsum("hni,hnj->hij", modes.weight[..., None] * coarse, fine, precision="highest")
    return 2 * products.real.reshape(-1, count * size)[:, :length]


def convolve(u: Array, modes: tuple[Modes, Modes]) -> Array:
    """Both directions of a system, for u [B, L, H] of any length, by FFT: [B, L, H].

    y_t = sum_(s <= t) K_(t-s) u_s + sum_(s > t) K'_(s-t-1) u_s

    K, K': kernels of the two `modes`, which together are one circular kernel of length 2 L.
    """
    L = u.shape[1]
    forward, backward = (kernel(each, L) for each in modes)
    circular = jnp.concatenate([forward, backward[:, ::-1]], axis=-1)
    transformed = jnp.fft.rfft(u, 2 * L, axis=1) * jnp.fft.rfft(circular, axis=-1).T[None]
    return jnp.fft.irfft(transformed, 2 * L, axis=1)[:, :L].astype(u.dtype)


def recur(u: Array, modes: tuple[Modes, Modes]) -> Array:
    """The same as `convolve`, one time after the other: L steps with a state of N numbers for each channel."""

    def causal(u: Array, modes: Modes) -> Array:
        def step(state: Array, u_t: Array) -> tuple[Array, Array]:
            state = jnp.exp(modes.rate)[None] * state + u_t[..., None]
            return state, 2 * jnp.sum(modes.weight[None] * state, axis=-1).real

        start = jnp.zeros((u.shape[0], *modes.rate.shape), modes.rate.dtype)
        return jnp.moveaxis(jax.lax.scan(step, start, jnp.moveaxis(u, 1, 0))[1], 0, 1)

    later = jnp.pad(u, ((0, 0), (0, 1), (0, 0)))[:, 1:]  # strictly after each time
    return causal(u, modes[0]) + causal(later[:, ::-1], modes[1])[:, ::-1]


class S4D(nn.Module):
    """A bidirectional diagonal state-space layer: u [B, L, H] to [B, L, H], of any length L.

    y = convolution of u with the kernels of both directions + D u

    num_modes: complex modes per channel, half of the published `d_state`. recurrent: compute it by `recur`. step_min,
    step_max: the range of the time steps at initialization, log-uniform over the channels; the lengths that a channel
    remembers are about 2 / step. Computes in float32 in any case. A = -1/2 + i pi n at initialization.
    Source: Gu et al. 2022 (see `discretized`), "S4D-Lin"; both directions as in Goel et al., "It's Raw!
    Audio Generation with State-Space Models", ICML 2022.
    """

    num_modes: int = 64
    recurrent: bool = False
    step_min: float = 1e-3
    step_max: float = 1e-1

    @nn.compact
    def __call__(self, u: Array) -> Array:
        H, N = u.shape[-1], self.num_modes
        modes = self._modes("forward", H, N), self._modes("backward", H, N)
        D = self.param("D", nn.initializers.normal(1.0), (H,))
        x = u.astype(jnp.float32)
        return ((recur if self.recurrent else convolve)(x, modes) + over_space(D[None], x) * x).astype(u.dtype)

    def _modes(self, name: str, H: int, N: int) -> Modes:
        """The parameters of one direction."""

        def log_uniform(key: Array, shape: tuple[int, ...]) -> Array:
            low, high = math.log(self.step_min), math.log(self.step_max)
            return jax.random.uniform(key, shape, minval=low, maxval=high)

        def harmonics(key: Array, shape: tuple[int, ...]) -> Array:
            return jnp.broadcast_to(math.pi * jnp.arange(N, dtype=jnp.float32), shape)

        def part(part: str, initializer: Any, *shape: int) -> Array:
            return self.param(f"{name}_{part}", initializer, shape)

        log_decay = part("log_decay", nn.initializers.constant(math.log(0.5)), H, N)
        frequency, log_step = part("frequency", harmonics, H, N), part("log_step", log_uniform, H)
        C = part("readout", nn.initializers.normal(0.5**0.5), H, N, 2)
        return discretized(log_decay, frequency, log_step, jax.lax.complex(C[..., 0], C[..., 1]))
