"""Operators whose singular values are computed: exact samples of ill-conditioned measurements, and what is computed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sampling.base import Sample
from sampling.inverse.methods import METHODS, MethodSettings
from sampling.inverse.operators.factored import factored, is_small
from sampling.inverse.operators.radon import radon
from sampling.inverse.operators.sense import sense, simulated_coils
from sampling.inverse.operators.sense_lines import by_rows
from sampling.inverse.operators.weighted import Weighted
from sde.vp import VP
from tests.support.operators import products
from tests.support.oracles import Gaussian
from tests.support.tracing import CountingJit

SHAPE, RNG, SDE = (4, 4, 1), np.random.default_rng(0), VP()
NUM = 12
U, V = (np.linalg.qr(RNG.normal(size=(side, NUM)))[0] for side in (14, 16))
ILL = products(SHAPE, (U * np.logspace(0, -3, NUM) @ V.T).astype(np.float32))  # ten iterations find one end of it
METHODS_THAT_SOLVE = ("projection", "ddnm", "pigdm")


def test_an_ill_conditioned_measurement_without_noise_is_met_exactly():
    """x0 <- x0 + A^+ (y - A x0) in double precision, where ten conjugate gradients miss y by a thousandth."""
    truth, x = RNG.normal(size=(2, 1, *SHAPE)).astype(np.float32)
    y, t = ILL.measure(jnp.asarray(truth)), jnp.full((1,), 0.1)
    predict = Gaussian(np.zeros(16), np.eye(16)).predict(SDE)  # for which DDNM and Pi-GDM are exact

    @CountingJit
    def corrected(operator, y, x):
        parts = {name: METHODS[name](SDE, operator, y, 0.0, MethodSettings()) for name in METHODS_THAT_SOLVE}
        projected = parts.pop("projection").constrain(jax.random.key(0)[None], Sample(x, x), jnp.zeros(1)).mean
        return {"projection": projected} | {k: part.wrap_predict(predict)(x, t).x0 for k, part in parts.items()}

    before = {"projection": x} | dict.fromkeys(("ddnm", "pigdm"), np.asarray(predict(jnp.asarray(x), t).x0))
    approximate, exact = (corrected(A, y, x) for A in (ILL, factored(ILL)))
    for name, x0 in before.items():
        exact_error, error = (np.abs(ILL.measure(found[name]) - y).max() for found in (exact, approximate))
        assert exact_error < 1e-6 < 1e-4 < error
        closed_form = x0 + (V @ V.T @ (truth - x0).reshape(16)).reshape(x0.shape)
        np.testing.assert_allclose(exact[name], closed_form, atol=1e-3)  # float32 / 1e-3, the smallest singular value


def test_an_equal_operator_is_not_decomposed_again():
    first, again, other = (factored(radon((4, 4, 1), angles)) for angles in ([0.0, 1.0], [0.0, 1.0], [0.0, 0.3]))
    assert again is first and other is not first
    lines = np.eye(4)[:1, :, None]
    first, again = (by_rows(sense((4, 4, 1), simulated_coils((4, 4), 2), lines)) for _ in range(2))
    assert again is first


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weights:
    """y = weights x, with weights that broadcast against the image."""

    weights: jax.Array
    shape: tuple[int, ...] = dataclasses.field(default=SHAPE, metadata={"static": True})
    measurement_shape: tuple[int, ...] = dataclasses.field(default=SHAPE, metadata={"static": True})

    def measure(self, x):
        return self.weights[None] * x

    adjoint = measure


def test_equal_numbers_of_another_shape_are_another_operator():
    column, x = np.arange(1, 5, dtype=np.int32).reshape(4, 1, 1), RNG.normal(size=(1, *SHAPE)).astype(np.float32)
    for weights in (column, column.reshape(1, 4, 1)):
        operator = Weights(jnp.asarray(weights))
        found = factored(operator)
        y = found.from_spectrum(found.singular_values * found.to_basis(x))
        np.testing.assert_allclose(y, operator.measure(x), rtol=1e-5, atol=1e-5)


def test_only_small_operators_that_are_the_same_for_all_examples_are_decomposed():
    sums = radon((4, 4, 1), [0.0, 1.0])
    assert is_small(sums) and not is_small(Weighted(sums, jnp.ones((2, 2, 4, 1))))
    for num, small in ((1280, True), (2100, False)):
        assert is_small(products((64, 64, 1), np.broadcast_to(np.float32(1), (num, 4096)))) == small
