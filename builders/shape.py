"""The shape of an example, from `config.data`."""

from ml_collections import ConfigDict

from data import shapes


def data_shape(config: ConfigDict) -> tuple[int, ...]:
    """The shape of an example: `data.shape`, or by the published keys (image_size, image_size, num_channels).

    Errors: ValueError for a shape that is not one of vectors, series, images or volumes.
    """
    data = config.data
    shape = tuple(data.shape) or (data.image_size, data.image_size, data.num_channels)
    shapes.check_shape(shape)
    return shape


def check_halvings(config: ConfigDict, num_halvings: int, remedy: str = "") -> None:
    """Errors: ValueError unless every side can be halved as often as a network does; see `data.shapes`."""
    shape = data_shape(config)
    setting = f"shape = {shape}" if config.data.shape else f"image_size = {config.data.image_size}"
    shapes.check_halvings(shape, num_halvings, f"config.data.{setting}", remedy)
