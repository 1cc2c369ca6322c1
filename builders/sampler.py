"""The sampler of a config."""

import dataclasses
import functools
import math
from collections.abc import Callable

from ml_collections import ConfigDict

from builders.few_steps import check_velocity
from builders.process import make_sde, sde_family, time_shift
from core.tables import choose
from corruption.gaussian import GaussianNoise
from sampling import grids
from sampling.base import Sampler
from sampling.coefficients import METHODS
from sampling.few_steps import STEPS, FewSteps, Jump
from sampling.loop import FixedStep
from sampling.multistep import multistep
from sampling.ode import ProbabilityFlow
from sampling.pc import pc
from sampling.steps import euler_maruyama, table
from sampling.steps.heun import Churn
from sde.base import SDE
from sde.flow import SOLVERS
from sde.times import shift

DEFAULT_SOLVER_STEPS = 20  # of method `solver`
CHURNED = ("heun", "straight_heun")  # predictors with churn


def make_sampler(config: ConfigDict) -> Sampler:
    """The sampler that `config.sampling` describes, for the config's SDE or chain.

    Errors: ValueError for an unknown name, or for settings that cannot be combined.
    """
    for key, choices in CHOICES.items():  # also of methods that are not used
        choose(f"sampling.{key}", config.sampling[key], choices)
    make = choose("sampling.method", config.sampling.method, SAMPLERS)
    check_velocity(config, config.sampling.method)
    if config.training.coupling != "independent" and _adds_noise(config):
        raise ValueError(
            f"config.training.coupling = {config.training.coupling!r} leaves no score, which a sampler that adds noise "
            f"needs; use one that follows the ODE, such as config.sampling.method = 'solver', instead of "
            f"{describe(config)}."
        )
    return make(config, make_sde(config))


def from_time(config: ConfigDict, sampler: Sampler, t: float) -> Sampler:
    """The sampler of a config with all of its steps between the time `t`, at which it is to start, and its last time.

    A chain has at most as many steps as levels up to t. Errors: ValueError for a time at or below the last one.
    """
    process = make_sde(config)
    if not process.is_discrete and t <= _eps(config):
        raise ValueError(
            f"Sampling would start at the time {t:.3g}, which has the given noise, but it ends at {_eps(config):.3g}; "
            "start with more noise, or set config.sampling.eps to an earlier end."
        )
    if not isinstance(sampler, FixedStep):
        return sampler  # its steps are chosen along the way
    num_steps = len(sampler.times) - 1
    if process.is_discrete:
        num_steps = min(num_steps, len(grids.levels_up_to(process.num_scales, t)) - 1)
    times = _times(config, process, num_steps, t)
    return dataclasses.replace(sampler, times=(*times[:-1], sampler.times[-1]))


def describe(config: ConfigDict) -> str:
    """The sampler of a config in a few words, such as "ancestral_sampling and langevin, 1000 steps"."""
    start = config.sampling.start
    return _method(config) + ("" if start == "prior" else f", from {start} with noise {config.sampling.start_noise:g}")


def _method(config: ConfigDict) -> str:
    sampling = config.sampling
    if sampling.method == "ode":
        return f"probability-flow ODE by {sampling.ode_solver}"
    if sampling.method == "solver":
        return f"{sampling.solver}, {sampling.num_steps or DEFAULT_SOLVER_STEPS} steps"
    if sampling.method in STEPS:
        num_steps = sampling.num_steps or 1
        return f"{sampling.method}, {num_steps} step{'s' if num_steps > 1 else ''}"
    names = [sampling.predictor, *([sampling.corrector] if sampling.corrector != "none" else [])]
    return f"{' and '.join(names)}, {_num_steps(config, make_sde(config))} steps"


def _adds_noise(config: ConfigDict) -> bool:
    """Whether the sampler of a config adds noise, instead of following the probability-flow ODE."""
    sampling = config.sampling
    if sampling.method == "consistency":
        return (sampling.num_steps or 1) > 1
    if sampling.method != "pc":
        return sampling.method == "solver" and METHODS[sampling.solver].noisy
    amount = {
        "euler_maruyama": not sampling.probability_flow and sampling.diffusion_scale,
        "reverse_diffusion": not sampling.probability_flow,
        "ancestral_sampling": True,
        "ddim": sampling.eta,
        **dict.fromkeys(CHURNED, sampling.churn),
    }
    return bool(amount.get(sampling.predictor)) or sampling.corrector != "none"


def _num_steps(config: ConfigDict, process: SDE) -> int:
    """The steps of a predictor: by default the levels of a chain, or `model.num_scales`."""
    default = process.num_scales if process.is_discrete else config.model.num_scales
    return config.sampling.num_steps or default


def _eps(config: ConfigDict) -> float:
    """The last time of a sampler: `sampling.eps`, or that of the SDE's family."""
    if config.sampling.eps is not None:
        return config.sampling.eps
    return sde_family(config).last_time(config.model)


def _times(config: ConfigDict, process: SDE, num_steps: int, t_max: float = 1.0) -> tuple[float, ...]:
    """The time steps from `t_max`. A chain with as many steps as levels visits all of its levels.

    Errors: ValueError for more steps than levels.
    """
    sampling = config.sampling
    if process.is_discrete and num_steps > process.num_scales:
        raise ValueError(
            f"config.sampling.num_steps = {num_steps}, but a discrete model has only model.num_scales = "
            f"{process.num_scales} levels; use at most as many, or leave num_steps unset."
        )
    eps, alpha = _eps(config), time_shift(config)
    if alpha == 1 or process.is_discrete or sampling.grid not in grids.IN_TIME:
        return grids.GRIDS[sampling.grid](process, num_steps, eps, t_max)
    times = grids.GRIDS[sampling.grid](process, num_steps, shift(eps, 1 / alpha), shift(t_max, 1 / alpha))
    return (t_max, *(shift(t, alpha) for t in times[1:-1]), eps)


def _predictor_corrector(config: ConfigDict, process: SDE) -> FixedStep:
    sampling = config.sampling
    num_steps = _num_steps(config, process)
    variance = sampling.ancestral_variance or sde_family(config).ancestral_variance
    make_predictor, make_corrector = table.PREDICTORS[sampling.predictor], table.CORRECTORS[sampling.corrector]
    _check_predictor(config, process)
    churn = Churn(
        s_churn=sampling.churn,
        num_steps=num_steps,
        s_tmin=sampling.churn_min,
        s_tmax=math.inf if sampling.churn_max is None else sampling.churn_max,
        s_noise=sampling.churn_noise,
    )
    return pc(
        process,
        predictor=make_predictor(
            table.PredictorSettings(
                probability_flow=sampling.probability_flow,
                variance=variance,
                eta=sampling.eta,
                churn=churn,
                diffusion=euler_maruyama.DIFFUSIONS[sampling.diffusion](sampling.diffusion_scale),
            )
        ),
        corrector=make_corrector(table.CorrectorSettings(snr=sampling.snr, norm=sampling.langevin_norm)),
        times=_times(config, process, num_steps),
        num_corrector_steps=sampling.n_steps_each,
        denoise=sampling.noise_removal,
    )


def _check_predictor(config: ConfigDict, process: SDE) -> None:
    """Errors: ValueError for a setting, or a discrete model, that the predictor cannot be used with."""
    sampling = config.sampling
    if sampling.probability_flow and sampling.predictor == "ancestral_sampling":
        raise ValueError(
            "config.sampling.probability_flow = True needs a predictor that follows the ODE; "
            "use euler_maruyama or reverse_diffusion instead of ancestral_sampling."
        )
    if process.is_discrete and sampling.predictor == "euler_maruyama":
        raise ValueError(
            "config.sampling.predictor = 'euler_maruyama' needs config.training.continuous = True; "
            "for a discrete model use ancestral_sampling or reverse_diffusion."
        )
    if sampling.eta and sampling.predictor != "ddim":
        raise ValueError(
            f"config.sampling.eta = {sampling.eta} is a setting of predictor 'ddim', not of "
            f"{sampling.predictor!r}; set config.sampling.predictor = 'ddim', or eta = 0."
        )
    if sampling.churn and sampling.predictor not in CHURNED:
        raise ValueError(
            f"config.sampling.churn = {sampling.churn} is a setting of predictor 'heun', not of "
            f"{sampling.predictor!r}; set config.sampling.predictor = 'heun' or 'straight_heun', or churn = 0."
        )


def _multistep(config: ConfigDict, process: SDE) -> FixedStep:
    sampling = config.sampling
    if sampling.corrector != "none":
        raise ValueError(
            f"config.sampling.corrector = {sampling.corrector!r}, but a multistep solver has no corrector; "
            "set corrector = 'none', or method = 'pc' with predictor ddim or heun."
        )
    num_steps = sampling.num_steps or DEFAULT_SOLVER_STEPS
    return multistep(
        process, METHODS[sampling.solver], _times(config, process, num_steps), denoise=sampling.noise_removal
    )


def _few_steps(config: ConfigDict, process: SDE, step: Jump) -> FixedStep:
    """From 1 to 0 itself. Errors: ValueError for a network or a guidance without average velocities."""
    sampling = config.sampling
    if not config.model.second_time:
        raise ValueError(
            f"config.sampling.method = {sampling.method!r} needs a network of average velocities, trained with "
            "config.model.second_time = True; for this one use 'solver'."
        )
    if sampling.guidance not in ("none", "classifier_free"):
        raise ValueError(
            f"config.sampling.guidance = {sampling.guidance!r} changes the score, which average velocities do not "
            "have; use 'classifier_free', 'none', or config.sampling.method = 'solver'."
        )
    times = (*_times(config, process, sampling.num_steps or 1)[:-1], 0.0)
    return FixedStep(GaussianNoise(process), FewSteps(process, step), times, denoise=False)


def _probability_flow(config: ConfigDict, process: SDE) -> ProbabilityFlow:
    if process.is_discrete:
        raise ValueError(
            "config.sampling.method = 'ode' solves a differential equation, which a discrete model does not have; "
            "use method = 'pc', method = 'solver' or config.training.continuous = True."
        )
    sampling = config.sampling
    return ProbabilityFlow(
        process,
        eps=_eps(config),
        rtol=sampling.rtol,
        atol=sampling.atol,
        denoise=sampling.noise_removal,
        solver=sampling.ode_solver,
        per_example=sampling.ode_per_example,
    )


CHOICES: dict[str, dict] = {
    "predictor": table.PREDICTORS,
    "corrector": table.CORRECTORS,
    "solver": METHODS,
    "grid": grids.GRIDS,
    "ode_solver": SOLVERS,
    "diffusion": euler_maruyama.DIFFUSIONS,
}
SAMPLERS: dict[str, Callable[[ConfigDict, SDE], Sampler]] = {
    "pc": _predictor_corrector,
    "solver": _multistep,
    "ode": _probability_flow,
    **{name: functools.partial(_few_steps, step=step) for name, step in STEPS.items()},
}
