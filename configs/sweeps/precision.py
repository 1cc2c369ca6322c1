"""The digits' model in both types that a network can compute in: two runs.

python sweep.py --config=configs/subvp/digits_ddpmpp_continuous.py --sweep=configs/sweeps/precision.py \\
    --root=runs/precision
"""

from sweeps.overrides import Sweep, vary


def get_sweep() -> Sweep:
    """Two types, everything else and all random numbers equal."""
    return vary("model.dtype", ["float32", "bfloat16"])
