"""The divergences of a causal latent against a sum over a fine grid, and labels that are missing."""

import jax.numpy as jnp
import numpy as np

from training.objectives.causal import divergence_nats, label_kl, noise_kl

MEAN, STD = np.array([[[0.3], [-1.0]], [[0.0], [0.5]]]), np.array([[[0.2], [0.7]], [[1.0], [0.4]]])


def by_grid(mean, std, prior_mean, prior_std):
    x = np.linspace(-12, 12, 200_001)

    def log_density(m, s):
        return -0.5 * ((x - m) / s) ** 2 - np.log(s * np.sqrt(2 * np.pi))

    q = log_density(mean, std)
    return np.sum(np.exp(q) * (q - log_density(prior_mean, prior_std))) * (x[1] - x[0])


def test_a_divergence_is_its_integral():
    assert np.isclose(
        float(divergence_nats(*map(jnp.float32, (0.4, 0.3, -0.2, 0.9)))), by_grid(0.4, 0.3, -0.2, 0.9), rtol=1e-5
    )
    assert abs(float(divergence_nats(*map(jnp.float32, (0.4, 0.3, 0.4, 0.3))))) < 1e-6


def test_noise_has_the_scale_of_its_variable_and_missing_labels_cost_nothing():
    noise = noise_kl(jnp.asarray(MEAN), jnp.asarray(STD), jnp.array([1.0, 0.5]))
    exact = [by_grid(MEAN[b, 0, 0], STD[b, 0, 0], 0, 1) + by_grid(MEAN[b, 1, 0], STD[b, 1, 0], 0, 0.5) for b in (0, 1)]
    np.testing.assert_allclose(noise, exact, rtol=1e-5)
    labels, known = jnp.array([[0.1, 7.0], [0.2, -0.3]]), jnp.array([[True, False], [True, True]])
    found = label_kl(jnp.asarray(MEAN), jnp.asarray(STD), labels, known, 0.5)
    first = [by_grid(MEAN[b, 0, 0], STD[b, 0, 0], float(labels[b, 0]), 0.5) for b in (0, 1)]
    np.testing.assert_allclose(found[0], first[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], first[1] + by_grid(0.5, 0.4, -0.3, 0.5), rtol=1e-5)
