"""The training loss of a config."""

from collections.abc import Callable

from ml_collections import ConfigDict

from builders import few_steps
from builders.data import augmentation, prepare
from builders.earlier import EarlierRun
from builders.learned import schedule, uncertainty
from builders.likelihood import check_levels
from builders.process import make_sde, time_shift
from builders.score import GatherParams, identity, log_class_probability, make_predict_of
from builders.teacher import make_teacher
from core.tables import choose
from likelihood.levels import grid
from sde import times
from sde.base import SDE
from training.objectives.average_velocity import TeacherOf, average_velocity
from training.objectives.base import Objective, Weight, constant, ramp
from training.objectives.classification import cross_entropy
from training.objectives.coupling import Couple, optimal_transport
from training.objectives.score_matching import (
    PredictOf,
    SampleTimes,
    Weighting,
    edm,
    flow,
    independent,
    likelihood,
    score_matching,
    stratified,
    variance,
)
from training.objectives.variational_diffusion import ConditionedOf, ScheduleOf, variational_diffusion, without_latent

COUPLINGS: dict[str, Couple | None] = {"independent": None, "optimal_transport": optimal_transport}
# What `make_objective` has beyond a plain loss, where it is off
VARIANTS = {
    "training.objective": few_steps.SCORE_MATCHING,
    "training.noise_schedule": None,
    "training.uncertainty": False,
    "training.coupling": "independent",
    "data.augment": 0.0,
}


def make_objective(
    config: ConfigDict, num_levels: int, gather_params: GatherParams = identity, stage: EarlierRun | None = None
) -> Objective:
    """Denoising score matching for the config's SDE and network, or average velocities; see `training.objective`.

    `num_levels`: of the data, 0 for floats. `gather_params`: gathers parameters that are sharded over devices.
    `stage`: the teacher of average velocities.
    """
    process, training = make_sde(config), config.training
    choose("training.objective", training.objective, dict.fromkeys((few_steps.SCORE_MATCHING, *few_steps.OBJECTIVES)))
    if training.objective != few_steps.SCORE_MATCHING:
        return _average_velocity(config, process, num_levels, gather_params, make_teacher(config, stage))
    if training.noise_schedule is not None:
        conditioned_of = without_latent(make_predict_of(config, gather_params=gather_params))
        return objective_on_levels(config, process, num_levels, conditioned_of, schedule(config))
    return score_matching(
        make_predict_of(config, gather_params=gather_params),
        process,
        prepare(config, num_levels),
        _sample_times(config, process),
        weighting=_weighting(config),
        reduce_mean=training.reduce_mean,
        augment=augmentation(config),
        couple=_couple(config),
        uncertainty=uncertainty(config),
    )


def check_plain(config: ConfigDict) -> None:
    """Errors: ValueError for settings of `make_objective` that the loss of another system does not have."""
    for key, off in VARIANTS.items():
        section, name = key.split(".")
        if (value := config[section][name]) != off:
            raise ValueError(
                f"config.{key} = {value!r} is for other kinds of models than config.system = {config.system!r}; set it "
                f"to {off!r}."
            )


def score_matching_of(config: ConfigDict, predict_of: PredictOf) -> Objective:
    """Denoising score matching for the config's SDE, of predictions of values that need no preparation."""
    process = make_sde(config)
    return score_matching(
        predict_of,
        process,
        lambda keys, batch: batch["x"],
        _sample_times(config, process),
        weighting=_weighting(config),
        reduce_mean=config.training.reduce_mean,
    )


def _average_velocity(
    config: ConfigDict, process: SDE, num_levels: int, gather_params: GatherParams, teacher_of: TeacherOf | None
) -> Objective:
    """Average velocities, by the rule of `training.objective`. Errors: ValueError for what it cannot be used with."""
    training, first = config.training, _sample_times(config, process)
    rule = few_steps.rule(config)
    return average_velocity(
        make_predict_of(config, gather_params=gather_params),
        process,
        prepare(config, num_levels),
        few_steps.sample_interval(config, first, _sample_times(config, process, independent)),
        rule,
        reduce_mean=training.reduce_mean,
        power=training.error_power,
        guidance_scale=training.train_guidance,
        own_velocity=few_steps.own_velocity(config),
        teacher_of=teacher_of,
        augment=augmentation(config),
        couple=_couple(config),
    )


def objective_on_levels(
    config: ConfigDict, process: SDE, num_levels: int, conditioned_of: ConditionedOf, schedule_of: ScheduleOf
) -> Objective:
    """The bound on the log-probability of levels. Errors: ValueError for settings that do not go with it."""
    training = config.training
    check_levels(config, num_levels, "training.noise_schedule")
    if training.uncertainty or training.coupling != "independent" or augmentation(config) is not None:
        raise ValueError(
            f"config.training.noise_schedule = {training.noise_schedule!r} trains on a bound, which a learned weight, "
            f"a coupling or augmentations would change; here training.uncertainty = {training.uncertainty}, "
            f"training.coupling = {training.coupling!r} and data.augment = {config.data.augment}: switch them off."
        )
    draw = stratified if training.stratified else independent
    return variational_diffusion(
        conditioned_of,
        process,
        prepare(config, num_levels),
        draw(times.uniform(0.0)),
        schedule_of,
        grid(num_levels, config.data.centered),
        learned=training.noise_schedule == "learned",
    )


def make_classifier_objective(config: ConfigDict, num_levels: int, gather_params: GatherParams = identity) -> Objective:
    """The cross-entropy of the config's classifier on samples of its SDE; see `make_objective`."""
    process = make_sde(config)
    return cross_entropy(
        log_class_probability(config, process, gather_params),
        process,
        prepare(config, num_levels),
        _sample_times(config, process),
    )


def loss_weights(config: ConfigDict) -> dict[str, Weight]:
    """The weights of `training.loss_weights`, by the name of the loss: numbers, or ramps over the steps."""
    weights: dict[str, Weight] = {}
    for entry in config.training.loss_weights:
        name, _, value = entry.partition("=")
        values, _, steps = value.partition("@")
        if steps:
            (start, end), (first, last) = map(float, values.split(":")), map(int, steps.split(":"))
            weights[name] = ramp(start, end, first, last)
        else:
            weights[name] = constant(float(values))
    return weights


def _sample_times(
    config: ConfigDict, process: SDE, draw: Callable[[times.Quantile], SampleTimes] | None = None
) -> SampleTimes:
    """The distribution of training times; for a chain, that of its levels. `draw`: by default as the config says."""
    training = config.training
    quantiles = {
        "uniform": lambda: times.uniform(training.eps),
        "log_snr": lambda: times.log_snr(process, training.eps),
        "log_normal": lambda: times.log_normal(process, training.eps, mean=training.p_mean, std=training.p_std),
        "logit_normal": lambda: times.logit_normal(training.eps, mean=training.logit_mean, std=training.logit_std),
        "mode": lambda: times.mode(training.eps, scale=training.mode_scale),
    }
    quantile = choose("training.time_sampling", training.time_sampling, quantiles)
    draw = draw or (stratified if training.stratified else independent)
    if process.is_discrete:
        return draw(times.levels(process))
    alpha = time_shift(config)
    return draw(quantile() if alpha == 1 else times.shifted(quantile(), alpha))


def _couple(config: ConfigDict) -> Couple | None:
    """How noise is paired with data. Errors: ValueError for a network with conditions."""
    couple = choose("training.coupling", config.training.coupling, COUPLINGS)
    if couple is not None and (config.model.num_labels or config.model.conditions):
        raise ValueError(
            f"config.training.coupling = {config.training.coupling!r} makes the noise depend on what the network is "
            "conditioned on, but samples start from independent noise; use 'independent', or model.num_labels = 0 and "
            "no model.conditions."
        )
    return couple


def _weighting(config: ConfigDict) -> Weighting:
    name = config.training.weighting or ("likelihood" if config.training.likelihood_weighting else "variance")
    table = {"variance": variance, "likelihood": likelihood, "edm": edm(config.model.sigma_data), "flow": flow}
    return choose("training.weighting", name, table)
