"""Transforms of images: flips of a batch [n, H, W, C], crops and antialiased resizing of one image [H, W, C].

The crops and resizes are those of the published data pipeline. It kept CelebA and LSUN at 128 pixels as floats after
resizing; here every image is rounded to 8 bits, as the images of the other data sets always were.
"""

import numpy as np
from PIL import Image

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def flip(x: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Mirrors left and right the examples of `x` [n, H, W, C] whose entry in `bits` [n] is not zero."""
    mirrored = x.copy()
    for row in np.flatnonzero(bits):
        for channel in range(x.shape[3]):  # so NumPy copies lines, not pixels: eight times as fast as a choice of both
            mirrored[row, :, :, channel] = x[row, :, ::-1, channel]
    return mirrored


def central_crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle `height` x `width` pixels of `image` [H, W, C]; an odd remainder leaves one more at the far side.

    Raises ValueError where the image is smaller.
    """
    if image.shape[0] < height or image.shape[1] < width:
        raise ValueError(
            f"an image of {image.shape[0]}x{image.shape[1]} pixels has no central crop of {height}x{width}; "
            "resize it first or choose a smaller crop"
        )
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def resize(image: np.ndarray, height: int, width: int, method: str = "bilinear") -> np.ndarray:
    """`image` [H, W, C] uint8 or uint16 resized to `height` x `width`, antialiased, by "bilinear" or "bicubic"."""
    if image.shape[:2] == (height, width):
        return image
    if image.dtype != np.uint8:  # Pillow filters 16 bits as floats only
        planes = [np.ascontiguousarray(image[..., c], np.float32) for c in range(image.shape[2])]
        floats = [np.asarray(Image.fromarray(plane).resize((width, height), FILTERS[method])) for plane in planes]
        limits = np.iinfo(image.dtype)
        return np.clip(np.round(np.stack(floats, axis=2)), limits.min, limits.max).astype(image.dtype)
    if image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize((width, height), FILTERS[method]))
    resized = [Image.fromarray(plane).resize((width, height), FILTERS[method]) for plane in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(plane) for plane in resized], axis=2)


def resize_square(image: np.ndarray, size: int) -> np.ndarray:
    """The whole image resized to `size` x `size`, whatever its shape was (CIFAR-10 and SVHN)."""
    return resize(image, size, size)


def crop_face(image: np.ndarray, size: int) -> np.ndarray:
    """The central 140x140 pixels resized to `size` x `size` (CelebA)."""
    return resize(central_crop(image, 140, 140), size, size)


def crop_square(image: np.ndarray, size: int) -> np.ndarray:
    """The largest central square resized to `size` x `size`, bicubic (LSUN at 256 pixels, folders of images)."""
    side = min(image.shape[:2])
    return resize(central_crop(image, side, side), size, size, "bicubic")


def crop_scene(image: np.ndarray, size: int) -> np.ndarray:
    """LSUN: at 128 pixels the shorter side is resized and the middle kept; at other sizes `crop_square`."""
    if size != 128:
        return crop_square(image, size)
    ratio = size / min(image.shape[:2])
    height, width = (round(side * ratio) for side in image.shape[:2])
    return central_crop(resize(image, height, width), size, size)


def central_box(height: int, width: int, target_height: int, target_width: int, rule: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what is to become the target: all for "stretch", the middle for "crop".

    The middle is the largest central part of the target's proportions, to the nearest pixel.
    """
    if rule == "stretch":
        return 0, 0, width, height
    ratio = min(height / target_height, width / target_width)
    kept_height, kept_width = round(ratio * target_height), round(ratio * target_width)
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return left, top, left + kept_width, top + kept_height


def fit(image: np.ndarray, height: int, width: int, rule: str) -> np.ndarray:
    """`image` [H, W, C] brought to `height` x `width` by the rule, bicubic; see `central_box`."""
    left, top, right, bottom = central_box(image.shape[0], image.shape[1], height, width, rule)
    return resize(image[top:bottom, left:right], height, width, "bicubic")
