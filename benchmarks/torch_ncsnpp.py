"""NCSN++ in plain PyTorch for `benchmarks.against_torch`, optimized for speed.

Written from the description of the network and PyTorch's documentation. It has BigGAN blocks, FIR resampling, a
residual input pyramid, and a Fourier embedding. The attributes have the names of the Flax modules (`Conv_0`), so that
weights are copied by name.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.blocks.normalization import num_groups

SQRT2 = math.sqrt(2)


def norm(channels: int) -> nn.GroupNorm:
    """Group normalization with the same number of groups as in `models`."""
    return nn.GroupNorm(num_groups(channels, min(channels // 4, 32)), channels, eps=1e-6)


class Resample(nn.Module):
    """Upsampling, downsampling, or filtering with the taps (1, 3, 3, 1), as one depthwise convolution.

    With channels last this is by far the fastest implementation. With channels first, a transposed depthwise
    convolution is slow, so upsampling uses bilinear interpolation, which has the same weights.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", torch.outer(taps, taps), persistent=False)

    def _per_channel(self, x: Tensor, gain: float = 1.0) -> Tensor:
        return (gain * self.kernel).expand(x.shape[1], 1, 4, 4)

    def up(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2H, 2W]."""
        if x.is_contiguous(memory_format=torch.channels_last):
            return F.conv_transpose2d(x, self._per_channel(x, 4.0), stride=2, padding=1, groups=x.shape[1])
        return F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")[:, :, 2:-2, 2:-2]

    def down(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H/2, W/2]."""
        return F.conv2d(x, self._per_channel(x), stride=2, padding=1, groups=x.shape[1])

    def smooth(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H + 1, W + 1], before a convolution with stride 2."""
        return F.conv2d(x, self._per_channel(x), padding=2, groups=x.shape[1])


class Block(nn.Module):
    """The residual block of BigGAN."""

    def __init__(self, channels: int, features: int, temb: int, dropout: float, resample: str = ""):
        super().__init__()
        self.GroupNorm_0, self.GroupNorm_1 = norm(channels), norm(features)
        self.Conv_0, self.Conv_1 = nn.Conv2d(channels, features, 3, padding=1), nn.Conv2d(features, features, 3, 1, 1)
        self.Dense_0, self.dropout = nn.Linear(temb, features), nn.Dropout(dropout)
        self.Conv_2 = nn.Conv2d(channels, features, 1) if channels != features or resample else None
        self.resample, self.change = Resample(), resample

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """x [B, C, H, W] and the embedding after its activation [B, D] -> [B, features, H', W']."""
        h = F.silu(self.GroupNorm_0(x))
        if self.change:
            x, h = (getattr(self.resample, self.change)(a) for a in (x, h))
        h = self.Conv_0(h) + self.Dense_0(temb)[:, :, None, None]
        h = self.Conv_1(self.dropout(F.silu(self.GroupNorm_1(h))))
        return ((x if self.Conv_2 is None else self.Conv_2(x)) + h) / SQRT2


class Attention(nn.Module):
    """Self-attention over all pixels with one head."""

    def __init__(self, channels: int):
        super().__init__()
        self.GroupNorm_0 = norm(channels)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] -> [B, C, H, W]."""
        h = self.GroupNorm_0(x).permute(0, 2, 3, 1).flatten(1, 2)[:, None]
        h = F.scaled_dot_product_attention(self.NIN_0(h), self.NIN_1(h), self.NIN_2(h))
        return (x + self.NIN_3(h)[:, 0].transpose(1, 2).reshape(x.shape)) / SQRT2


class Network(nn.Module):
    """The U-Net, for images x [B, C, H, W] in [0, 1] with noise of standard deviation sigma [B]."""

    GaussianFourierProjection_0: Tensor

    def __init__(
        self, nf: int, ch_mult: Sequence[int], num_res_blocks: int, attn: Sequence[int], size: int, dropout: float
    ):
        super().__init__()
        self.shape, self.num_blocks, self.attn = ch_mult, num_res_blocks, tuple(attn)
        self.register_buffer("GaussianFourierProjection_0", torch.zeros(nf))
        self.Dense_0, self.Dense_1 = nn.Linear(2 * nf, 4 * nf), nn.Linear(4 * nf, 4 * nf)
        self.Conv_0, self.smoothing = nn.Conv2d(3, nf, 3, padding=1), Resample()
        self.blocks, self.attentions, self.downs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        widths, width, pyramid = [nf], nf, 3

        def block(channels: int, features: int, resample: str = "") -> int:
            self.blocks.append(Block(channels, features, 4 * nf, dropout, resample))
            return features

        for level, multiple in enumerate(ch_mult):
            for _ in range(num_res_blocks):
                width = block(width, multiple * nf)
                if size >> level in self.attn:
                    self.attentions.append(Attention(width))
                widths.append(width)
            if level < len(ch_mult) - 1:
                block(width, width, "down")
                self.downs.append(nn.Conv2d(pyramid, width, 3, stride=2))
                pyramid = width
                widths.append(width)
        block(width, width)
        self.attentions.append(Attention(width))
        block(width, width)
        for level, multiple in reversed(list(enumerate(ch_mult))):
            for _ in range(num_res_blocks + 1):
                width = block(width + widths.pop(), multiple * nf)
            if size >> level in self.attn:
                self.attentions.append(Attention(width))
            if level:
                block(width, width, "up")
        self.GroupNorm_0, self.Conv_1 = norm(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The score [B, C, H, W] at x [B, C, H, W] and sigma [B]."""
        blocks, attentions, downs = iter(self.blocks), iter(self.attentions), iter(self.downs)
        phases = 2 * math.pi * torch.log(sigma)[:, None] * self.GaussianFourierProjection_0[None]
        temb = self.Dense_0(torch.cat([phases.sin(), phases.cos()], 1))
        temb = F.silu(self.Dense_1(F.silu(temb)))  # the activation of every block, computed once
        pyramid = 2 * x - 1
        skips = [self.Conv_0(pyramid)]
        for level in range(len(self.shape)):
            for _ in range(self.num_blocks):
                h = next(blocks)(skips[-1], temb)
                skips.append(next(attentions)(h) if h.shape[2] in self.attn else h)
            if level < len(self.shape) - 1:
                h = next(blocks)(skips[-1], temb)
                pyramid = (next(downs)(self.smoothing.smooth(pyramid)) + h) / SQRT2
                skips.append(pyramid)
        h = next(blocks)(skips[-1], temb)
        h = next(blocks)(next(attentions)(h), temb)
        for level in reversed(range(len(self.shape))):
            for _ in range(self.num_blocks + 1):
                h = next(blocks)(torch.cat([h, skips.pop()], 1), temb)
            if h.shape[2] in self.attn:
                h = next(attentions)(h)
            if level:
                h = next(blocks)(h, temb)
        return self.Conv_1(F.silu(self.GroupNorm_0(h))) / sigma[:, None, None, None]


def named(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A Flax tree of parameters or gradients with the names and array layouts of the PyTorch network."""
    lists = {"ResnetBlockBigGANpp": "blocks", "AttnBlockpp": "attentions", "Downsample": "downs"}
    arrays: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            kind, _, number = name.rpartition("_")
            target = f"{lists[kind]}.{number}" if kind in lists else name
            target = "" if name.startswith("Conv2d_") else target  # the only module in a Downsample
            target = name if name.startswith("Gaussian") else target
            arrays |= {f"{target}.{key}".strip("."): leaf for key, leaf in named(value).items()}
            continue
        array = np.asarray(value)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        arrays[{"kernel": "weight", "scale": "weight", "W": "weight", "b": "bias"}.get(name, name)] = (
            array.T if array.ndim == 2 else array
        )
    return {
        name.replace("GaussianFourierProjection_0.weight", "GaussianFourierProjection_0"): a
        for name, a in arrays.items()
    }


def load(network: Network, tree: Mapping[str, Any]) -> None:
    """Copies Flax parameters into `network`. Errors: RuntimeError if names or shapes differ."""
    network.load_state_dict({name: torch.tensor(np.ascontiguousarray(a)) for name, a in named(tree).items()})
