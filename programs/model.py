"""A trained model in Python: samples, likelihoods, latent codes and restoration, as the programs compute them."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from builders import inverse
from configs import default
from core.arrays import Array
from core.keys import RestorationKey, RunKey, fold_in, keys_at
from core.tables import nearest
from programs import restore_run
from programs.run import Run
from sampling import latent
from sampling.coefficients import METHODS
from sampling.inverse.operators.base import LinearOperator
from sampling.steps.table import PREDICTORS
from systems.base import System
from systems.diffusion import Diffusion
from systems.requests.base import batch_size, in_batches
from systems.requests.generate import samples_for

EPS = 1e-5  # the time at which codes of the ODE begin


def load(workdir: str | pathlib.Path, checkpoint: int | None = None) -> "Model":
    """The model of a run's checkpoint, by default the newest; its data need not be there.

    Errors: CheckpointError where there is no such checkpoint; ValueError for one of another version.
    """
    return Model(pathlib.Path(workdir), checkpoint)


class Model:
    """A checkpoint's averaged variables, with what can be done with them. Arrays are NumPy's, in the data's own units.

    An example depends only on the seed and its index, not on its batch.
    """

    def __init__(self, workdir: pathlib.Path, checkpoint: int | None = None):
        self.config: ConfigDict = restore_run.config_of(workdir, checkpoint)
        self._workdir, self._spec = workdir, restore_run.spec_of(workdir, checkpoint)
        devices = self._system(None, None, None).devices
        self.checkpoint, self.step, self._variables = restore_run.restore(workdir, checkpoint, devices.replicated)

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

        labels: class labels, cycled. sampler: "ode", a multistep solver, or a
        predictor, instead of the config's. steps: of the sampler. Errors: ValueError for a name that is not known, and
        for a system that generates no samples.
        """
        system = self._system(sampler, steps, seed)
        if system.generate is None:
            raise ValueError(f"config.system = {self.config.system!r} generates no samples; load another model.")
        asked = {} if labels is None else {"label": np.resize(np.array(labels, np.int32), num)}
        return samples_for(system, asked, num, self._variables, self.checkpoint)["samples"]

    def log_likelihood(self, x: np.ndarray, labels: Sequence[int] | None = None) -> np.ndarray:
        """The log-likelihood of examples [N, ...] in nats [N], as `--mode=eval` measures bits per dimension.

        Data with levels are dequantized as `eval.dequantization` says. Errors: ValueError for another shape.
        """
        system = self._diffusion()
        x = self._checked(x)
        num = len(x)
        asked = np.zeros(num, np.int32) if labels is None else np.resize(np.array(labels, np.int32), num)
        key = fold_in(fold_in(system.key, RunKey.LIKELIHOOD), 0)

        def measured(rows: np.ndarray) -> dict[str, Array]:
            batch = {"x": x[rows], "label": asked[rows]}
            found = system.bits_per_dim(
                self._variables["params"], keys_at(key, rows), system.devices.shard_batch(batch), None
            )
            return {name: found[name] for name in ("logp_nats", "num_evals")}

        return in_batches(measured, num, batch_size(system, num), "likelihood")["logp_nats"]

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The latent codes [N, ...] of examples by the probability-flow ODE; `decode` is the inverse."""
        system = self._diffusion()
        return self._solve(latent.encode, np.asarray(system.encode(self._variables, jnp.asarray(self._checked(x)))))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The examples [N, ...] with the latent `codes` [N, ...]."""
        x = self._solve(latent.decode, np.asarray(codes, np.float32))
        return np.asarray(self._diffusion().decode(self._variables, jnp.asarray(x)))

    def restore(
        self, operator: LinearOperator, y: np.ndarray, *, num: int = 1, prior_variance: float | None = None
    ) -> np.ndarray:
        """`num` samples of the posterior given each measurement `y` [N, *measurement_shape]: [N, num, ...].

        operator: from `sampling.inverse.operators`; it measures what the network sees. The samples are values of
        the data. prior_variance: of the data as the network sees them, for methods that use it; by default
        `config.restore.prior_variance`. The method is `config.restore.method`. Errors: ValueError where neither is set.
        """
        system = self._diffusion()
        if prior_variance is None and self.config.restore.prior_variance is None:
            raise ValueError(
                "prior_variance is not given and config.restore.prior_variance is not set; give the variance of the "
                "data as the network sees them, such as 0.25 for images in [-1, 1]."
            )
        variance = float("nan") if prior_variance is None else prior_variance
        width = inverse.width(self.config, system.spec.num_levels)
        config = self.config.copy_and_resolve_references()
        if prior_variance is not None:
            with config.unlocked():
                config.restore.prior_variance = None
        sampler = inverse.posterior_sampler(config, system.sde, system.sampler, operator, variance, width)
        key = fold_in(fold_in(fold_in(system.key, RunKey.RESTORE), self.checkpoint), RestorationKey.POSTERIOR)

        @jax.jit
        def compiled(params: Any, guide: Any, keys: Array, operator: LinearOperator, y: Array) -> dict[str, Array]:
            found = sampler(keys, system.guide.predict_of(params, guide, None), operator, y)
            return {"x": system.to_data(found.x), "num_evals": found.num_evals}

        def restored(rows: np.ndarray) -> dict[str, Array]:
            keys = jax.vmap(jax.random.fold_in)(keys_at(key, rows // num), rows % num)
            keys, given = system.devices.shard_rows((keys, jnp.asarray(y)[rows // num]))
            return compiled(self._variables["params"], system.guide.params, keys, operator, given)

        found = in_batches(restored, len(y) * num, batch_size(system, len(y) * num))["x"]
        return found.reshape(len(y), num, *found.shape[1:])

    def _solve(self, solve: Any, x: np.ndarray) -> np.ndarray:
        system, sampling = self._diffusion(), self.config.sampling

        @jax.jit
        def compiled(params: Any, guide: Any, x: Array) -> dict[str, Array]:
            predict = system.guide.predict_of(params, guide, None)
            return solve(predict, system.sde, x, eps=EPS, rtol=sampling.rtol, atol=sampling.atol)._asdict()

        def solved(rows: np.ndarray) -> dict[str, Array]:
            part = system.devices.shard_rows(jnp.asarray(x[rows]))
            return compiled(self._variables["params"], system.guide.params, part)

        return in_batches(solved, len(x), batch_size(system, len(x)), "solving the ODE")["x"]

    def _checked(self, x: np.ndarray) -> np.ndarray:
        """Examples of the model's shape. Errors: ValueError for others."""
        x, shape = np.asarray(x), self._system(None, None, None).spec.shape
        if x.shape[1:] != shape or not len(x):
            raise ValueError(f"x has the shape {x.shape}, but the model takes [N, {', '.join(map(str, shape))}].")
        return x

    def _diffusion(self) -> Diffusion:
        system = self._system(None, None, None)
        if not isinstance(system, Diffusion):
            raise ValueError(f"config.system = {self.config.system!r} has no density of this kind; load a diffusion.")
        return system

    @functools.lru_cache(maxsize=8)  # noqa: B019  a model lives as long as its compiled programs
    def _system(self, sampler: str | None, steps: int | None, seed: int | None) -> System:
        """The system with another sampler, number of steps, or seed."""
        config = self.config.copy_and_resolve_references()
        with config.unlocked():
            if sampler is not None:
                config.sampling.update(_sampler(sampler))
            if steps is not None:
                config.sampling.num_steps = steps
            if seed is not None:
                config.seed = seed
        default.validate(config)
        return Run(config, self._workdir, spec=self._spec).system


def _sampler(name: str) -> dict[str, str]:
    """The settings of `config.sampling` for a sampler's name. Errors: ValueError for one that is not known."""
    if name == "ode":
        return {"method": "ode"}
    if name in METHODS:
        return {"method": "solver", "solver": name, "corrector": "none"}
    if name in PREDICTORS:
        return {"method": "pc", "predictor": name, "corrector": "none"}
    known = ("ode", *METHODS, *PREDICTORS)
    raise ValueError(
        f"sampler = {name!r} is not known; choose one of {', '.join(known)} (nearest: {nearest(name, known)})."
    )
