"""The singular value decomposition of parallel MRI that measures whole lines: a small one for each row."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from core.arrays import Array
from sampling.inverse.operators.factored import LARGEST_MATRIX, RTOL, Decomposed, kept
from sampling.inverse.operators.sense import Sense


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SenseLines(Decomposed):
    """A `Sense` whose mask is the same for every position along all sides but the last.

    The Fourier transform over the other sides is unitary. Without it, each row x_i along the last side, [W] or complex,
    has a measurement of its own: y_i = A_i x_i, A_i = (F s_c)_k for coils c and the known frequencies k of that side.
    With A_i = U_i S_i V_i^T, the coordinates of x are V_i^T x_i [N, D], and those of y are U_i^T of its real numbers.
    See `by_rows`.
    """

    lines: Array  # int [K], the known frequencies of the last side
    U: Array  # [N, M, D], N rows, M = 2 K coils; zero where S is
    s: Array  # [N, D], D = W, or 2 W for complex x
    Vt: Array  # [N, D, D]

    @property
    def singular_values(self) -> Array:
        """S [1, N, D]."""
        return self.s[None]

    def to_basis(self, x: Array) -> Array:
        """V_i^T x_i."""
        rows = self._checked(x).reshape(x.shape[0], *self.s.shape)
        return jnp.einsum("bnd,nrd->bnr", rows, self.Vt, precision="highest")

    def from_basis(self, c: Array) -> Array:
        """V_i c_i."""
        return jnp.einsum("bnr,nrd->bnd", c, self.Vt, precision="highest").reshape(-1, *self.shape)

    def to_spectrum(self, y: Array) -> Array:
        """U_i^T y_i."""
        rows = jnp.take(jnp.fft.ifftn(y, axes=self._other_axes, norm="ortho"), self.lines, axis=-2)
        flat = rows.reshape(y.shape[0], len(self.s), -1)
        numbers = jnp.concatenate([flat.real, flat.imag], axis=-1)
        return jnp.einsum("bnm,nmr->bnr", numbers, self.U, precision="highest")

    def from_spectrum(self, c: Array) -> Array:
        """U_i c_i, zero at unknown frequencies."""
        numbers = jnp.einsum("bnr,nmr->bnm", jnp.where(self.measured, c, 0.0), self.U, precision="highest")
        real, imaginary = jnp.split(numbers, 2, axis=-1)
        *others, _, coils = self.measurement_shape
        rows = jax.lax.complex(real, imaginary).reshape(-1, *others, len(self.lines), coils)
        y = jnp.zeros((len(rows), *self.measurement_shape), rows.dtype).at[..., self.lines, :].set(rows)
        return jnp.fft.fftn(y, axes=self._other_axes, norm="ortho")

    @property
    def _other_axes(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.shape) - 1))


def is_by_rows(operator: Sense) -> bool:
    """Whether the mask has whole lines, the same for all examples, and the decompositions are not too large."""
    known = np.asarray(operator.known)
    if len(known) > 1:
        return False
    lines = known[0].reshape(-1, known.shape[-2])
    num_rows, width = lines.shape
    M, D = 2 * int(lines[0].sum()) * operator.measurement_shape[-1], width * operator.shape[-1]
    return bool((lines == lines[0]).all()) and num_rows * D * max(M, D) <= LARGEST_MATRIX


def by_rows(operator: Sense, rtol: float = RTOL) -> SenseLines:
    """Parallel MRI with the singular value decomposition of every row, computed here in float64.

    `rtol`: singular values below this fraction of the largest of all rows count as zero. The mask must be one of
    `is_by_rows`. The decompositions of the last operators are kept (`factored.kept`).
    """
    return kept(_by_rows, operator, rtol)


def _by_rows(operator: Sense, rtol: float) -> SenseLines:
    width, coils = operator.measurement_shape[-2:]
    known = np.asarray(operator.known).reshape(-1, width)[0]
    (lines,) = np.nonzero(known)
    F = np.fft.fft(np.eye(width), norm="ortho")[lines]  # [K, W]
    maps = np.asarray(operator.coil_maps, np.complex128).reshape(-1, width, coils)
    A = np.einsum("kw,nwc->nkcw", F, maps).reshape(len(maps), -1, width)
    columns = [A] if operator.shape[-1] == 1 else [A, 1j * A]  # of the real and of the imaginary part of x
    stacked = np.stack(columns, axis=-1).reshape(*A.shape[:2], -1)
    U, s, Vt = np.linalg.svd(np.concatenate([stacked.real, stacked.imag], axis=1), full_matrices=True)
    missing = Vt.shape[-1] - s.shape[-1]
    s = np.pad(np.where(s > rtol * s.max(initial=0.0), s, 0.0), ((0, 0), (0, missing)))
    U = np.pad(U, ((0, 0), (0, 0), (0, max(Vt.shape[-1] - U.shape[-1], 0))))[..., : Vt.shape[-1]]
    U = np.where(s[:, None] > 0, U, 0.0)
    parts = (jnp.asarray(part, jnp.float32) for part in (U, s, Vt))
    return SenseLines(operator.shape, operator, jnp.asarray(lines), *parts)
