"""PyTorch's side of `benchmarks.against_torch`: training steps, sampling, and likelihoods, as fast as PyTorch allows.

Images are passed as [B, H, W, C] arrays and stored as [B, C, H, W] tensors in the faster of PyTorch's memory formats.
"""

import copy
import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch
from ml_collections import ConfigDict
from scipy.integrate import solve_ivp
from torch import Tensor

from benchmarks import torch_ncsnpp

Array = np.ndarray


class Work:
    """A network with the weights of `params` (a Flax tree) and the VE SDE of `config`."""

    def __init__(self, config: ConfigDict, params: Any):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.device_name = torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.get_num_threads()} threads"
        self.layout, self.config, self.params = torch.contiguous_format, config, params
        self.sigma_min, self.sigma_max = config.model.sigma_min, config.model.sigma_max
        self.network = self._network(config.model.dropout)

    def _network(self, dropout: float) -> torch_ncsnpp.Network:
        model = self.config.model
        network = torch_ncsnpp.Network(
            model.nf, model.ch_mult, model.num_res_blocks, model.attn_resolutions, 32, dropout
        )
        torch_ncsnpp.load(network, self.params)
        return network.to(self.device)

    def num_params(self) -> int:
        """Number of parameters, including the fixed frequencies of the embedding, as in Flax."""
        return sum(p.numel() for p in [*self.network.parameters(), *self.network.buffers(recurse=False)])

    def images(self, array: Array) -> Tensor:
        """An array [B, H, W, C] as a tensor [B, C, H, W] in the chosen memory format."""
        tensor = torch.tensor(array, device=self.device).permute(0, 3, 1, 2)
        return tensor.contiguous(memory_format=self.layout)

    def std(self, t: Tensor) -> Tensor:
        """The noise level at time t [B]."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def loss(self, network: Any, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """Denoising score matching: half the sum over the dimensions, averaged over the batch."""
        sigma = self.std(t)
        std = sigma[:, None, None, None]
        return 0.5 * ((std * network(x0 + std * z, sigma) + z) ** 2).sum((1, 2, 3)).mean()

    def exact(self, x0: Array, t: Array, z: Array) -> tuple[Array, float, dict[str, Array]]:
        """Score, loss, and gradient in full float32 precision, without dropout."""
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.network.eval()
        images, noise, times = self.images(x0), self.images(z), torch.tensor(t, device=self.device)
        std = self.std(times)
        with torch.inference_mode():
            score = self.network(images + std[:, None, None, None] * noise, std)
        loss = self.loss(self.network, images, times, noise)
        loss.backward()
        gradient = {name: p.grad.cpu().numpy() for name, p in self.network.named_parameters() if p.grad is not None}
        self.network.zero_grad(set_to_none=True)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = True, before[1]
        return score.permute(0, 2, 3, 1).cpu().numpy(), loss.item(), gradient

    def distance(self, gradient: Any, theirs: dict[str, Array]) -> float:
        """The norm of the difference of two gradients, relative to the norm of `gradient`."""
        ours = torch_ncsnpp.named(gradient)
        squares = sum(float(np.sum((ours[name] - theirs[name]) ** 2)) for name in theirs)
        return math.sqrt(squares / sum(float(np.sum(ours[name] ** 2)) for name in theirs))

    def choose_layout(self, batch: int) -> bool:
        """Chooses the faster memory format by timing a training step; whether it is channels last."""
        levels, seconds = np.zeros((batch, 32, 32, 3), np.uint8), {}
        for layout in (torch.contiguous_format, torch.channels_last):
            self.layout = layout
            step = self.training(levels, 1)
            step()
            seconds[layout] = min(_seconds(step) for _ in range(5))
        self.layout = min(seconds, key=lambda layout: seconds[layout])
        self.network = self.network.to(memory_format=self.layout).eval()
        return self.layout == torch.channels_last

    def training(self, levels: Array, steps: int) -> Callable[[], float]:
        """`steps` training steps of a separate copy of the network on uint8 images [B, H, W, C]; the last loss."""
        optim, rate = self.config.optim, self.config.model.ema_rate
        network = self._network(self.config.model.dropout).to(memory_format=self.layout).train()
        params = list(network.parameters())
        averages = copy.deepcopy([p.detach() for p in params])
        adam = torch.optim.Adam(params, optim.lr, (optim.beta1, optim.beta2), optim.eps, fused=True)
        eps, number = self.config.training.eps, 0

        def run() -> float:
            nonlocal number
            for _ in range(steps):
                x0 = self.images(levels).float().div_(255)
                t = torch.rand(len(x0), device=self.device) * (1 - eps) + eps
                adam.param_groups[0]["lr"] = optim.lr * min(number / max(optim.warmup, 1), 1.0)
                adam.zero_grad(set_to_none=True)
                loss = self.loss(network, x0, t, torch.randn_like(x0))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, optim.grad_clip, foreach=True)
                adam.step()
                torch._foreach_lerp_(averages, [p.detach() for p in params], 1 - rate)
                number += 1
            return loss.item()

        return run

    def sampling(self, shape: Sequence[int], times: Sequence[float]) -> Callable[[], Array]:
        """Samples [B, H, W, C] by reverse diffusion and Langevin steps, with a final denoising step."""
        snr, network = self.config.sampling.snr, self.network
        levels = [self.sigma_min * (self.sigma_max / self.sigma_min) ** t for t in times]

        def norm(x: Tensor) -> Tensor:
            return x.flatten(1).norm(dim=1)[:, None, None, None]

        def run() -> Array:
            with torch.inference_mode():
                x = self.sigma_max * self.images(np.zeros(shape, np.float32)).normal_()
                for level, lower in itertools.pairwise(levels):
                    sigma, gain = torch.full((shape[0],), level, device=self.device), level**2 - lower**2
                    z, score = torch.randn_like(x), network(x, sigma)
                    size = 2 * (snr * norm(z) / norm(score)) ** 2
                    x = x + size * score + (2 * size).sqrt() * z
                    x = x + gain * network(x, sigma) + math.sqrt(gain) * torch.randn_like(x)
                x = x + levels[-1] ** 2 * network(x, torch.full((shape[0],), levels[-1], device=self.device))
                return x.permute(0, 2, 3, 1).cpu().numpy()

        return run

    def _field(self, shape: Sequence[int], probes: Array) -> Callable[[float, Array], Array]:
        """The ODE, (t, state) -> derivative, in double precision; drift and divergence are separate passes."""
        epsilon, network, size = self.images(probes), self.network.requires_grad_(False), math.prod(shape)
        growth = math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

        def flow(x: Tensor, std: Tensor) -> Tensor:
            return -0.5 * (growth * std[:, None, None, None]) ** 2 * network(x, std)

        def field(t: float, state: Array) -> Array:
            x = self.images(state[:size].reshape(shape).astype(np.float32))
            std = self.std(torch.full((shape[0],), t, device=self.device))
            with torch.inference_mode():
                drift = flow(x, std).permute(0, 2, 3, 1).cpu().numpy()
            x.requires_grad_(True)
            product = torch.autograd.grad(flow(x, std), x, epsilon)[0]
            divergence = (product * epsilon).sum((1, 2, 3)).cpu().numpy()
            return np.concatenate([drift.ravel(), divergence]).astype(np.float64)

        return field

    def _density(self, state: Array, shape: Sequence[int]) -> Array:
        """Log-density in nats [B] from the state at t = 1."""
        latent, delta = state[: math.prod(shape)].reshape(shape[0], -1), state[math.prod(shape) :]
        variance = self.sigma_max**2
        return delta - 0.5 * (latent**2 / variance + math.log(2 * math.pi * variance)).sum(1)

    def published(self, x: Array, probes: Array, eps: float, tolerance: float) -> Callable[[], tuple[Array, int]]:
        """The published method: log-density in nats [B] of x [B, H, W, C], and the NFE. Written from the paper."""
        start = np.concatenate([x.ravel(), np.zeros(len(x))]).astype(np.float64)

        def run() -> tuple[Array, int]:
            field = self._field(x.shape, probes)
            solution = solve_ivp(field, (eps, 1.0), start, rtol=tolerance, atol=tolerance, method="RK45")
            return self._density(solution.y[:, -1], x.shape), solution.nfev

        return run

    def euler(self, x: Array, probes: Array, times: Array) -> Callable[[], tuple[Array, int]]:
        """The log-density in nats [B] by Euler steps between consecutive `times`, and their number."""
        start = np.concatenate([x.ravel(), np.zeros(len(x))]).astype(np.float64)

        def run() -> tuple[Array, int]:
            field, state = self._field(x.shape, probes), start
            for t, dt in zip(times[:-1], np.diff(times), strict=True):
                state = state + dt * field(float(t), state)
            return self._density(state, x.shape), len(times) - 1

        return run


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
