"""Shapes of examples: vectors, series, images and volumes, and what they must be to suit a network or a task."""

KINDS = {1: "vectors (D,)", 2: "series (L, C)", 3: "images (H, W, C)", 4: "volumes (D, H, W, C)"}


def check_shape(shape: tuple[int, ...]) -> None:
    """Errors: ValueError for a shape that is not one of vectors, series, images or volumes."""
    if len(shape) not in KINDS or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(
            f"config.data.shape = {shape}, but it must be positive integers of {', '.join(KINDS.values())}; "
            "set it to the shape of an example."
        )


def is_images(shape: tuple[int, ...]) -> bool:
    """Whether examples of `shape` are images, of any size and number of channels."""
    return len(shape) == 3


def check_images(shape: tuple[int, ...], what: str, instead: str) -> None:
    """Errors: ValueError, which says that `what` is for images and what to do `instead`, for any other shape."""
    if not is_images(shape):
        raise ValueError(f"{what} is for images (H, W, C), but examples have the shape {shape}; {instead}.")


def check_halvings(shape: tuple[int, ...], num_halvings: int, setting: str, remedy: str = "") -> None:
    """Errors: ValueError unless every side can be halved `num_halvings` times; it names sizes that can.

    `setting`: the key and value that the shape comes from. `remedy`: what else can be changed.
    """
    factor, *sides = 2**num_halvings, *shape[:-1]
    wrong = [side for side in sides if side % factor]
    if not wrong:
        return
    smaller, larger = (
        {max(factor, side // factor * factor) for side in wrong},
        {-(-side // factor) * factor for side in wrong},
    )
    raise ValueError(
        f"{setting} cannot be halved {num_halvings} times; use a multiple of {factor} "
        f"(such as {' or '.join(map(str, sorted(smaller | larger)))}){remedy}."
    )
