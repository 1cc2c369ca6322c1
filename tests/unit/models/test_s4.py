"""The state-space layer: both of its forms, its kernel, its receptive field; and the network of series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.network import make_network
from models.blocks.s4 import S4D, convolve, discretized, kernel
from models.networks.s4_residual import S4Residual
from tests.support.networks import config_of, image, params_of

LAYER = S4D(num_modes=8)


@pytest.fixture(scope="module")
def params():
    return jax.jit(LAYER.init)(jax.random.key(0), jnp.zeros((1, 2, 3)))


@pytest.mark.parametrize("length", [1, 2, 7, 128, 1000, 4096])
def test_the_convolution_equals_the_recurrence_and_so_do_their_gradients(params, length):
    u, weight = image((2, length, 3)), image((2, length, 3), seed=1)

    def values_and_gradients(recurrent):
        layer = S4D(num_modes=8, recurrent=recurrent)

        def loss(params, u):
            y = layer.apply(params, u)
            return jnp.vdot(weight, y) / length**0.5, y

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, u)

    convolved, recurred = values_and_gradients(False), values_and_gradients(True)
    for a, b in zip(jax.tree.leaves(convolved), jax.tree.leaves(recurred), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * max(1.0, float(jnp.abs(b).max())))


@pytest.mark.parametrize("length", [1, 5, 64, 65])
def test_the_kernel_is_the_response_of_the_continuous_system_held_over_steps(length):
    """By the matrix exponential of each mode, in double precision: integrals of exp(A s) over each step."""
    rng = np.random.default_rng(0)
    log_decay, frequency, log_step = rng.normal(size=(2, 4)), rng.normal(size=(2, 4)) * 9, rng.normal(size=2) - 3
    C = rng.normal(size=(2, 4)) + 1j * rng.normal(size=(2, 4))
    A, step = (-np.exp(log_decay) + 1j * frequency)[..., None], np.exp(log_step)[:, None, None]
    time = np.arange(length)
    expected = 2 * (C[..., None] * (np.exp(A * step * (time + 1)) - np.exp(A * step * time)) / A).sum(1).real
    arguments = (log_decay, frequency, log_step)
    modes = discretized(*(jnp.asarray(a, jnp.float32) for a in arguments), jnp.asarray(C, jnp.complex64))
    np.testing.assert_allclose(kernel(modes, length), expected, atol=1e-5 * np.abs(expected).max())


def test_every_output_depends_on_every_input_of_both_directions(params):
    """The derivative of y at t by u at s is D at s = t and a kernel of the distance elsewhere."""
    jacobian = jax.jit(jax.jacobian(lambda u: LAYER.apply(params, u[None, :, None].repeat(3, 2))[0, :, 0]))(
        jnp.zeros(16)
    )
    assert (np.abs(jacobian) > 1e-6).all()
    for offset in range(-15, 16):
        diagonal = np.diagonal(jacobian, offset)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-6)
    assert abs(jacobian[0, 3] - jacobian[3, 0]) > 1e-4  # the directions have parameters of their own


def test_a_convolution_does_not_wrap_around(params):
    layer = params["params"]
    modes = [
        discretized(
            *(layer[f"{name}_{part}"] for part in ("log_decay", "frequency", "log_step")),
            layer[f"{name}_readout"][..., 0] + 1j * layer[f"{name}_readout"][..., 1],
        )
        for name in ("forward", "backward")
    ]
    u = jnp.zeros((1, 9, 3)).at[0, 8].set(1.0)
    np.testing.assert_allclose(convolve(u, (modes[0], modes[0]))[0, 8], kernel(modes[0], 9)[:, 0], atol=1e-6)
    np.testing.assert_allclose(convolve(u, modes)[0, 7::-1], kernel(modes[1], 8).T, atol=1e-6)


def test_one_network_takes_series_of_any_length_and_mixes_channels():
    network = S4Residual(nf=4, num_res_blocks=2, state_size=4, num_channels=2, init_scale=1.0)
    time = jnp.array([3.0, 700.0])
    params = jax.jit(network.init)(jax.random.key(0), image((2, 6, 2)), time)
    for length in (1, 6, 11):
        x = image((2, length, 2))
        out = jax.jit(network.apply)(params, x, time)
        assert out.shape == x.shape and np.isfinite(out).all()
        other = jax.jit(network.apply)(params, x.at[:, 0, 1].add(1.0), time)
        assert (np.abs(other - out)[..., 0] > 1e-7).all()


def test_the_time_reaches_the_network_and_bfloat16_computes_its_modes_in_float32():
    config = config_of("s4_residual", dtype="bfloat16", init_scale=1.0)
    network, params = make_network(config), {"params": params_of(config)}
    x = image((2, 64, 1))
    out = [jax.jit(network.apply)(params, x, jnp.full((2,), t)) for t in (3.0, 700.0)]
    assert out[0].dtype == jnp.float32 and np.abs(out[0] - out[1]).max() > 1e-2


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="config.model.state_size = 5 must be even.*use 6"):
        make_network(config_of("s4_residual", state_size=5))
    with pytest.raises(ValueError, match=r"expected \[B, L, 1\]"):
        S4Residual(state_size=4).init(jax.random.key(0), jnp.zeros((1, 4, 2)), jnp.ones(1))
    config = config_of("s4_residual")
    config.data.shape = (5,)
    with pytest.raises(ValueError, match=r"'s4_residual' is for series \(L, C\), but"):
        make_network(config)
