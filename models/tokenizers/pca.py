"""The principal components of patches: a linear auto-encoder in closed form."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from models.networks.autoencoder import from_patches, to_patches
from models.tokenizers.base import Passed, Posterior, Variables


@dataclasses.dataclass(frozen=True)
class PrincipalComponents:
    """z = (p - mean) W of each patch p of x, and p = z W^T + mean; W [P, D] has orthonormal columns.

    With all P components it is a rotation. The columns are the eigenvectors of the covariance of the patches of the
    data, the largest eigenvalue first, each with the sign that makes its largest entry positive.
    """

    shape: tuple[int, ...]
    factor: int
    dim: int
    num_codes: int = 0
    is_uncertain: bool = False

    @property
    def patch_size(self) -> int:
        """P, the number of values of a patch."""
        return self.factor ** (len(self.shape) - 1) * self.shape[-1]

    @property
    def is_bijective(self) -> bool:
        """Whether no component is left out."""
        return self.dim == self.patch_size

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of a code."""
        return (*(side // self.factor for side in self.shape[:-1]), self.dim)

    def init(self, key: Array) -> Variables:
        """The first entries of each patch, until `start`."""
        return {"params": {"mean": jnp.zeros((1, self.patch_size)), "components": jnp.eye(self.patch_size, self.dim)}}

    def start(self, variables: Variables, batches: Sequence[Array], seed: int) -> Variables:
        """The principal components of the data, in double precision."""
        patches = np.concatenate([np.asarray(to_patches(x, self.factor)).reshape(-1, self.patch_size) for x in batches])
        mean = patches.mean(0, keepdims=True, dtype=np.float64)
        centered = patches - mean
        _, vectors = np.linalg.eigh(centered.T @ centered / len(centered))
        components = vectors[:, ::-1][:, : self.dim]
        largest = np.take_along_axis(components, np.abs(components).argmax(0)[None], axis=0)
        found = {"mean": mean, "components": components * np.sign(largest)}
        return {**variables, "params": {name: jnp.asarray(a, jnp.float32) for name, a in found.items()}}

    def encode(self, variables: Variables, x: Array) -> Array:
        """Components of every patch."""
        params = variables["params"]
        patches = to_patches(x, self.factor)
        flat = patches.reshape(-1, self.patch_size) - params["mean"]
        return (flat @ params["components"]).reshape(*patches.shape[:-1], self.dim)

    def decode(self, variables: Variables, codes: Array) -> Array:
        """The patches of components."""
        params = variables["params"]
        flat = codes.reshape(-1, self.dim) @ params["components"].T + params["mean"]
        return from_patches(flat.reshape(*codes.shape[:-1], self.patch_size), self.factor)

    def posterior(self, variables: Variables, x: Array) -> Posterior | None:
        """None: latents are certain."""
        return None

    def reconstruct(self, variables: Variables, x: Array, keys: Array, *, train: bool) -> Passed:
        """The reconstruction; the components are what they are, and not trained."""
        fixed = jax.lax.stop_gradient(variables)
        return Passed(self.decode(fixed, self.encode(fixed, x)), {}, {}, {})
