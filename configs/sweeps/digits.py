"""Learning rate and width of the digits' model: six runs.

python sweep.py --config=configs/subvp/digits_ddpmpp_continuous.py --sweep=configs/sweeps/digits.py --root=runs/sweep
"""

from sweeps.overrides import Sweep, product, vary


def get_sweep() -> Sweep:
    """Two learning rates times three widths."""
    return product(vary("optim.lr", [1e-3, 3e-4]), vary("model.nf", [16, 24, 32]))
