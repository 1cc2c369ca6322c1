"""The parameters of a network and the order of its modules, without computing anything."""

from typing import Any

import flax.linen as nn
import jax


def outline(network: nn.Module, *example: Any) -> tuple[dict[str, Any], list[str]]:
    """(shapes and dtypes of the parameters, names of the direct submodules in order of first use).

    example: the network's arguments, such as x [1, H, W, C] and time [1]. The order is that of the published PyTorch
    networks' `all_modules`: it includes modules without parameters, but not the resamplers of skip pyramids
    (`resample.Upsample.shared`): a published network has a single one, outside its list.
    """
    order: dict[str, None] = {}

    def note(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = context.module.path
        is_listed = len(path) == 1 and not getattr(context.module, "shared", False)
        if is_listed and context.method_name == "__call__":
            order.setdefault(path[0])
        return method(*args, **kwargs)

    with nn.intercept_methods(note):
        shapes = jax.eval_shape(lambda *args: network.init({"params": jax.random.key(0)}, *args)["params"], *example)
    return shapes, list(order)
