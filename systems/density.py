"""What a system with a density offers beside samples: log-likelihoods, latent codes, and restoration."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from builders import inverse
from builders.few_steps import check_density
from core.arrays import Array
from core.keys import RunKey, fold_in, keys_at
from sampling import latent
from sampling.inverse.operators.base import LinearOperator
from sampling.ode import ProbabilityFlow
from systems.requests.base import batch_size, in_batches, to_levels, to_network
from systems.requests.latent import solve
from systems.requests.posterior import posterior_samples
from training.objectives.base import Variables

if TYPE_CHECKING:  # the system has this as a part
    from systems.diffusion import Diffusion

EPS = 1e-5  # the time at which codes of the ODE begin


@dataclasses.dataclass(frozen=True)
class Density:
    """Functions of the variables of a checkpoint, for arrays of any number of examples; see `density_of` for each."""

    log_likelihood: Callable[[Variables, np.ndarray, np.ndarray], np.ndarray]
    encode: Callable[[Variables, np.ndarray], np.ndarray]
    decode: Callable[[Variables, np.ndarray], np.ndarray]
    restore: Callable[[Variables, int, LinearOperator, np.ndarray, int, float | None], np.ndarray]


def density_of(system: "Diffusion") -> Density:
    """The density of the probability-flow ODE, and posteriors by the sampler."""
    sampling = system.config.sampling
    options = {"solver": sampling.ode_solver, "per_example": sampling.ode_per_example}
    flow = ProbabilityFlow(system.sde, eps=EPS, rtol=sampling.rtol, atol=sampling.atol, **options)

    def log_likelihood(variables: Variables, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The log-likelihood in nats [N] of examples [N, ...], as `--mode=eval` measures bits per dimension."""
        key = fold_in(fold_in(system.key, RunKey.LIKELIHOOD), 0)

        def measured(rows: np.ndarray) -> dict[str, Array]:
            batch = system.devices.shard_batch({"x": x[rows], "label": labels[rows]})
            found = system.bits_per_dim(variables["params"], keys_at(key, rows), batch, None)
            return {name: found[name] for name in ("logp_nats", "num_evals")}

        return in_batches(measured, len(x), batch_size(system, len(x)), "likelihood")["logp_nats"]

    def encode(variables: Variables, x: np.ndarray) -> np.ndarray:
        """The latent codes [N, ...] of examples."""
        check_density(system.config)
        return solve(system, flow, latent.encode, variables, to_network(system, x))["x"]

    def decode(variables: Variables, codes: np.ndarray) -> np.ndarray:
        """The examples [N, ...] with these latent codes."""
        check_density(system.config)
        return to_levels(system, solve(system, flow, latent.decode, variables, codes)["x"])

    def restore(
        variables: Variables, number: int, operator: LinearOperator, y: np.ndarray, num: int, variance: float | None
    ) -> np.ndarray:
        """`num` samples of the posterior given each measurement, [N, num, ...], by the method of the config.

        variance: of the data as the network sees them; None for `restore.prior_variance`. Errors: ValueError where it
        is missing.
        """
        prior_variance = _variance(system, variance)
        width = inverse.width(system.config, system.spec.num_levels)
        sampler = inverse.posterior_sampler(system.config, system.sde, system.sampler, prior_variance, width)
        found = posterior_samples(system, sampler, operator, y, num, variables, number)
        return to_levels(system, found["samples"])

    return Density(log_likelihood, encode, decode, restore)


def _variance(system: "Diffusion", given: float | None) -> float:
    """The variance of the data that a method uses. Errors: ValueError where it is neither given nor set."""
    if given is not None:
        return given
    found = inverse.prior_variance(system.config, system.spec.num_levels)
    if found is None:
        raise ValueError(
            "prior_variance is not given and config.restore.prior_variance is not set; give the variance of the data "
            "as the network sees them, such as 0.25 for images in [-1, 1]."
        )
    return found
