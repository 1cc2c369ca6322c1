"""Sites with a joint distribution that is known, and the exact predictions of a categorical process for them."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from corruption.predictions import Categorical

LETTERS = "ijklm"


@dataclasses.dataclass(frozen=True)
class Joint:
    """Data x0 [B, D] of probability `table[x0]`, [K] * D, under a process with `kept(t)` and `num_states`."""

    process: object
    table: np.ndarray

    def predict(self, z, t):
        """The exact distribution of each site given all of z, at times t of any process."""
        D, K, S = self.table.ndim, self.process.num_categories, self.process.num_states
        kept, noise = (f(t)[:, None, None] for f in (self.process.schedule.kept, self.process.schedule.noise))
        pi = np.full(S, 1 / S) if S == K else np.eye(S)[-1]
        q = kept * np.eye(K, S)[None] + noise * pi[None, None]  # [B, K, S]
        own = [jnp.take_along_axis(q, z[:, d, None, None], axis=2)[..., 0] for d in range(D)]  # [B, K] each
        terms = ",".join(f"b{letter}" for letter in LETTERS[:D])
        joint = jnp.einsum(f"{LETTERS[:D]},{terms}->b{LETTERS[:D]}", jnp.asarray(self.table, jnp.float32), *own)
        sites = [joint.sum(axis=tuple(a + 1 for a in range(D) if a != d)) for d in range(D)]
        probs = jnp.stack(sites, axis=1)
        return Categorical(jnp.log(jnp.maximum(probs / probs.sum(-1, keepdims=True), 1e-30)))

    def frequencies(self, x):
        """How often each x0 occurs in x [N, D], in the shape of the table."""
        flat = np.ravel_multi_index(tuple(np.asarray(x).T), self.table.shape)
        return np.bincount(flat, minlength=self.table.size).reshape(self.table.shape) / len(x)
