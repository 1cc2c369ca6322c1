"""Learning rate and width of the digits model: six runs.

python sweep.py --config=configs/subvp/digits_ddpmpp_continuous.py --sweep=configs/sweeps/digits.py --root=runs/sweep
"""

from typing import Any


def get_sweep() -> list[dict[str, Any]]:
    """Two learning rates times three widths."""
    return [{"optim.lr": lr, "model.nf": nf} for lr in (1e-3, 3e-4) for nf in (16, 24, 32)]
