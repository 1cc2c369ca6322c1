"""Starts at training examples with noise: the transport map, where samples start, and what few steps make of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import starts
from evaluation.metrics.base import SplitFeatures
from evaluation.metrics.novelty import from_distances, novelty
from sampling import grids
from sampling.inverse.classical import principal_components
from sampling.starts.gaussian import GaussianData
from sampling.starts.noised_data import NoisedData, noised
from sampling.starts.optimal_transport import OptimalTransport, centers, fit, masses
from sde.chain import ddpm_chain
from sde.ve import VE
from sde.vp import VP

KEY = jax.random.key(0)
NUM_TARGETS, NUM = 256, 8000


@pytest.fixture(scope="module")
def train():
    return starts.ring_data(NUM_TARGETS, 1)


@pytest.fixture(scope="module")
def far(train):
    """Both starts with as much noise as three standard deviations of a mode."""
    return starts.places(train, 0.3, 1000)


def test_cells_of_equal_mass_in_one_dimension_end_at_the_quantiles():
    y = np.sort(np.random.default_rng(1).normal(size=12)).astype(np.float32)[:, None]
    cells = fit(KEY, jnp.asarray(y), num_steps=500)
    thresholds = -np.diff(cells.potential) / np.diff(y[:, 0])  # where <z, y_i> + h_i = <z, y_i+1> + h_i+1
    np.testing.assert_allclose(thresholds, norm.ppf(np.arange(1, 12) / 12), atol=0.02)
    assert cells.mass_error < 0.05


def test_cells_in_the_plane_have_equal_mass_also_measured_anew(far):
    place = far["optimal_transport"]
    w = masses(jax.random.key(7), place.targets, place.potential, 2**17)
    assert float(jnp.abs(w - 1 / NUM_TARGETS).sum()) < 0.05  # 0.035 of it by measuring


def test_singular_pairs_are_not_mixed(train, far):
    """Means over neighboring cells leave starts between the modes, 45 degrees apart, unless such pairs are singular."""
    place = far["optimal_transport"]
    c = centers(KEY, place.targets, place.potential, 2**15)
    z = jax.random.normal(jax.random.key(5), (2000, 2))
    own = np.asarray(place.cell(c))
    assert (own == np.arange(NUM_TARGETS)).mean() > 0.95  # cells are convex; small ones have few samples
    x, cut = {}, {}
    for degrees in (180.0, 10.0, -1.0):  # the last one: every pair is singular
        whole = dataclasses.replace(place, centers=c, num_cells=3, largest_angle=np.radians(degrees))
        x[degrees], cut[degrees] = np.asarray(whole.extended(z)), np.asarray(whole.singular(z))
    jump = {k: np.linalg.norm(each - place.targets[place.cell(z)], axis=1) for k, each in x.items()}
    np.testing.assert_allclose(jump[-1.0], 0, atol=1e-5)
    assert cut[-1.0].all() and not cut[180.0].any() and 0.05 < cut[10.0].mean() < 0.95
    y = np.asarray(place.targets)
    i = np.argsort(-(np.asarray(z) @ y.T + np.asarray(place.potential)), axis=1)[:, :3]
    w = 1 / np.linalg.norm(np.asarray(z)[:, None] - np.asarray(c)[i], axis=2)
    mean = (w[..., None] * y[i]).sum(1) / w.sum(1, keepdims=True)
    np.testing.assert_allclose(x[180.0], mean, rtol=1e-3, atol=1e-3)  # scores that are nearly equal may change places
    assert jump[10.0].max() < jump[180.0].max() and jump[10.0].mean() < jump[180.0].mean()


def test_rows_that_are_no_targets_have_no_cell():
    y = jnp.asarray(np.random.default_rng(0).normal(size=(12, 1)), jnp.float32)
    cells = fit(KEY, y, np.arange(12) < 9, num_steps=300)
    w = masses(jax.random.key(1), y, jnp.asarray(cells.potential), 2**14)
    np.testing.assert_allclose(w, np.where(np.arange(12) < 9, 1 / 9, 0), atol=0.02)


def test_memory_is_bounded_for_many_targets():
    """100,000 targets at once would need 2048 x 100,000 numbers, and a block has as many as `MAX_SCORES` at most."""
    y = jax.ShapeDtypeStruct((100_000, 2), jnp.float32)
    memory = masses.lower(KEY, y, jax.ShapeDtypeStruct((100_000,), jnp.float32), 2048).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * 4 * 2**24


def test_a_sample_of_the_prior_has_one_start_on_any_number_of_devices(far):
    """It depends on its own key alone, and neighbors in one cell share it."""
    place, sde = far["optimal_transport"], VP()
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(16))

    @jax.jit
    def at(keys):
        return place(sde, keys, (len(keys), 2), None)

    whole = np.asarray(at(keys))
    np.testing.assert_array_equal(whole[3:5], at(keys[3:5]))
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    sharded = jax.device_put(keys, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    np.testing.assert_array_equal(whole, at(sharded))
    z = jax.random.normal(KEY, (50, 2))
    np.testing.assert_array_equal(place.cell(z), place.cell(z * (1 + 1e-6)))
    cells = np.asarray(place.cell(z))
    scores = np.asarray(z) @ np.asarray(place.targets).T + np.asarray(place.potential)
    np.testing.assert_array_equal(cells, scores.argmax(1))


@pytest.mark.parametrize("kind", ["optimal_transport", "noised_data"])
def test_starts_have_the_class_that_is_asked_for_whatever_the_width_of_the_prior(kind):
    targets, labels = jnp.arange(12.0).reshape(6, 2), jnp.array([0, 1, 2, 0, 1, 2])
    place = NoisedData(targets, labels) if kind == "noised_data" else OptimalTransport(targets, labels, jnp.zeros(6))
    asked = jnp.arange(60) % 3
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(60))
    at = jax.jit(lambda sde: place(sde, keys, (60, 2), asked), static_argnums=0)
    found = {sde: np.asarray(at(sde)) for sde in (VP(), VE())}
    for x in found.values():
        np.testing.assert_array_equal(labels[(x[:, 0] // 2).astype(int)], asked)
    np.testing.assert_array_equal(*found.values())
    if kind == "noised_data":
        assert len(np.unique(found[VP()][:, 0])) == 6


def test_starts_of_any_class_have_each_as_often_as_the_targets():
    """The potential of each class is that of its own map, to which a constant may be added."""
    targets, labels = jax.random.normal(KEY, (8, 2)), jnp.array([0, 0, 0, 0, 0, 0, 1, 1])
    place = OptimalTransport(targets, labels, jnp.where(labels == 1, 100.0, 0.0))
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(400))
    x = np.asarray(jax.jit(lambda keys: place(VP(), keys, (400, 2), None))(keys))
    share = np.mean((x[:, None] == np.asarray(targets[labels == 1])[None]).all(2).any(1))
    assert share == pytest.approx(0.25, abs=0.09)  # 4 standard errors


def test_targets_have_the_noise_of_their_time_always_the_same():
    sde, x = VP(), jnp.ones((4000, 2))
    t = 0.4
    m, std = float(sde.mean_coeff(jnp.asarray(t))), float(sde.std(jnp.asarray(t)))
    y = noised(sde, t, x, KEY)
    assert float(y.mean()) == pytest.approx(m, abs=4 * std / 8000**0.5)
    assert float(y.std()) == pytest.approx(std, rel=4 / 16000**0.5)
    np.testing.assert_allclose(y[:7], noised(sde, t, x[:7], KEY), rtol=1e-5, atol=1e-6)


def test_few_steps_from_noised_data_mix_modes_less_by_transport_as_much_as_by_chance(train, far):
    """DDIM in five steps from the prior leaves 5 % between the modes; from data with noise at most a quarter of it.

    The transport maps onto every target with the same probability, which is what the control does: the samples have
    the same distribution, up to the error of the masses.
    """
    prior = starts.mode_mixture(starts.ring_samples(None, 0, 5, NUM))
    x = {name: starts.ring_samples(place, 0.3, 5, NUM) for name, place in far.items()}
    transport, control = (starts.mode_mixture(x[name]) for name in ("optimal_transport", "noised_data"))
    assert 0.03 < prior < 0.07
    assert transport <= prior / 4
    assert abs(transport - control) < 4 * np.sqrt(2 * max(transport, control, 1 / NUM) / NUM) + 0.01
    splits = SplitFeatures(train, starts.ring_data(2000, 2))
    found = [novelty(samples, splits)["novelty"] for samples in x.values()]
    assert all(estimate.value > 0.9 and not estimate.warning for estimate in found)
    assert found[0].value == pytest.approx(found[1].value, abs=0.1)


def test_the_published_noise_gives_copies_and_a_warning(train):
    close = NoisedData(noised(VP(), starts.time_of_noise(VP(), 0.014), jnp.asarray(train), KEY), jnp.zeros(256))
    x = starts.ring_samples(close, 0.014, 5, NUM)
    assert starts.mode_mixture(x) == 0  # which looks perfect
    found = novelty(x, SplitFeatures(train, starts.ring_data(2000, 2)))
    assert found["novelty"].value < 0.9
    assert found["novelty"].warning.startswith("samples are nearer to training examples than held-out")


def test_novelty_of_held_out_data_is_one_and_of_copies_zero():
    rng = np.random.default_rng(0)
    training, held_out, others = (rng.normal(size=(n, 3)) for n in (300, 400, 400))
    splits = SplitFeatures(training, held_out)
    copies, new = novelty(training[:50], splits), novelty(others, splits)
    assert copies["novelty"].value == pytest.approx(0, abs=1e-6)
    assert copies["near_copies"].value == 1
    assert new["novelty"].value == pytest.approx(1, abs=4 * new["novelty"].error)
    assert new["near_copies"].value < 0.04
    by_hand = [np.linalg.norm(x - training, axis=1).min() for x in others]
    assert from_distances(np.array(by_hand), held_out[:, 0] ** 2)["novelty"].value == pytest.approx(
        np.median(by_hand) / np.median(held_out[:, 0] ** 2)
    )
    with pytest.raises(ValueError, match="half of the held-out examples are training examples"):
        novelty(others, SplitFeatures(training, training))


@pytest.mark.parametrize("grid", grids.GRIDS)
def test_grids_begin_at_the_start(grid):
    """All steps lie below it, on SDEs and on chains, whose levels it is one of."""
    times = grids.GRIDS[grid](VP(), 4, 1e-3, 0.5)
    assert times[0] == 0.5
    assert times[-1] == 1e-3
    assert len(times) == 5
    chain = ddpm_chain(0.1, 20.0, 100)
    levels = grids.GRIDS[grid](chain, 4, 0.0, float(chain.time(jnp.asarray(49))))
    assert [int(i) for i in chain.index(jnp.asarray(levels[:1], jnp.float32))] == [49]
    assert len(levels) == 5
    assert levels[-1] == -1
    with pytest.raises(ValueError, match="A chain of 50 levels supports 1 to 50 steps, not 51"):
        grids.GRIDS[grid](chain, 51, 0.0, float(chain.time(jnp.asarray(49))))


def test_gaussian_starts_have_the_mean_and_the_covariance_of_data_with_noise():
    """Of all data, and of two classes, the second with fewer components; the components leave a tenth of the rest."""
    rng, sde, t, num = np.random.default_rng(0), VP(), 0.6, 2**16
    data = [rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4)) + shift for n, shift in ((50, 1.0), (3, -2.0))]
    every = np.concatenate(data)
    place = GaussianData.of(t, [principal_components(x, 4) for x in (every, *data)])
    alpha, std = float(sde.mean_coeff(jnp.float32(t))), float(sde.std(jnp.float32(t)))
    draw = jax.jit(lambda keys, asked: place(sde, keys, (num, 2, 2), asked))
    keys = jax.random.split(KEY, num)
    for x, asked in ((every, None), (data[0], jnp.zeros(num, int)), (data[1], jnp.ones(num, int))):
        found = np.asarray(draw(keys, asked), np.float64).reshape(num, 4)
        expected = alpha**2 * np.cov(x.T) + std**2 * np.eye(4)
        error = expected.max() / np.sqrt(num)  # the standard error of an entry is at most sqrt(2) of it
        np.testing.assert_allclose(found.mean(0), alpha * x.mean(0), atol=5 * np.sqrt(expected.max() / num))
        np.testing.assert_allclose(np.cov(found.T), expected, atol=6 * error)
