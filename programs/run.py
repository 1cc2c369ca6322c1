"""A run: its config, workdir, data, keys and devices, each made when first used."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from builders import features
from builders.data import resolve
from builders.devices import make_devices
from builders.optimizer import make_optimizer
from builders.splits import Splits, spec_without_data
from builders.state import abstract_state, make_state
from configs import default
from core.keys import RunKey
from data.source import Source
from data.spec import DataSpec
from evaluation.features.base import Extractor
from programs import restore_run
from programs.stages import Stages
from runtime.compile_effort import jit_once
from runtime.devices import Devices
from systems.base import Context, System
from systems.table import make_system
from training.objectives.base import Variables
from training.state import TrainState


class DataRun:
    """A config and its data, without a model: what a program needs that compares samples with data.

    spec: what is known of the data; by default that of a stock data set, or of the training examples.
    Errors: ValueError, FileNotFoundError for the config and, when they are used, for the data.
    """

    def __init__(self, config: ConfigDict, workdir: str | pathlib.Path, spec: DataSpec | None = None):
        default.name_imports(config)
        default.validate(config)
        resolve(config, spec)
        self.config, self.workdir = config, pathlib.Path(workdir)
        self.splits = Splits(config)
        self.spec = spec or spec_without_data(config) or DataSpec.of(self.splits.train)

    @property
    def train(self) -> Source:
        """The training examples."""
        return self.splits.train

    @property
    def test(self) -> Source:
        """The test examples."""
        return self.splits.test

    @functools.cached_property
    def extractor(self) -> Extractor:
        """The features by which samples are compared with data. Errors: ValueError for missing files or runs."""
        return features.extractor(self.config, self.spec.num_levels, restore_run.network_of)


class Run(DataRun):
    """What every program with a model shares. Making one checks the config; a program then pays for what it uses.

    spec, errors: see `DataRun`.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: str | pathlib.Path,
        devices: Sequence[jax.Device] | None = None,
        spec: DataSpec | None = None,
    ):
        super().__init__(config, workdir, spec)
        self.devices: Devices = make_devices(config, devices)
        self.key = jax.random.key(config.seed)
        self.tx, self.schedule = make_optimizer(config)
        self.stages = Stages(config, self.workdir)
        opened = restore_run.network_of, self.stages.open
        folder = None if restore_run.is_alone(self.workdir) else self.workdir
        self.system: System = make_system(
            Context(config, self.spec, self.splits, self.devices, self.key, *opened, folder)
        )

    @classmethod
    def of_checkpoint(
        cls,
        config: ConfigDict,
        workdir: str | pathlib.Path,
        number: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ) -> "Run":
        """The run of a checkpoint, by default the newest, as it was trained; `config` says what else to do with it.

        workdir: also a model that stands alone, see `training.model_folder`.

        Errors: CheckpointError; ConfigMismatchError where the config describes another model; see `Run`.
        """
        workdir = pathlib.Path(workdir)
        default.name_imports(config)
        _, stored, spec = restore_run.about(workdir, number)
        return cls(restore_run.config_to_use(config, stored, spec, workdir), workdir, devices, spec)

    def restore(self, number: int | None = None) -> restore_run.Restored:
        """Checkpoint `number`, by default the newest, on every device.

        Errors: CheckpointError where there is none, and where it does not have the variables of the system.
        """
        restored = restore_run.restore(self.workdir, number, self.devices.replicated)
        restore_run.check_shapes(restored, jax.eval_shape(self.system.init, self.key), self.workdir)
        return restored

    def initial_variables(self) -> Variables:
        """The variables of `System.init`, sharded as `training.fsdp` says."""
        key = jax.random.fold_in(self.key, RunKey.INIT)
        shardings = self.devices.state_shardings(jax.eval_shape(self.system.init, key))
        return jit_once(lambda: self.system.init(key), out_shardings=shardings)()

    def state(self, variables: Variables | None = None) -> TrainState:
        """The state at step 0 of these variables, by default the initial ones, sharded as `training.fsdp` says."""
        variables = self.initial_variables() if variables is None else variables
        shardings = self.devices.state_shardings(abstract_state(self.config, self.system.init))
        return jit_once(functools.partial(make_state, self.config), out_shardings=shardings)(variables)

    def frozen_variables(self) -> Variables:
        """The weights of earlier stages that the run keeps, as the collection "frozen" on every device."""
        variables = self.stages.variables()
        return self.devices.replicate(variables) if variables else {}

    def abstract_state(self) -> Any:
        """Shapes, dtypes and shardings of the state, without computing it."""
        shapes = abstract_state(self.config, self.system.init)
        shardings = self.devices.state_shardings(shapes)
        return jax.tree.map(lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), shapes, shardings)
