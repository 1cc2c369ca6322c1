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
from data.source import Source, from_arrays
from evaluation.tasks.per_example import per_example_task
from systems.base import System
from systems.requests.base import Request, RequestTask, SampleResult
from training.objectives.base import Terms

NUM_SITES, NUM_CATEGORIES = 4, 5
MASK = NUM_CATEGORIES  # the absorbing state
DATA, TIME, WHICH, CATEGORIES = 0, 1, 2, 3  # purposes of an example's key


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


def corrupt(keys: Array, x0: Array, t: Array) -> Array:
    """Each site of x0 [B, 4], or with probability t [B] a mask."""
    draws = jax.vmap(lambda key: jax.random.uniform(key, (NUM_SITES,)))(keys)
    return jnp.where(draws < t[:, None], MASK, x0)


def bound(log_probs: Array, x0: Array, x: Array, t: Array) -> Array:
    """1 / t times the sum of -log p(x0 | x) over masked sites [B], whose mean bounds -log p(x0) in nats."""
    errors = -jnp.take_along_axis(log_probs, x0[..., None], axis=-1)[..., 0]
    return jnp.where(x == MASK, errors, 0.0).sum(-1) / t


@dataclasses.dataclass(frozen=True)
class Complete(Request):
    """The categories `known` at the sites `at`; the others are sampled, `num_samples` times."""

    known: tuple[int, ...] = (0, 1)
    at: tuple[int, ...] = (0, 1)
    num_samples: int = 4
    greedy: bool = False


class Absorbing(System):
    """Absorbing-state diffusion; it reads neither an SDE nor a sampler of the config."""

    def __init__(self, context):
        super().__init__(context)
        self.network, self.num_steps = Network(context.config.model.nf), context.config.sampling.num_steps
        self.objective = self.terms

    def init(self, key):
        return {"params": self.network.init(key, jnp.zeros((1, NUM_SITES), jnp.int32))["params"]}

    def log_probs(self, variables, x):
        return jax.nn.log_softmax(self.network.apply({"params": variables["params"]}, x))

    def terms(self, variables, keys, batch, dropout_key, step):
        """The bound, and the cross-entropy of all sites, which helps."""
        x0 = batch["x"].astype(jnp.int32)
        t = jax.vmap(lambda key: jax.random.uniform(key, (), minval=1e-3))(fold_in(keys, TIME))
        x = corrupt(fold_in(keys, WHICH), x0, t)
        log_probs = self.log_probs(variables, x)
        sites = -jnp.take_along_axis(log_probs, x0[..., None], axis=-1)[..., 0]
        return Terms({"bound": bound(log_probs, x0, x, t), "sites": sites.mean(-1)}, {"masked": (x == MASK).mean()})

    def restore(self, variables, keys, x, greedy=False):
        """Samples [B, 4] from x [B, 4], whose masks are restored in equal steps of time."""
        steps = jnp.arange(self.num_steps)

        def step(x, number):
            t, t_next = 1 - number / self.num_steps, 1 - (number + 1) / self.num_steps
            own = fold_in(keys, number)
            gumbel = jax.vmap(lambda key: jax.random.gumbel(key, (NUM_SITES, NUM_CATEGORIES)))(fold_in(own, CATEGORIES))
            x0 = jnp.argmax(self.log_probs(variables, x) + (0.0 if greedy else gumbel), -1)
            stays = jax.vmap(lambda key: jax.random.uniform(key, (NUM_SITES,)))(fold_in(own, WHICH)) < t_next / t
            return jnp.where((x == MASK) & ~stays, x0, x), None

        return jax.lax.scan(step, x, steps)[0]

    @functools.cached_property
    def generate(self):
        def fn(variables, keys, labels):
            x = self.restore(variables, keys, jnp.full((len(keys), NUM_SITES), MASK))
            return {"samples": x.astype(jnp.uint8), "num_evals": jnp.int32(self.num_steps)}

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
        found = np.asarray(system.restore(variables, keys, jnp.asarray(x), request.greedy)).astype(np.uint8)
        return SampleResult(system.picture(found), {"arr_0": found}, {"num_samples": len(found)})

    return sample
