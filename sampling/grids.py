"""Time grids of fixed-step samplers: tuples of decreasing times, one more than there are steps."""

import numpy as np


def uniform(num_steps: int, eps: float, t_max: float = 1.0) -> tuple[float, ...]:
    """`num_steps` equal steps from `t_max` to `eps`: num_steps + 1 times.

    Notes: the published grid has N times, and so N - 1 intervals, between which N steps of 1/N are taken.
    """
    if num_steps < 1 or not 0 <= eps < t_max:
        raise ValueError(f"A grid needs num_steps >= 1 and 0 <= eps < t_max, not {num_steps}, {eps}, {t_max}.")
    return tuple(np.linspace(t_max, eps, num_steps + 1).tolist())


def levels(num_scales: int, eps: float = 0.0) -> tuple[float, ...]:
    """Every level of a tabulated SDE from the noisiest down, and then -1, which is its data: num_scales + 1 times.

    t_k = 1 - k (1 - eps) / (N - 1), k = 0 ... N - 1, each raised by as many units in the last place of float32 as it
    takes for trunc(t_k (N - 1)) = N - 1 - k to hold in float32 arithmetic.

    `eps`: time shown to the score function at the least noise; a network trained in continuous time needs eps > 0.
    Source: the times of Song et al. 2021's samplers; algorithms 2 to 5 (level i to level i - 1).
    """
    if num_scales < 2 or not 0 <= eps * (num_scales - 1) < 1:
        raise ValueError(f"A chain needs num_scales >= 2 and 0 <= eps < 1 / (num_scales - 1), not {num_scales}, {eps}.")
    scale = np.float32(num_scales - 1)
    times = []
    for k, exact in enumerate(np.linspace(1.0, eps, num_scales)):
        t = np.float32(exact)
        while t * scale < scale - k:
            t = np.nextafter(t, np.float32(np.inf))
        times.append(float(t))
    return (*times, -1.0)
