# %% [markdown]
# # Your own SDE and your own sampler
#
# An SDE is four functions of time, and a sampler's step is one function. This notebook writes one of each, checks them
# on data whose score is known, and trains a network with them.
#
# **On Colab**, the next cell gets the code and installs what it needs. Elsewhere it only finds the code: open this
# notebook in a clone, with the environment that `make setup` creates.

# %%
import json
import os
import pathlib
import subprocess
import sys

if "google.colab" in sys.modules:
    REPOSITORY = "https://github.com/YOUR_NAME/score_sde"  # the address of your copy of the code
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, "score_sde"], check=True)
    os.chdir("score_sde")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-r", "requirements.txt"], check=True)
here = pathlib.Path.cwd()
sys.path[:0] = [str(path) for path in (here, *here.parents) if (path / "run_lib.py").exists()][:1]

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import run_lib
from core.arrays import Array, broadcast_to_rank
from corruption.predictions import Predict, from_score
from sampling import grids
from sampling.base import Sample, Step
from sampling.pc import pc
from sampling.steps.euler_maruyama import euler_maruyama
from sampling.steps.none import none
from sde.base import SDE

# %% [markdown]
# ## An SDE
#
# The noise of this one grows with a rate that falls from `fast` to `slow`. With `B(t)` the integral of the rate, data
# are scaled by `exp(-B / 2)`, and the variance of the noise is `1 - exp(-B)`.


# %%
@dataclasses.dataclass(frozen=True)
class Cooling(SDE):
    """dx = -rate(t) x / 2 dt + sqrt(rate(t)) dw,    rate(t) = slow + (fast - slow) (1 - t)."""

    fast: float = 20.0
    slow: float = 1.0

    def rate(self, t: Array) -> Array:
        """The noise per unit of time."""
        return self.slow + (self.fast - self.slow) * (1 - t)

    def integral(self, t: Array) -> Array:
        """The integral of the rate from 0 to t."""
        return self.fast * t - (self.fast - self.slow) * t**2 / 2

    def drift_coeff(self, t: Array) -> Array:
        return -self.rate(t) / 2

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(self.rate(t))

    def mean_coeff(self, t: Array) -> Array:
        return jnp.exp(-self.integral(t) / 2)

    def std(self, t: Array) -> Array:
        return jnp.sqrt(-jnp.expm1(-self.integral(t)))  # expm1 keeps the digits near t = 0

    @property
    def prior_std(self) -> float:
        return 1.0


# %% [markdown]
# `mean_coeff` and `std` have to solve the differential equations that `drift_coeff` and `diffusion` define. Automatic
# differentiation checks it.

# %%
sde, t = Cooling(), jnp.linspace(0.01, 1.0, 20)
mean_slope = jax.vmap(jax.grad(sde.mean_coeff))(t)
variance_slope = jax.vmap(jax.grad(lambda t: sde.std(t) ** 2))(t)
assert jnp.allclose(mean_slope, sde.drift_coeff(t) * sde.mean_coeff(t), rtol=1e-4, atol=1e-6)
expected = 2 * sde.drift_coeff(t) * sde.std(t) ** 2 + sde.diffusion(t) ** 2
assert jnp.allclose(variance_slope, expected, rtol=1e-3, atol=1e-3)

# %% [markdown]
# ## A sampler's step
#
# A predictor goes from time `t` to `t_next`. This is Ralston's method for the probability-flow ODE `dx/dt = v(x, t)`,
# which predicts twice: at `t`, and at two thirds of the step.


# %%
def ralston() -> Step:
    """x_next = x - (v(x, t) / 4 + 3 v(x - 2/3 v(x, t) dt, t - 2/3 dt) / 4) dt,    dt = t - t_next."""

    def step(z: Array, predict: Predict, sde: SDE, x: Array, t: Array, t_next: Array) -> Sample:
        dt = jnp.asarray(t - t_next)
        first = sde.probability_flow(predict, x, t)
        second = sde.probability_flow(predict, x - broadcast_to_rank(2 * dt / 3, x) * first, t - 2 * dt / 3)
        mean = x - broadcast_to_rank(dt, x) * (first + 3 * second) / 4
        return Sample(mean, mean)

    return step


# %% [markdown]
# ## Both on a known score
#
# The score of Gaussian data is known at every time. So is the result of the ODE: the standard deviation of the samples
# has to be that of the data. A method of second order has a much smaller error with as many network evaluations.

# %%
SPREAD = 0.3


def score_fn(x: Array, t: Array) -> Array:
    """The exact score of data from N(0, SPREAD^2)."""
    variance = (sde.mean_coeff(t) * SPREAD) ** 2 + sde.std(t) ** 2
    return -x / broadcast_to_rank(variance, x)


errors = {}
for name, predictor, steps in (("Euler", euler_maruyama(probability_flow=True), 40), ("Ralston", ralston(), 20)):
    sampler = pc(sde, predictor=predictor, corrector=none(), times=grids.log_snr(sde, steps, eps=1e-4))
    samples = jax.jit(lambda key, sampler=sampler: sampler(key, from_score(score_fn, sde), (4000, 1)))(
        jax.random.key(0)
    )
    errors[name] = abs(float(samples.x.std()) - SPREAD)
    print(f"{name:<8} {int(samples.num_evals)} evaluations, error of the standard deviation {errors[name]:.4f}")
assert errors["Ralston"] < errors["Euler"]

# %% [markdown]
# ## Names for configs
#
# A row of a table gives each a name, which configs then use like any other. In a clone of your own, the class and the
# function go to files, and the rows to the tables themselves ([CONTRIBUTING](../CONTRIBUTING.md)).

# %%
from builders.process import SDE_FAMILIES, SDEFamily
from configs.vp import vectors_mlp_continuous
from sampling.steps.table import PREDICTORS

SDE_FAMILIES["cooling"] = SDEFamily(make=lambda model: Cooling())
PREDICTORS["ralston"] = lambda settings: ralston()

# %% [markdown]
# ## Training
#
# The data are 30 measurements of each of 569 tumors. `SETTINGS` changes settings by their names; the environment
# variable is for the tests, which make everything small.

# %%
SETTINGS = {"training.n_iters": 2000, "training.log_freq": 500}
SETTINGS |= json.loads(os.environ.get("NOTEBOOK_SETTINGS", "{}"))
WORKDIR = pathlib.Path("runs/own_sde")

config = vectors_mlp_continuous.get_config()
config.training.sde = "cooling"
config.sampling.predictor, config.sampling.corrector = "ralston", "none"
config.update_from_flattened_dict(SETTINGS)
run_lib.train(config, WORKDIR)

# %% [markdown]
# ## Samples
#
# The model samples by the step above, and its likelihood is that of the SDE above.

# %%
model = run_lib.load(WORKDIR)
run = run_lib.Run(config, WORKDIR)
data = run.test.fetch(np.arange(len(run.test)))["x"]
samples = model.sample(len(data), steps=20)
print(f"test examples: {model.log_likelihood(data[:8]).mean() / data.shape[1]:.2f} nats/dim")

plt.figure(figsize=(4, 4))
for name, x in {"data": data, "samples": samples}.items():
    plt.scatter(x[:, 0], x[:, 1], s=4, label=name)
plt.legend()
plt.show()
