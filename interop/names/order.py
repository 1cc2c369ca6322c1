"""What a network consists of, without computing it: its parameters, and its modules in order of use."""

from typing import Any

import flax.linen as nn
import jax


def outline(network: nn.Module, *example: Any) -> tuple[dict[str, Any], list[str]]:
    """(parameters as shapes and types, names of the direct submodules in the order of their first use).

    example: the network's arguments, such as x [1, H, W, C] and time [1]. Modules without parameters are listed too.
    """
    order: dict[str, None] = {}

    def note(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = context.module.path
        if len(path) == 1 and context.method_name == "__call__":
            order.setdefault(path[0])
        return method(*args, **kwargs)

    with nn.intercept_methods(note):
        shapes = jax.eval_shape(lambda *args: network.init({"params": jax.random.key(0)}, *args)["params"], *example)
    return shapes, list(order)
