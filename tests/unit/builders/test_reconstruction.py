"""What the task reconstruct measures: every row, a user's own operator, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import inverse
from builders.reconstruction import RECONSTRUCTIONS, coil_maps, known_frequencies
from configs.vp import smoke
from core.arrays import Array
from sampling.inverse.operators.base import inner, is_complex
from sampling.inverse.operators.sense import simulated_coils

SHAPES = {2: (8, 2), 3: (8, 4, 2), 4: (4, 8, 4, 2)}
HERE = "tests.unit.builders.test_reconstruction"


def config_of(**restore):
    config = smoke.get_config()
    config.restore.update(pattern="random_lines", coil_maps="simulated:3", num_views=3)
    config.restore.update(restore)
    return config


@pytest.mark.parametrize(
    ("name", "rank"), [(name, rank) for name, row in RECONSTRUCTIONS.items() for rank in row.ranks]
)
def test_every_row_measures_examples_of_all_its_ranks(name, rank):
    config, shape = config_of(operator=name), SHAPES[rank]
    entry = inverse.entry(config, "reconstruct")
    known = inverse.default_mask(config, "reconstruct", shape)[None]
    found = inverse.operator(config, "reconstruct", shape, known)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)
    Ax = found.measure(x)
    y = jnp.asarray(rng.normal(size=Ax.shape) + (1j * rng.normal(size=Ax.shape) if is_complex(found) else 0), Ax.dtype)
    assert tuple(found.shape) == shape and Ax.shape == (2, *found.measurement_shape)
    np.testing.assert_allclose(inner(Ax, y), inner(x, found.adjoint(y)), rtol=1e-4, atol=1e-4)  # sums of 256 products
    assert entry.baseline.restore(np.asarray(entry.as_data(found, Ax)), known, shape).shape == x.shape


def test_measurements_are_in_the_units_of_the_data():
    """x = 2 data - 1 for the network: (A data - A offset) width = A x, for data in [0, 1] and for floats."""
    rng, shape = np.random.default_rng(0), (8, 8, 1)
    data = jnp.asarray(rng.random((2, *shape)), jnp.float32)
    for name in ("fourier", "radon"):
        config = config_of(operator=name)
        config.data.centered = True
        operator = inverse.operator(config, "reconstruct", shape, inverse.default_mask(config, "reconstruct", shape))
        found = inverse.for_network(config, 256, operator, operator.measure(data))
        np.testing.assert_allclose(found, operator.measure(2 * data - 1), atol=2e-5)  # sums of 8 numbers in float32
        config.data.update(offset=0.5, scale=4.0)
        found = inverse.for_network(config, 0, operator, operator.measure(data))
        np.testing.assert_allclose(found, operator.measure((data - 0.5) / 4), atol=2e-5)


def test_the_pattern_and_its_share_are_those_of_the_config():
    lines = known_frequencies(config_of(kept=0.25, center=0.1), (16, 64, 1))
    assert lines.mean() == 0.25 and (lines == lines[:1]).all()
    columns = known_frequencies(config_of(pattern="columns", kept=0.25), (16, 64, 1))
    assert 0.2 < columns.mean() < 0.5
    with pytest.raises(ValueError, match="config.restore.pattern = 'radail' is not known; .*nearest: radial"):
        known_frequencies(config_of(pattern="radail"), (16, 64, 1))


def test_coil_maps_are_read_from_a_file_or_simulated(tmp_path):
    np.save(tmp_path / "maps.npy", simulated_coils((8, 4), 3))
    read = coil_maps(config_of(coil_maps=str(tmp_path / "maps.npy")), (8, 4, 2))
    np.testing.assert_array_equal(read, coil_maps(config_of(), (8, 4, 2)))
    np.testing.assert_allclose(np.sum(np.abs(read) ** 2, -1), 1, rtol=1e-5)
    for sides in ((8,), (4, 8, 4)):
        maps = simulated_coils(sides, 4)
        assert maps.shape == (*sides, 4) and np.isfinite(maps).all()
        assert np.abs(np.abs(maps).argmax(-1)).max() > 0  # not the same coil everywhere


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Total:
    """The sum of all entries, times `factor` in the adjoint."""

    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    factor: float = dataclasses.field(metadata={"static": True}, default=1.0)
    measurement_shape = (1,)

    def measure(self, x: Array) -> Array:
        return x.reshape(len(x), -1).sum(1, keepdims=True)

    def adjoint(self, y: Array) -> Array:
        return jnp.broadcast_to(self.factor * y.reshape(-1, 1, 1, 1), (len(y), *self.shape))


def total(shape):
    return Total(shape)


def with_a_wrong_adjoint(shape):
    return Total(shape, 2.0)


def of_another_shape(shape):
    return Total((2, 2, 1))


class Unregistered:
    shape, measurement_shape = (4, 4, 1), (16,)
    measure = adjoint = staticmethod(jnp.asarray)


def of_no_pytree(shape):
    return Unregistered()


def without_parts(shape):
    return shape


def test_an_operator_of_a_users_own_is_named_by_its_path():
    config = config_of(operator=f"{HERE}:total")
    operator = inverse.operator(config, "reconstruct", (4, 4, 1), None)
    x = jnp.ones((1, 4, 4, 1))
    assert float(operator.measure(x)[0, 0]) == 16
    entry = inverse.entry(config, "reconstruct")
    np.testing.assert_allclose(entry.as_data(operator, operator.measure(x)), x, rtol=1e-3)  # constant: in its row space


@pytest.mark.parametrize(
    ("restore", "shape", "message"),
    [
        ({"operator": "foureir"}, (8, 8, 1), "config.restore.operator = 'foureir' is not known; .*nearest: fourier"),
        (
            {"operator": "complex_fourier"},
            (8, 8, 1),
            r"two channels, .*, but the shape is \(8, 8, 1\); use the operator",
        ),
        ({"operator": "radon"}, (8, 2), r"--task=reconstruct is for images .*; use inpaint"),
        (
            {"operator": "sense", "coil_maps": None},
            (8, 8, 2),
            "needs the sensitivities of the coils; give an .npy file",
        ),
        ({"operator": "sense", "coil_maps": "simulated:no"}, (8, 8, 2), "followed by a number of coils"),
        ({"operator": "sense", "coil_maps": "none.npy"}, (8, 8, 2), "none.npy cannot be read as an array"),
        ({"operator": "sense", "coil_maps": "{tmp}/real.npy"}, (8, 8, 2), "float64, but complex sensitivities are"),
        (
            {"operator": "sense", "coil_maps": "{tmp}/small.npy"},
            (8, 8, 2),
            r"maps have shape \(4, 4, 2\), but examples",
        ),
        ({"operator": "fourier", "kept": 2.0}, (8, 8, 1), "kept = 2 and center = 0.08, but both are shares"),
        ({"operator": f"{HERE}:with_a_wrong_adjoint"}, (4, 4, 1), "has an `adjoint` that is not that of `measure`"),
        ({"operator": f"{HERE}:of_another_shape"}, (4, 4, 1), r"measures \(2, 2, 1\), but examples have the shape"),
        ({"operator": f"{HERE}:without_parts"}, (4, 4, 1), "makes a tuple without shape and measurement_shape"),
        (
            {"operator": f"{HERE}:of_no_pytree"},
            (4, 4, 1),
            "makes a Unregistered that is not a pytree, .*; decorate the",
        ),
        ({"operator": f"{HERE}:missing"}, (4, 4, 1), "has no function missing"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(restore, shape, message, tmp_path):
    np.save(tmp_path / "real.npy", np.ones((8, 8, 2)))
    np.save(tmp_path / "small.npy", np.ones((4, 4, 2), np.complex64))
    given = {key: value.format(tmp=tmp_path) if isinstance(value, str) else value for key, value in restore.items()}
    config = config_of(**given)
    with pytest.raises(ValueError, match=message) as error:
        inverse.check_rank(config, "reconstruct", shape)
        known = inverse.default_mask(config, "reconstruct", shape)
        inverse.operator(config, "reconstruct", shape, known[None])
    assert "\n" not in str(error.value)
