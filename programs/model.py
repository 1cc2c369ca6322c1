"""A trained model in Python: samples, likelihoods, latent codes and restoration, as the programs compute them."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from configs import default
from configs.keys import flatten, set_value, unknown_key
from core.tables import nearest
from programs import restore_run
from programs.run import Run
from sampling.coefficients import METHODS
from sampling.few_steps import STEPS
from sampling.inverse.operators.base import LinearOperator
from sampling.steps.table import PREDICTORS
from systems.density import Density
from systems.requests.generate import check_labels, samples_for, unasked


def load(
    workdir: str | pathlib.Path, checkpoint: int | None = None, settings: Mapping[str, Any] | None = None
) -> "Model":
    """The model of a run's checkpoint, by default the newest, or of a folder that `--mode=export` wrote.

    settings: of how it is used, which replace those of its config, such as `{"restore.method": "ddnm"}`. Neither the
    data nor anything else of the run need be there. Errors: CheckpointError where there is no such checkpoint, or it is
    damaged; ValueError for one of another version, for code that it names and the user does not, see
    `core.imports.named_by_user`, and for settings that do not exist, or that the model was trained with.
    """
    return Model(pathlib.Path(workdir), checkpoint, settings or {})


class Model:
    """A checkpoint's averaged variables, with what can be done with them. Arrays are NumPy's, in the data's own units.

    An example depends only on the seed and its index, not on its batch.
    """

    def __init__(self, workdir: pathlib.Path, checkpoint: int | None, settings: Mapping[str, Any]):
        self.checkpoint, self.config, self._spec = restore_run.about(workdir, checkpoint)
        _change(self.config, settings)
        self._workdir = workdir
        _, self.step, self._variables = self._run(None, None, None).restore(self.checkpoint)

    def sample(
        self,
        num: int,
        labels: Sequence[int] | None = None,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        seed: int | None = None,
    ) -> np.ndarray:
        """`num` samples [num, ...]; without arguments those of `--mode=sample --task=unconditional`.

        labels: class labels, cycled. sampler: "ode", a multistep solver, a predictor, or of average velocities
        "average_velocity" or "consistency", instead of the config's.
        steps: of the sampler. Errors: ValueError for a name that is not known, numbers below 1, classes that the model
        does not have, and for a system that generates no samples.
        """
        for name, value in (("num", num), ("steps", 1 if steps is None else steps)):
            if value < 1:
                raise ValueError(f"{name} = {value} was given, but it must be at least 1.")
        system = self._run(sampler, steps, seed).system
        if system.generate is None:
            raise ValueError(f"config.system = {self.config.system!r} generates no samples; load another model.")
        asked = unasked(system, num) if labels is None else {"label": self._labels(labels, num)}
        return samples_for(system, asked, num, self._variables, self.checkpoint)["samples"]

    def log_likelihood(self, x: np.ndarray, labels: Sequence[int] | None = None) -> np.ndarray:
        """The log-likelihood of examples [N, ...] in nats [N], as `--mode=eval` measures bits per dimension.

        Of data with levels it is the log of the density in the cell of an example, as the network sees it;
        `likelihood.dequantize.bits_per_dim` turns it into bits/dim. Errors: ValueError for another shape.
        """
        x = self._values(x)
        asked = np.zeros(len(x), np.int32) if labels is None else self._labels(labels, len(x))
        return self._density().log_likelihood(self._variables, x, asked)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The latent codes [N, ...] of examples by the probability-flow ODE; `decode` is the inverse."""
        return self._density().encode(self._variables, self._values(x))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The examples [N, ...] with the latent `codes` [N, ...]."""
        return self._density().decode(self._variables, np.asarray(self._checked(codes), np.float32))

    def restore(
        self, operator: LinearOperator, y: np.ndarray, *, num: int = 1, prior_variance: float | None = None
    ) -> np.ndarray:
        """`num` samples of the posterior given each measurement `y` [N, *measurement_shape]: [N, num, ...].

        operator: from `sampling.inverse.operators`; it measures what the network sees. The samples are values of
        the data. prior_variance: of the data as the network sees them, for methods that use it; by default
        `config.restore.prior_variance`. The method is `config.restore.method`. Errors: ValueError where neither is set.
        """
        y = np.asarray(y)
        if y.shape[1:] != tuple(operator.measurement_shape) or not len(y):
            wanted = ", ".join(map(str, operator.measurement_shape))
            raise ValueError(f"y has the shape {y.shape}, but the operator measures [N, {wanted}].")
        return self._density().restore(self._variables, self.checkpoint, operator, y, num, prior_variance)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        """Arrays of the model's shape. Errors: ValueError for others."""
        x, shape = np.asarray(x), self._run(None, None, None).spec.shape
        if x.shape[1:] != shape or not len(x):
            raise ValueError(f"x has the shape {x.shape}, but the model takes [N, {', '.join(map(str, shape))}].")
        return x

    def _values(self, x: np.ndarray) -> np.ndarray:
        """Examples in the data's units. Errors: ValueError for levels or values that the data do not have."""
        x, spec = self._checked(x), self._run(None, None, None).spec
        kind, wanted = ("iu", f"levels from 0 to {spec.num_levels - 1}") if spec.num_levels else ("f", "finite floats")
        fits = x.dtype.kind in kind
        fits = fits and bool((x >= 0).all() and (x < spec.num_levels).all() if kind == "iu" else np.isfinite(x).all())
        if not fits:
            raise ValueError(f"x has {x.dtype} from {x.min():g} to {x.max():g}, but the model takes {wanted}.")
        return x.astype(spec.dtype)

    def _labels(self, labels: Sequence[int], num: int) -> np.ndarray:
        """`num` class labels, cycled. Errors: ValueError for classes that the model does not have."""
        if not len(labels):
            raise ValueError("labels has no class; leave it out, or give some.")
        check_labels(self._run(None, None, None).system, labels, "labels")
        return np.resize(np.array(labels, np.int32), num)

    def _density(self) -> Density:
        density = self._run(None, None, None).system.density
        if density is None:
            raise ValueError(f"config.system = {self.config.system!r} has no density of this kind; load a diffusion.")
        return density

    @functools.lru_cache(maxsize=8)  # noqa: B019  a model lives as long as its compiled programs
    def _run(self, sampler: str | None, steps: int | None, seed: int | None) -> Run:
        """The run with another sampler, number of steps, or seed."""
        config = self.config.copy_and_resolve_references()
        with config.unlocked():
            if sampler is not None:
                config.sampling.update(_sampler(sampler))
            if steps is not None:
                config.sampling.num_steps = steps
            if seed is not None:
                config.seed = seed
        return Run(config, self._workdir, spec=self._spec)


def _change(config: ConfigDict, settings: Mapping[str, Any]) -> None:
    """Changes settings of a config in place. Errors: ValueError for one that does not exist or belongs to the model."""
    known = dict(flatten(config))
    for key, value in settings.items():
        if key not in known:
            raise unknown_key(key, known)
        if default.is_fixed(key) and value != known[key]:
            raise ValueError(
                f"config.{key} = {value!r} was given, but the model was trained with {known[key]!r}; leave it out."
            )
        set_value(config, key, value)
    default.validate(config)


def _sampler(name: str) -> dict[str, str]:
    """The settings of `config.sampling` for a sampler's name. Errors: ValueError for one that is not known."""
    if name == "ode":
        return {"method": "ode"}
    if name in METHODS:
        return {"method": "solver", "solver": name, "corrector": "none"}
    if name in PREDICTORS:
        return {"method": "pc", "predictor": name, "corrector": "none"}
    if name in STEPS:
        return {"method": name, "corrector": "none"}
    known = ("ode", *METHODS, *PREDICTORS, *STEPS)
    raise ValueError(
        f"sampler = {name!r} is not known; choose one of {', '.join(known)} (nearest: {nearest(name, known)})."
    )
