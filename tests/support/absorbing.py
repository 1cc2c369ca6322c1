"""A system of its own: absorbing-state diffusion on four sites of five categories, in one file that imports no test.

A test puts a copy of it beside a config file, as a user would. A site is masked with probability t, and a mask is
restored in steps. Source: Austin et al., "Structured Denoising Diffusion Models in Discrete State-Spaces", 2021.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import default
from core.arrays import Array
from core.keys import RunKey, example_keys, fold_in, keys_at
from corruption.predictions import Categorical
from data.source import Source, from_arrays
from evaluation.tasks.per_example import per_example_task
from sampling.ancestral import Ancestral
from sampling.loop import FixedStep
from systems.base import System
from systems.requests.base import Request, RequestTask, SampleResult
from training.objectives.base import Terms

NUM_SITES, NUM_CATEGORIES = 4, 5
MASK = NUM_CATEGORIES  # the absorbing state
TIME, WHICH, CATEGORIES = 0, 1, 2  # purposes of an example's key


def get_config() -> ConfigDict:
    """Ten steps, an evaluation of the last checkpoint."""
    config = default.get_config()
    config.system = f"{__name__}:Absorbing"
    config.data.update(dataset=f"{__name__}:source", num_levels=NUM_CATEGORIES)
    config.data.update(random_flip=False, uniform_dequantization=False)
    config.model.nf = 16
    config.training.update(batch_size=16, n_iters=10, log_freq=5, eval_freq=5, snapshot_freq=5)
    config.training.update(snapshot_freq_for_preemption=5, snapshot_num_samples=4)
    config.sampling.num_steps = 8
    config.eval.update(batch_size=16, num_samples=24, begin_ckpt=2, end_ckpt=2)
    return config


def source(split: str) -> Source:
    """Arithmetic progressions modulo five: 25 sequences, each several times."""
    first, step = np.divmod(np.arange({"train": 100, "test": 40}[split]), NUM_CATEGORIES)
    values = (first[:, None] + step[:, None] * np.arange(NUM_SITES)) % NUM_CATEGORIES
    return from_arrays("progressions", values.astype(np.uint8), num_levels=NUM_CATEGORIES)


class Network(nn.Module):
    """Logits of the categories of every site [B, 4, 5], from categories and masks [B, 4]."""

    nf: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        hidden = jax.nn.one_hot(x, NUM_CATEGORIES + 1).reshape(len(x), -1)
        hidden = nn.gelu(nn.Dense(self.nf)(hidden))
        return nn.Dense(NUM_SITES * NUM_CATEGORIES)(hidden).reshape(len(x), NUM_SITES, NUM_CATEGORIES)


class Masking:
    """The process: a site is masked with probability t; a `Process` (see `corruption.base.Process`)."""

    is_discrete = False

    def prior(self, keys, shape):
        return jnp.full(shape, MASK)

    def corrupt(self, keys, x0, t):
        masked = uniform(keys) < t[:, None]
        return jnp.where(masked, MASK, x0), (x0, masked)

    def error(self, prediction, target, t):
        """-log p(x0 | x) of masked sites [B, 4]; its sum over t is a bound of -log p(x0) in nats."""
        x0, masked = target
        return jnp.where(masked, nats(prediction, x0), 0.0)

    def reverse_step(self, keys, prediction, x, t, t_next):
        gumbel = jax.vmap(lambda key: jax.random.gumbel(key, (NUM_SITES, NUM_CATEGORIES)))(fold_in(keys, CATEGORIES))
        x0 = jnp.argmax(prediction.log_probs + gumbel, -1)
        restored = (x == MASK) & (uniform(fold_in(keys, WHICH)) >= (t_next / t)[:, None])
        return jnp.where(restored, x0, x), x0


class Unmasking(Ancestral):
    """The sampler's stepper: the reverse step at a temperature, 0 for the likeliest categories."""

    def __init__(self, process, temperature):
        super().__init__(process)
        object.__setattr__(self, "temperature", max(temperature, 1e-6))

    def step(self, keys, predict, state, t, t_next, row):
        def colder(x, t):
            return Categorical(predict(x, t).log_probs / self.temperature)

        return super().step(keys, colder, state, t, t_next, row)


def uniform(keys):
    return jax.vmap(lambda key: jax.random.uniform(key, (NUM_SITES,)))(keys)


def nats(prediction, x0):
    """-log p(x0 | x) of every site [B, 4]."""
    return -jnp.take_along_axis(prediction.log_probs, x0[..., None], axis=-1)[..., 0]


@dataclasses.dataclass(frozen=True)
class Complete(Request):
    """The categories `known` at the sites `at`; the others are sampled, `num_samples` times."""

    known: tuple[int, ...] = (0, 1)
    at: tuple[int, ...] = (0, 1)
    num_samples: int = 4
    temperature: float = 1.0


class Absorbing(System):
    """Absorbing-state diffusion; it reads neither an SDE nor a sampler of the config."""

    def __init__(self, context):
        super().__init__(context)
        self.process, self.network = Masking(), Network(context.config.model.nf)
        self.times = np.linspace(1, 0, context.config.sampling.num_steps + 1)
        self.objective = self.terms

    def init(self, key):
        return {"params": self.network.init(key, jnp.zeros((1, NUM_SITES), jnp.int32))["params"]}

    def predict(self, variables, x, t):
        return Categorical(jax.nn.log_softmax(self.network.apply({"params": variables["params"]}, x)))

    def terms(self, variables, keys, batch, dropout_key, step):
        """The bound, and the cross-entropy of all sites, which helps."""
        x0 = batch["x"].astype(jnp.int32)
        t = jax.vmap(lambda key: jax.random.uniform(key, (), minval=1e-3))(fold_in(keys, TIME))
        x, target = self.process.corrupt(fold_in(keys, WHICH), x0, t)
        prediction = self.predict(variables, x, t)
        bound = self.process.error(prediction, target, t).sum(-1) / t
        return Terms({"bound": bound, "sites": nats(prediction, x0).mean(-1)}, {"masked": (x == MASK).mean()})

    def sampled(self, variables, keys, start=None, temperature=1.0):
        """Samples [B, 4], from masks or from `start`."""
        sampler = FixedStep(self.process, Unmasking(self.process, temperature), self.times, denoise=False)
        return sampler(keys, functools.partial(self.predict, variables), (len(keys), NUM_SITES), start=start)

    @functools.cached_property
    def generate(self):
        def fn(variables, keys, labels):
            found = self.sampled(variables, keys)
            return {"samples": found.x.astype(jnp.uint8), "num_evals": found.num_evals}

        return jax.jit(fn)

    @property
    def evaluations(self):
        return {"elbo": self.elbo_task, "samples": self.samples_task}

    def elbo_task(self, number, variables):
        """The bound of each test example."""
        key, test = fold_in(self.key, RunKey.LIKELIHOOD), self.context.splits.test
        terms = jax.jit(lambda keys, batch: self.terms(variables, keys, batch, None, jnp.int32(0)).losses["bound"])

        def evaluate(batch):
            return {"nats": terms(keys_at(key, batch["index"]), self.on_devices(batch))}

        return per_example_task("elbo", *self.batches(test), evaluate, quantity="nats", heading="-ELBO (nats)", rank=2)

    @property
    def requests(self):
        return {**super().requests, "complete": RequestTask(Complete, complete)}


def complete(system, request):
    """Samples that agree with what is known."""
    if len(request.known) != len(request.at):
        raise ValueError(f"--request.known={request.known} needs as many sites in --request.at, but got {request.at}.")
    x = np.full((request.num_samples, NUM_SITES), MASK)
    x[:, list(request.at)] = request.known

    def sample(variables, number):
        keys = example_keys(fold_in(fold_in(system.key, RunKey.RESTORE), number), len(x))
        found = system.sampled(variables, keys, (jnp.asarray(x), 1.0), request.temperature).x
        found = np.asarray(found).astype(np.uint8)
        return SampleResult(system.picture(found), {"arr_0": found}, {"num_samples": len(found)})

    return sample
