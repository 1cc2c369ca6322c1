"""The digits model computed in float32 and in bfloat16: two runs.

python sweep.py --config=configs/subvp/digits_ddpmpp_continuous.py --sweep=configs/sweeps/precision.py \\
    --root=runs/precision
"""

from typing import Any


def get_sweep() -> list[dict[str, Any]]:
    """Two data types; everything else, including all random numbers, is the same."""
    return [{"model.dtype": dtype} for dtype in ("float32", "bfloat16")]
