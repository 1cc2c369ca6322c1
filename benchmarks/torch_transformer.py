"""Transformers in plain PyTorch: of categories, with masked sampling, and DiT, for the comparisons with PyTorch.

Written from the description of the network and PyTorch's documentation, for speed: fused attention, weights of queries,
keys and values in one product, and the embedding of the time, which all samples share, computed once per step. The
attributes have the names of the Flax modules (`Dense_0`), so that weights are copied by name.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.blocks import rotary

FREQUENCIES = 256  # of DiT's embedding of the time


class Block(nn.Module):
    """Attention and a perceptron with the activation `act`, each modulated and gated."""

    def __init__(self, width: int, num_heads: int, act: Callable[[Tensor], Tensor] = F.silu, qk_norm: bool = False):
        super().__init__()
        self.num_heads, self.act = num_heads, act
        if qk_norm:
            self.norm_q, self.norm_k = (nn.RMSNorm(width // num_heads, eps=1e-6) for _ in range(2))
        self.qk_norm = qk_norm
        self.modulation_1, self.modulation_2 = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.Dense_0, self.Dense_1 = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.Dense_2, self.Dense_3 = nn.Linear(4 * width, width), nn.Linear(width, 4 * width)

    def forward(self, h: Tensor, modulation: Tensor, turns: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """h [B, L, D]; modulation [1 or B, D]; turns: cosines and sines of positions [L, D / heads / 2]."""
        B, L, D = h.shape
        r, gate = modulated(h, self.modulation_1(modulation))
        q, k, v = self.Dense_0(r).view(B, L, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        if self.qk_norm:
            q, k = self.norm_q(q), self.norm_k(k)
        if turns is not None:
            q, k = rotated(q, *turns), rotated(k, *turns)
        r = F.scaled_dot_product_attention(q, k, v)
        h = h + gate * self.Dense_1(r.transpose(1, 2).reshape(B, L, D))
        r, gate = modulated(h, self.modulation_2(modulation))
        return h + gate * self.Dense_2(self.act(self.Dense_3(r)))


def modulated(h: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """The normalized h, scaled and shifted, and its gate; `parts` [1 or B, 3 D]."""
    scale, shift, gate = parts[:, None].chunk(3, dim=-1)
    return torch.addcmul(shift, 1 + scale, F.layer_norm(h, h.shape[-1:], eps=1e-6)), gate


def rotated(h: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each pair (i, i + D / 2) of h [B, heads, L, D]."""
    a, b = h.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Network(nn.Module):
    """Logits [B, L, K] of the categories of L sites, which are a grid of `sides`."""

    def __init__(self, num_categories: int, sides: Sequence[int], nf: int, num_blocks: int, num_heads: int):
        super().__init__()
        width, self.nf = 4 * nf, nf
        self.Dense_0, self.Dense_1 = nn.Linear(nf, width), nn.Linear(width, width)
        self.categories = nn.Embedding(num_categories + 1, width)
        self.positions = nn.Parameter(torch.zeros(math.prod(sides), width))
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_blocks))
        self.modulation, self.Dense_2 = nn.Linear(width, 2 * width), nn.Linear(width, num_categories)
        theta = torch.tensor(rotary.angles(sides, width // num_heads))
        self.register_buffer("cos", torch.cos(theta), persistent=False)
        self.register_buffer("sin", torch.sin(theta), persistent=False)

    def forward(self, z: Tensor, time: Tensor) -> Tensor:
        """z [B, L], time labels [1 or B]."""
        temb = self.Dense_0(sinusoidal(time, self.nf))
        modulation = F.silu(self.Dense_1(F.silu(temb)))
        h = self.categories(z) + self.positions
        for block in self.blocks:
            h = block(h, modulation, (self.cos, self.sin))
        scale, shift = self.modulation(modulation)[:, None].chunk(2, dim=-1)
        return self.Dense_2(torch.addcmul(shift, 1 + scale, F.layer_norm(h, h.shape[-1:], eps=1e-6)))


class DiT(nn.Module):
    """DiT with fixed positions: out [B, H, W, C] of images [B, H, W, C], times, and classes."""

    def __init__(
        self,
        sides: tuple[int, int],
        num_channels: int,
        num_classes: int,
        *,
        nf: int,
        num_blocks: int,
        num_heads: int,
        patch_size: int,
        qk_norm: bool = False,
    ):
        super().__init__()
        width, self.patch_size = 4 * nf, patch_size
        features = patch_size**2 * num_channels
        self.Dense_0, self.Dense_1 = nn.Linear(FREQUENCIES, width), nn.Linear(width, width)
        self.Embed_0 = nn.Embedding(num_classes, width)
        self.Dense_2, self.Dense_3 = nn.Linear(features, width), nn.Linear(width, features)
        gelu = nn.GELU(approximate="tanh")
        self.blocks = nn.ModuleList(Block(width, num_heads, gelu, qk_norm) for _ in range(num_blocks))
        self.modulation = nn.Linear(width, 2 * width)
        rows, columns = (torch.arange(side // patch_size) for side in sides)
        omega = 10_000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
        where = torch.cartesian_prod(rows, columns)
        theta = (where[:, :, None] * omega).flatten(1)
        self.register_buffer("positions", torch.cat([theta.sin(), theta.cos()], dim=1).float(), persistent=False)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        """x [B, H, W, C], time labels [B], classes [B]."""
        B, H, W, C = x.shape
        p = self.patch_size
        modulation = F.silu(self.Dense_1(F.silu(self.Dense_0(sinusoidal(time, FREQUENCIES)))) + self.Embed_0(labels))
        patches = x.view(B, H // p, p, W // p, p, C).transpose(2, 3).reshape(B, -1, p * p * C)
        h = self.Dense_2(patches) + self.positions
        for block in self.blocks:
            h = block(h, modulation)
        scale, shift = self.modulation(modulation)[:, None].chunk(2, dim=-1)
        out = self.Dense_3(torch.addcmul(shift, 1 + scale, F.layer_norm(h, h.shape[-1:], eps=1e-6)))
        return out.view(B, H // p, W // p, p, p, C).transpose(2, 3).reshape(x.shape)


def sinusoidal(time: Tensor, dim: int) -> Tensor:
    """Sines and cosines [B, dim] of times [B]."""
    # In double precision first: times reach 1000, which multiplies the rounding of a frequency.
    exponents = torch.arange(dim // 2, dtype=torch.float64) * (-math.log(10_000) / (dim // 2 - 1))
    angles = time[:, None] * exponents.exp().to(time)[None]
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


def load(network: nn.Module, params: Mapping[str, Any]) -> None:
    """Copies the weights of a Flax tree. Errors: KeyError, or a RuntimeError for another shape."""
    state = {}
    for name, value in network.state_dict().items():
        path = name.replace("blocks.", "block_").split(".")
        leaf: Any = params
        for part in path[:-1]:
            leaf = leaf[part]
        last = path[-1]
        if last == "weight":
            kept = next(leaf[kind] for kind in ("embedding", "scale", "kernel") if kind in leaf)
            array = np.asarray(kept.T if "kernel" in leaf else kept)
        else:
            array = np.asarray(leaf[last])
        state[name] = torch.tensor(array).reshape(value.shape)
    network.load_state_dict(state)


def sampling(network: Network, num: int, num_sites: int, num_categories: int, num_steps: int) -> Callable[[], Any]:
    """A function that samples `num` examples by ancestral unmasking in `num_steps` steps, with noise(t) = t."""
    mask = num_categories

    @torch.inference_mode()
    def sample() -> np.ndarray:
        z = torch.full((num, num_sites), mask)
        for k in range(num_steps, 0, -1):
            logits = network(z, torch.tensor([999.0 * k / num_steps]))
            # argmax p / e with exponential e is a sample of p
            shown = (logits.softmax(-1) / torch.empty_like(logits).exponential_()).argmax(-1)
            stays = torch.rand(z.shape) < (k - 1) / k
            z = torch.where((z == mask) & ~stays, shown, z)
        return z.numpy()

    return sample
