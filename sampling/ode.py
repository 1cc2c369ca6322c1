"""Sampling by the probability-flow ODE with an adaptive solver."""

import dataclasses
from collections.abc import Sequence

import diffrax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sampling.base import Constrain, Samples, Start, begin, denoise, keys_of_examples, unconstrained
from sde.base import SDE, Array, ScoreFn


@dataclasses.dataclass(frozen=True)
class ProbabilityFlow:
    """Solves the probability-flow ODE from the prior at t = 1 down to `eps`; a `Sampler` without constraints.

    dx/dt = drift_coeff(t) x - diffusion(t)^2 score(x, t) / 2

    Dormand-Prince 5(4) with the error norm taken over the whole batch: examples share their steps, and so agree with
    those of another batch only to the tolerances. `denoise`: the expected data given x at eps (one more call).
    `max_steps`: attempted steps. A solve that fails (too many steps, non-finite values) returns NaN everywhere.
    `num_evals` is exact: a first evaluation, six for every step accepted or rejected, one to denoise.
    Consumes the keys of the examples, for the prior alone. Errors: ValueError where a constraint is given.
    Source: Song et al. 2021, section 4.3 and appendix D.
    Notes: the published solve runs on the host in double precision, and denoises by a reverse-diffusion step of 1/N.
    """

    sde: SDE
    eps: float = 1e-3
    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 10_000
    denoise: bool = False

    def __call__(
        self,
        key: Array,
        score_fn: ScoreFn,
        shape: Sequence[int],
        *,
        start: Start | None = None,
        constrain: Constrain = unconstrained,
    ) -> Samples:
        """Samples [B, ...] at the data (`denoise`) or at `eps`; see `sampling.base.Sampler`."""
        if constrain is not unconstrained:
            raise ValueError("The probability-flow ODE takes no constraint; use the predictor-corrector sampler.")
        x = begin(self.sde, keys_of_examples(key, shape[0]), shape, start)

        def velocity(t: ArrayLike, x: Array, args: None) -> Array:
            return self.sde.probability_flow(score_fn, x, jnp.full((shape[0],), t))

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            diffrax.Dopri5(),
            t0=1.0 if start is None else start[1],
            t1=self.eps,
            dt0=None,
            y0=x,
            stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol, dtmin=1e-9, force_dtmin=False),
            max_steps=self.max_steps,
            throw=False,
        )
        x = jnp.where(solution.result == diffrax.RESULTS.successful, solution.ys[0], jnp.nan)
        if self.denoise:
            x = denoise(score_fn, self.sde, x, jnp.full((shape[0],), self.eps, x.dtype))
        return Samples(x, (6 * solution.stats["num_steps"] + 1 + int(self.denoise)).astype(jnp.int32))
