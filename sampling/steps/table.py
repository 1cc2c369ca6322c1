"""The steps of samplers by their published names: predictors go from t down to t_next, correctors stay at t.

Every step is called as `(z, predict, sde, x, t, t_next) -> Sample` with x [B, ...], t and t_next [B], t_next < t, and
standard normal noise z [B, ...]. `heun` and `straight_heun` predict twice, `none` not at all, every other step once.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

from sampling.base import Step
from sampling.steps.ancestral import ancestral
from sampling.steps.ddim import ddim
from sampling.steps.euler_maruyama import Diffusion, euler_maruyama
from sampling.steps.heun import Churn, heun, straight_heun
from sampling.steps.langevin import annealed_langevin, langevin
from sampling.steps.none import none
from sampling.steps.reverse_diffusion import reverse_diffusion


@dataclasses.dataclass(frozen=True)
class PredictorSettings:
    """Settings of all predictors; each uses those it has. They are documented in the functions that take them."""

    probability_flow: bool = False
    variance: Literal["posterior", "transition"] = "posterior"
    eta: float = 0.0
    churn: Churn | None = None
    diffusion: Diffusion | None = None


@dataclasses.dataclass(frozen=True)
class CorrectorSettings:
    """Settings of all correctors; each uses those it has. They are documented in `langevin`."""

    snr: float
    norm: Literal["example", "batch"] = "example"


PREDICTORS: dict[str, Callable[[PredictorSettings], Step]] = {
    "euler_maruyama": lambda settings: euler_maruyama(
        probability_flow=settings.probability_flow, diffusion=settings.diffusion
    ),
    "reverse_diffusion": lambda settings: reverse_diffusion(probability_flow=settings.probability_flow),
    "ancestral_sampling": lambda settings: ancestral(variance=settings.variance),
    "ddim": lambda settings: ddim(eta=settings.eta),
    "heun": lambda settings: heun(churn=settings.churn),
    "straight_heun": lambda settings: straight_heun(churn=settings.churn),
    "none": lambda settings: none(),
}
CORRECTORS: dict[str, Callable[[CorrectorSettings], Step]] = {
    "langevin": lambda settings: langevin(snr=settings.snr, norm=settings.norm),
    "ald": lambda settings: annealed_langevin(snr=settings.snr),
    "none": lambda settings: none(),
}
