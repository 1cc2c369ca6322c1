"""The activation functions that a config can choose."""

from collections.abc import Callable

import flax.linen as nn

from core.arrays import Array

Activation = Callable[[Array], Array]

ACTIVATIONS: dict[str, Activation] = {
    "elu": nn.elu,
    "relu": nn.relu,
    "lrelu": lambda x: nn.leaky_relu(x, 0.2),
    "swish": nn.swish,
}
