"""The shape of an example, from the config: it says whether a network is for vectors, series, images or volumes."""

from ml_collections import ConfigDict

KINDS = {1: "vectors (D,)", 2: "series (L, C)", 3: "images (H, W, C)", 4: "volumes (D, H, W, C)"}


def data_shape(config: ConfigDict) -> tuple[int, ...]:
    """The shape of an example: `data.shape`, or by the published keys (image_size, image_size, num_channels).

    Errors: ValueError for what is no shape of vectors, series, images or volumes.
    """
    data = config.data
    shape = tuple(data.shape) or (data.image_size, data.image_size, data.num_channels)
    if len(shape) not in KINDS or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(
            f"config.data.shape = {shape}, but it must be positive integers of {', '.join(KINDS.values())}; "
            "set it to the shape of an example."
        )
    return shape


def is_images(shape: tuple[int, ...]) -> bool:
    """Whether examples of `shape` are images of any sizes and channels."""
    return len(shape) == 3


def check_images(shape: tuple[int, ...], what: str, instead: str) -> None:
    """ValueError, which names `what` is for images and what to use `instead`, where `shape` is of something else."""
    if not is_images(shape):
        raise ValueError(f"{what} is for images (H, W, C), but examples have the shape {shape}; {instead}.")


def check_halvings(config: ConfigDict, halvings: int, remedy: str) -> None:
    """ValueError, with sizes that do and the remedy, unless all sides can be halved as often as the network does."""
    factor, *sides = 2**halvings, *data_shape(config)[:-1]
    wrong = [side for side in sides if side % factor]
    if not wrong:
        return
    key = f"shape = {data_shape(config)}" if config.data.shape else f"image_size = {config.data.image_size}"
    near = sorted(
        {max(factor, side // factor * factor) for side in wrong} | {-(-side // factor) * factor for side in wrong}
    )
    raise ValueError(
        f"config.data.{key} cannot be halved {halvings} times; use a multiple of {factor} "
        f"(such as {' or '.join(map(str, near))}){remedy}."
    )


def check_source(config: ConfigDict, num_levels: int) -> None:
    """ValueError for settings of `data` that images or levels need, where examples have none of them (0 levels)."""
    data = config.data
    if data.random_flip:
        check_images(data_shape(config), "config.data.random_flip = True", "set it to False")
    if num_levels:
        return
    if data.uniform_dequantization:
        raise ValueError(
            f"config.data.uniform_dequantization = True adds noise within a level, but {data.dataset} has values "
            "without levels; set it to False."
        )
    if not data.centered:
        raise ValueError(
            f"config.data.centered = False is for data in [0, 1], but {data.dataset} has values without levels, which "
            "the network sees as they are; set it to True."
        )
