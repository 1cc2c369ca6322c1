"""Guidance on a mixture of two classes, where all densities and their tilted versions are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.arrays import broadcast_to_rank
from corruption.predictions import Gaussian as Prediction
from corruption.predictions import score_of
from sampling import grids
from sampling.guidance import Interval, autoguided, classifier_free, classifier_guided
from sampling.pc import pc
from sampling.steps.ancestral import ancestral
from sampling.steps.none import none
from sde.edm import EDM
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP
from tests.support.oracles import Gaussian, Mixture, correlated, propagate

SDES = {"vp": VP(), "subvp": SubVP(), "ve": VE(), "edm": EDM(sigma_max=20.0)}
each = pytest.mark.parametrize("name", SDES)
CLASSES = (correlated(3, shift=1.0, seed=1), correlated(3, shift=1.0, spread=0.7, seed=2))
DATA = Mixture((0.4, 0.6), CLASSES)
T = jnp.array([0.02, 0.3, 0.7])
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)
KEY = jax.random.key(5)


def log_classes(sde, x, t):
    """log p(c | x_t = x) of both classes: [2, B]."""
    terms = jnp.stack([jnp.log(w) + part.logp(sde, x, t) for w, part in zip(DATA.weights, CLASSES, strict=True)])
    return jax.nn.log_softmax(terms, axis=0)


def log_prob_of(sde, labels):
    """The log-probability of the label of each example under the exact classifier."""
    return lambda x, t: jnp.take_along_axis(log_classes(sde, x, t), labels[None], axis=0)[0]


def conditional(sde, labels):
    """The exact prediction given the label of each example."""

    def predict(x, t):
        first, second = (part.predict(sde)(x, t) for part in CLASSES)
        return jax.tree.map(lambda a, b: jnp.where(broadcast_to_rank(labels == 0, x), a, b), first, second)

    return predict


def linear(a):
    """The prediction whose fields are `a x` and `-a x`."""
    return lambda x, t: Prediction(a * x, -a * x)


@each
def test_the_exact_classifier_makes_the_prediction_that_of_the_class(name):
    sde, labels = SDES[name], jnp.array([0, 1, 1])
    guided = classifier_guided(DATA.predict(sde), log_prob_of(sde, labels), sde)
    found, expected = jax.jit(lambda x, t: (guided(x, t), conditional(sde, labels)(x, t)))(X, T)
    # A difference of scores of size 1 / std, each with a few units of float32 rounding.
    score, exact = score_of(found, sde, T), score_of(expected, sde, T)
    np.testing.assert_allclose(score, exact, rtol=1e-5, atol=1e-5 * float(jnp.max(jnp.abs(exact))))
    sigma = (sde.std(T) / sde.mean_coeff(T))[:, None]  # x0 carries the rounding of the noise times sigma
    np.testing.assert_array_less(jnp.abs(found.x0 - expected.x0) / (1 + sigma), 1e-5)


@pytest.mark.parametrize("scale", [0.5, 3.0])
@each
def test_guidance_is_the_score_of_the_tilted_density_of_its_time(name, scale):
    """grad log [p(x_t) p(c | x_t)^scale], by a classifier and without one."""
    sde, labels = SDES[name], jnp.array([1, 0, 1])
    predict, log_prob = DATA.predict(sde), log_prob_of(sde, labels)

    @jax.jit
    def scores(x, t):
        tilted = jax.grad(lambda x: jnp.sum(DATA.logp(sde, x, t) + scale * log_prob(x, t)))
        free = classifier_free(conditional(sde, labels), predict, scale)
        guided = classifier_guided(predict, log_prob, sde, scale)
        return tilted(x), *(score_of(p(x, t), sde, t) for p in (guided, free))

    expected, guided, free = scores(X, T)
    atol = 1e-5 * (1 + scale) * float(jnp.max(jnp.abs(expected)))  # as above, `scale` times
    np.testing.assert_allclose(guided, expected, rtol=1e-5, atol=atol)
    np.testing.assert_allclose(free, expected, rtol=1e-5, atol=atol)


def test_guidance_of_scale_one_and_of_scale_zero_are_the_two_predictions():
    c, u = linear(2.0), linear(-1.0)
    assert classifier_free(c, u, 1.0) is c
    np.testing.assert_allclose(classifier_free(c, u, 0.0)(X, T), u(X, T), rtol=1e-6)
    np.testing.assert_array_equal(autoguided(c, u, 1.0)(X, T), c(X, T))
    np.testing.assert_allclose(autoguided(c, u, 2.0)(X, T), linear(5.0)(X, T), rtol=1e-6)  # -x + 2 (2 x + x)


@each
def test_outside_its_interval_of_noise_levels_there_is_no_guidance(name):
    sde = SDES[name]
    sigma = np.asarray(sde.std(T) / sde.mean_coeff(T))
    interval = Interval(sde, 0.5 * float(sigma[0] + sigma[1]), float(sigma[1]) * 1.01)  # only the middle one
    guided = classifier_guided(linear(0.0), lambda x, t: jnp.sum(x, axis=-1), sde, 2.0, interval)(X, T)
    shift = np.array([[0.0], [2.0], [0.0]]) * np.ones((3, 3))
    std = np.asarray(sde.std(T))[:, None]
    np.testing.assert_allclose(guided.noise, -std * shift, rtol=1e-6)
    np.testing.assert_allclose(guided.x0, std * sigma[:, None] * shift, rtol=1e-5)
    for combine in [classifier_free, autoguided]:
        found = combine(linear(2.0), linear(-1.0), 2.0, interval)(X, T)
        np.testing.assert_allclose(found, linear(np.array([[2.0], [5.0], [2.0]]))(X, T), rtol=1e-6)


def test_an_interval_of_nothing_is_refused():
    for low, high in [(1.0, 1.0), (-0.1, 1.0)]:
        with pytest.raises(ValueError, match="0 <= low < high"):
            Interval(VP(), low, high)


@pytest.mark.parametrize("guidance", ["classifier", "classifier_free"])
def test_samples_of_a_class_have_its_distribution(guidance):
    """Scale 1 is exact: mean, covariance and the classifier's decisions are those of data of the class."""
    sde, num = VP(), 8000
    labels = jnp.asarray(np.arange(num) % 2)
    if guidance == "classifier":
        predict = classifier_guided(DATA.predict(sde), log_prob_of(sde, labels), sde)
    else:
        predict = classifier_free(conditional(sde, labels), DATA.predict(sde), 1.0)
    sampler = pc(sde, ancestral(), none(), grids.log_snr(sde, 60, 1e-3))

    @jax.jit
    def draw(key):
        x = sampler(key, predict, (num, 3)).x
        return x, jnp.argmax(log_classes(sde, x, jnp.full((num,), 1e-4)), axis=0)

    x, decisions = (np.asarray(a) for a in draw(KEY))
    for c, part in enumerate(CLASSES):
        own, data = x[labels == c], part.sample(c, (20_000, 3))
        right = np.mean(np.argmax(log_classes(sde, data, jnp.full((20_000,), 1e-4)), axis=0) == c)
        error = np.sqrt(right * (1 - right) / 4000 + 1e-6)
        assert np.mean(decisions[labels == c] == c) == pytest.approx(
            right, abs=5 * error + 0.01
        )  # and the error of the steps
        # Five standard errors of 4000 samples of variances up to one, and 0.02 for sixty steps.
        np.testing.assert_allclose(own.mean(axis=0), part.mean, atol=5 / np.sqrt(4000) + 0.02)
        np.testing.assert_allclose(np.cov(own.T), part.cov, atol=5 * np.sqrt(2 / 4000) + 0.02)


def test_the_end_of_guided_sampling_is_not_the_tilted_density():
    """One Gaussian class within a wider Gaussian, scale 2: everything is linear, so the moments are known exactly.

    The tilted density has precision 2 / 0.5 - 1 = 3. At every time the guided score has the tilted precision of the
    noised densities, 2 / v_c(t) - 1 / v(t), which is not that of the noised tilted density, so neither are the samples.
    """
    with jax.enable_x64(True):
        sde = VP()
        wide, narrow = Gaussian(np.zeros(1), np.eye(1)), Gaussian(np.zeros(1), 0.5 * np.eye(1))
        guided = classifier_free(narrow.predict(sde), wide.predict(sde), 2.0)
        start, times = (jnp.zeros(1), jnp.eye(1)), grids.uniform(2000, 1e-4)
        _, cov = jax.jit(lambda: propagate([ancestral()], guided, sde, start, times))()
        _, exact = jax.jit(lambda: propagate([ancestral()], narrow.predict(sde), sde, start, times))()
    assert float(exact[0, 0]) == pytest.approx(0.5, rel=0.01)  # the error of 2000 steps
    assert abs(float(cov[0, 0]) - 1 / 3) > 0.03
