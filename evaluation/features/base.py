"""The interface of a feature extractor: from examples to the features by which sets of examples are compared.

An `Extractor` takes images [B, H, W, C] uint8, grayscale or RGB, and returns "features" [B, D] and, if it is a
classifier, "logits" [B, K], float32. Its name and hash are stored with statistics, which another extractor rejects.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FeatureFn = Callable[[np.ndarray], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A feature function with a name, and a hash that changes whenever its features could.

    variant: what metrics by these features are called, as in `FID (thumbnails)`; empty for the features of published
    results, and by default the name. origin: where the features come from, for reports, such as the file of their
    weights and its SHA-256.
    """

    name: str
    hash: str
    extract: FeatureFn
    variant: str | None = None
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def called(self) -> str:
        """What the names of metrics by these features have in parentheses; empty: nothing."""
        return self.name if self.variant is None else self.variant

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of `images` [B, H, W, C] uint8, or any [B, ...] uint8, uint16 or float32 that the function accepts.

        Errors: ValueError for other inputs, and for a function that returns anything but finite features.
        """
        if images.ndim < 2 or images.dtype not in (np.uint8, np.uint16, np.float32) or not images.size:
            raise ValueError(
                f"features of {images.dtype} {images.shape} were given; expected uint8, uint16 or float32 [B, ...]"
            )
        result = {name: np.asarray(value, np.float32) for name, value in self.extract(images).items()}
        if "features" not in result or result.keys() - {"features", "logits"}:
            raise ValueError(
                f"{self.name} returned {', '.join(sorted(result)) or 'nothing'}; it must return features and, "
                "optionally, logits"
            )
        for name, value in result.items():
            if value.ndim != 2 or len(value) != len(images):
                raise ValueError(f"{self.name} returned {name} {value.shape} for {len(images)} images; give [B, D]")
            if not np.isfinite(value).all():
                raise ValueError(f"{self.name} returned {name} that are not finite")
        return result
