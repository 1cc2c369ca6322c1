"""What every config is checked for, before anything is built from it."""

import ml_collections

from configs.keys import flatten
from core.tables import choose, nearest

_POSITIVE = (
    "training.batch_size", "training.n_iters", "training.snapshot_freq", "training.snapshot_freq_for_preemption",
    "training.max_nonfinite", "training.log_freq", "training.n_jitted_steps", "training.snapshot_num_samples",
    "training.eps", "training.grad_accumulation", "training.fsdp",
    "sampling.num_steps", "sampling.n_steps_each", "sampling.snr", "sampling.eps", "sampling.rtol",
    "sampling.atol", "sampling.churn_noise", "eval.batch_size", "eval.num_samples", "eval.bpd_repeats",
    "eval.bpd_eps", "eval.rtol", "eval.atol", "eval.num_probes", "eval.num_dequantizations",
    "eval.feature_batch_size", "eval.dequantization_steps", "data.image_size", "data.num_channels", "model.sigma_min",
    "model.beta_min", "model.num_scales", "model.nf", "model.num_res_blocks", "model.blocks_per_group",
    "model.channel_multiplier", "data.num_levels", "data.num_threads", "data.scale", "optim.lr", "optim.eps",
    "sampling.guidance_max_sigma", "restore.prior_variance", "restore.num_iterations", "restore.limit", "restore.zeta",
    "restore.factor", "restore.blur_width", "restore.kept",
)  # fmt: skip


def check(config: ml_collections.ConfigDict, reference: ml_collections.ConfigDict) -> None:
    """Checks everything about a config that needs nothing but the config; `reference` has every key.

    Errors: ValueError, one sentence: the key, the value, what is expected.
    """
    known, given = dict(flatten(reference)), dict(flatten(config))
    for key in given.keys() - known.keys():
        raise ValueError(f"config.{key} is not a setting; the nearest is config.{nearest(key, known)}.")
    for key in sorted(known.keys() - given.keys()):
        raise ValueError(f"config.{key} is missing; start from configs.default.get_config(), which sets every key.")
    for key in _POSITIVE:
        if given[key] is not None and given[key] <= 0:
            raise ValueError(f"config.{key} = {given[key]}, but it must be positive.")
    _increasing(config.model, "sigma_min", "sigma_max")
    _increasing(config.model, "beta_min", "beta_max")
    _increasing(config.eval, "begin_ckpt", "end_ckpt", strictly=False)
    if not 0 <= config.model.dropout < 1:
        raise ValueError(f"config.model.dropout = {config.model.dropout}, but it must be in [0, 1).")
    for rate in (config.model.ema_rate, *config.model.ema_rates):
        if not 0 <= rate < 1:
            raise ValueError(f"config.model.ema_rate or ema_rates = {rate}, but it must be in [0, 1).")
    for sigma_rel in config.model.ema_sigma_rels:
        if not 0 < sigma_rel < 12**-0.5:
            raise ValueError(f"config.model.ema_sigma_rels has {sigma_rel}, but a width must be in (0, 0.288).")
    if not 0 <= config.sampling.eta <= 1:
        raise ValueError(f"config.sampling.eta = {config.sampling.eta}, but it must be in [0, 1].")
    if not 0 <= config.data.augment <= 1:
        raise ValueError(f"config.data.augment = {config.data.augment}, but it must be in [0, 1].")
    if not 0 <= config.model.label_dropout <= 1:
        raise ValueError(f"config.model.label_dropout = {config.model.label_dropout}, but it must be in [0, 1].")
    if config.model.num_labels < 0:
        raise ValueError(f"config.model.num_labels = {config.model.num_labels}, but it must not be negative.")
    for key in (
        "training.spike_factor",
        "data.test_every",
        "data.num_workers",
        "sampling.churn",
        "sampling.churn_min",
        "sampling.guidance_min_sigma",
        "restore.noise_std",
    ):
        if given[key] < 0:
            raise ValueError(f"config.{key} = {given[key]}, but it must not be negative.")
    for key in ("model.dtype", "sampling.dtype", "eval.bpd_dtype"):
        if given[key] is not None:
            choose(key, given[key], {"float32": 0, "bfloat16": 0})
    if config.training.batch_size % config.training.grad_accumulation:
        raise ValueError(
            f"config.training.grad_accumulation = {config.training.grad_accumulation} does not divide "
            f"config.training.batch_size = {config.training.batch_size}; use a divisor."
        )
    choose("training.on_nonfinite", config.training.on_nonfinite, {"stop": 0, "skip": 0, "rollback": 0})
    for key in ("snapshot_freq", "snapshot_freq_for_preemption", "eval_freq"):
        _divisible(config, key, "log_freq")


def _increasing(section: ml_collections.ConfigDict, low: str, high: str, strictly: bool = True) -> None:
    if section[low] > section[high] or (strictly and section[low] == section[high]):
        raise ValueError(f"{low} = {section[low]} and {high} = {section[high]}, but {low} must be the smaller.")


def _divisible(config: ml_collections.ConfigDict, key: str, by: str) -> None:
    if config.training[key] % config.training[by]:
        raise ValueError(
            f"config.training.{key} = {config.training[key]} is not a multiple of config.training.{by} = "
            f"{config.training[by]}, but it can only happen where metrics are read: change one of them."
        )
