"""Losses of a causal latent: the noise stays close to its prior, and variables to their labels."""

import jax.numpy as jnp

from core.arrays import Array
from corruption.divergence import divergence_nats


def noise_kl(mean: Array, std: Array, noise_std: Array) -> Array:
    """sum_i KL(q(u_i | x, parents) || N(0, noise_std_i^2)) [B] in nats, q normal with mean and std [B, n, d].

    noise_std: [n]. Source: Komanduri et al., "Causal Diffusion Autoencoders", 2024, equation 12, where it is 1.
    Notes: with a learned noise_std, noise costs the more the less of it is needed, so that a mechanism explains all
    that its parents determine.
    """
    return jnp.sum(divergence_nats(mean, std, 0.0, noise_std[None, :, None]), axis=(1, 2))


def label_kl(mean: Array, std: Array, labels: Array, known: Array, label_std: float) -> Array:
    """sum_i known_i KL(q(z_i | x) || N(y_i, label_std^2)) [B] in nats, q normal with mean and std [B, n, d].

    labels, known [B, n]: the standardized labels y, and whether each is given. Source: Komanduri et al. 2024, equation
    12, where label_std = 1.
    """
    nats = divergence_nats(mean, std, labels[..., None], label_std)
    return jnp.sum(jnp.where(known[..., None], nats, 0.0), axis=(1, 2))
