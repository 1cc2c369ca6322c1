"""How a representation has the factors of the data: disentanglement, completeness, informativeness."""

from typing import NamedTuple

import numpy as np


class DCI(NamedTuple):
    """disentanglement: whether a code has one factor alone. completeness: whether a factor is in one code alone.

    informativeness: the share of the variance of factors [K] that codes explain in examples that were held out.
    importance: R [D, K], that of each code for each factor.
    """

    disentanglement: float
    completeness: float
    informativeness: np.ndarray
    importance: np.ndarray


def dci(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> DCI:
    """Of codes [N, D] and factors [N, K], by gradient-boosted trees for each factor, fitted to half of the examples.

        P_ij = R_ij / sum_k R_ik,  D_i = 1 + sum_j P_ij log_K P_ij,  D = sum_i rho_i D_i,  rho_i = sum_j R_ij / sum R
        Q_ij = R_ij / sum_k R_kj,  C_j = 1 + sum_i Q_ij log_D Q_ij,  C = mean_j C_j

    Errors: ValueError for fewer than 4 examples. Source: Eastwood and Williams, ICLR 2018, section 2.
    Notes: of one code or factor alone there is nothing to tell apart, and its entropy is 0.
    """
    from sklearn.ensemble import GradientBoostingRegressor  # slow to import

    if len(codes) < 4:
        raise ValueError(f"{len(codes)} examples cannot be split into halves for trees; give at least 4.")
    half, importance, explained = len(codes) // 2, [], []
    for factor in factors.T:
        trees = GradientBoostingRegressor(random_state=seed).fit(codes[:half], factor[:half])
        importance.append(trees.feature_importances_)
        explained.append(trees.score(codes[half:], factor[half:]))
    R = np.stack(importance, axis=1)
    by_code = 1 - evenness(R / np.maximum(R.sum(axis=1, keepdims=True), 1e-12), axis=1)
    by_factor = 1 - evenness(R / np.maximum(R.sum(axis=0, keepdims=True), 1e-12), axis=0)
    weight = R.sum(axis=1) / max(R.sum(), 1e-12)
    return DCI(float(weight @ by_code), float(by_factor.mean()), np.array(explained), R)


def evenness(P: np.ndarray, axis: int) -> np.ndarray:
    """-sum P log P along an axis, to the base of the number of probabilities: 1 where all are equal."""
    base = np.log(max(P.shape[axis], 2))
    return -np.sum(P * np.log(np.where(P > 0, P, 1.0)), axis=axis) / base
