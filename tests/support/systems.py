"""What a system is built from, without a run."""

import jax

from builders.devices import make_devices
from builders.splits import Splits, spec_without_data
from data.spec import DataSpec
from programs import restore_run
from systems.base import Context


def context(config):
    """The context of a config on one device; data are opened when they are used."""
    splits = Splits(config)
    spec = spec_without_data(config) or DataSpec.of(splits.train)
    devices = make_devices(config, jax.devices()[:1])
    return Context(config, spec, splits, devices, jax.random.key(config.seed), restore_run.network_of)
