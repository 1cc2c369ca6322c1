"""Checks of a config that need nothing but the config, made before anything is built from it."""

import math
from collections.abc import Mapping
from typing import Any

import ml_collections

from configs.keys import Key, flatten, unknown_key


def check(config: ml_collections.ConfigDict, keys: Mapping[str, Key]) -> None:
    """Checks that a config has exactly the declared `keys`, each value by itself, and what relates two of them.

    Errors: ValueError, one sentence with the key, the value and what is expected.
    """
    given = dict(flatten(config))
    for key in sorted(given.keys() - keys.keys()):
        raise unknown_key(key, keys)
    for key in sorted(keys.keys() - given.keys()):
        raise ValueError(f"config.{key} is missing; start from configs.default.get_config(), which sets every key.")
    for key, declared in keys.items():
        _check_value(key, declared, given[key])
    _check_increasing(config.model, "sigma_min", "sigma_max")
    _check_increasing(config.model, "beta_min", "beta_max")
    _check_increasing(config.eval, "begin_ckpt", "end_ckpt", strictly=False)
    _check_accumulation(config.training)
    for name in ("snapshot_freq", "snapshot_freq_for_preemption", "eval_freq"):
        _check_multiple_of_log_freq(config.training, name)


def _check_value(key: str, declared: Key, value: Any) -> None:
    if value is None:
        if not isinstance(declared.default, type):
            raise ValueError(f"config.{key} = None, but it cannot be unset; its default is {declared.default!r}.")
        return
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"config.{key} = {value}, but it must be a number.")
    if declared.check:
        declared.check.run(key, value)


def _check_increasing(section: ml_collections.ConfigDict, low: str, high: str, strictly: bool = True) -> None:
    if section[low] > section[high] or (strictly and section[low] == section[high]):
        raise ValueError(f"{low} = {section[low]} and {high} = {section[high]}, but {low} must be the smaller.")


def _check_accumulation(training: ml_collections.ConfigDict) -> None:
    if training.batch_size % training.grad_accumulation:
        raise ValueError(
            f"config.training.grad_accumulation = {training.grad_accumulation} does not divide "
            f"config.training.batch_size = {training.batch_size}; use a divisor."
        )


def _check_multiple_of_log_freq(training: ml_collections.ConfigDict, name: str) -> None:
    if training[name] % training.log_freq:
        raise ValueError(
            f"config.training.{name} = {training[name]} is not a multiple of config.training.log_freq = "
            f"{training.log_freq}, but it can only happen where metrics are read: change one of them."
        )
