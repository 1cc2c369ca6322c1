"""The families that are compared: their configs, at about as many parameters, on the same data."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from ml_collections import ConfigDict

from configs import default, presets

DATASET = "data.sets.digits_words:one_word"
NUM_WORDS = 10


@dataclasses.dataclass(frozen=True)
class Size:
    """Of all networks: `nf`, a quarter of the width, and blocks; and of training and what is measured.

    num_times: terms of a bound for bits/dim, and of one for each word. steps: of samplers that can take any number.
    """

    nf: int = 12
    blocks: int = 4
    batch_size: int = 64
    num_times: int = 32
    num_times_of_words: int = 8
    num_samples: int = 200
    num_read: int = 200
    steps: int = 20


@dataclasses.dataclass(frozen=True)
class Family:
    """A row of the comparison.

    likelihood: what its bits/dim are. reads: how it finds the word of an image. like: the family that it takes as many
    training steps as; None: as many as a number of operations allows.
    """

    name: str
    title: str
    change: Callable[[ConfigDict, Size], None]
    likelihood: Literal["exact", "bound"]
    reads: Literal["directly", "by Bayes' rule"]
    like: "Family | None" = None

    def config(self, size: Size) -> ConfigDict:
        """The config of a run; how many steps it trains is set by what a step costs."""
        config = default.get_config()
        presets.digits(config)
        self.change(config, size)
        config.data.dataset = DATASET
        config.model.update(nf=size.nf, num_heads=4, dropout=0.1, ema_rate=0.99)
        config.optim.update(lr=3e-3, schedule="cosine", weight_decay=0.01)
        config.training.update(batch_size=size.batch_size, snapshot_sampling=False, eval_freq=0)
        config.eval.update(batch_size=200, num_samples=size.num_samples, begin_ckpt=1, end_ckpt=1)
        config.eval.tasks = ("loss", "bits_per_dim")
        return config


def _raster(config: ConfigDict, size: Size) -> None:
    presets.autoregressive(config)
    config.model.num_res_blocks = size.blocks


def _experts(experts_per_token: int) -> Callable[[ConfigDict, Size], None]:
    def change(config: ConfigDict, size: Size) -> None:
        presets.autoregressive(config, 4, experts_per_token)
        config.model.num_res_blocks = size.blocks

    return change


def _categories(corruption: str) -> Callable[[ConfigDict, Size], None]:
    def change(config: ConfigDict, size: Size) -> None:
        presets.categorical_digits(config)
        config.model.update(corruption=corruption, num_labels=NUM_WORDS, label_dropout=0.0)
        config.model.num_res_blocks = size.blocks
        config.sampling.num_steps = size.steps
        config.eval.num_probes = size.num_times

    return change


def _patches(process: Callable[[ConfigDict], None], likelihood: str) -> Callable[[ConfigDict, Size], None]:
    def change(config: ConfigDict, size: Size) -> None:
        process(config)
        presets.dit(config, size="S", patch_size=2)
        config.model.update(num_labels=NUM_WORDS, label_dropout=0.0, qk_norm=True, num_res_blocks=size.blocks)
        config.sampling.update(method="solver", solver="unipc_2", grid="log_snr", num_steps=size.steps)
        config.eval.update(bpd_method=likelihood, bpd_offset="decoded")
        config.eval.num_probes = size.num_times if likelihood == "bound" else 1

    return change


def _masked(config: ConfigDict, size: Size) -> None:
    presets.masked_ar(config)
    config.model.update(patch_size=2, num_res_blocks=max(size.blocks - 1, 1))
    config.mmar.update(head_nf=size.nf, head_blocks=3, rounds=8, shares=(0.5, 0.5, 0.0), hidden_share=0.5)
    config.sampling.update(guidance="none", num_steps=size.steps)
    config.eval.update(divergence="exact", rtol=1e-2, atol=1e-2)


FAMILIES = (
    Family("raster", "raster autoregressive", _raster, "exact", "directly"),
    Family("absorbing", "absorbing diffusion", _categories("absorbing"), "bound", "by Bayes' rule"),
    Family("uniform", "uniform diffusion", _categories("uniform"), "bound", "by Bayes' rule"),
    Family("subvp", "continuous sub-VP", _patches(presets.subvp, "bound"), "bound", "by Bayes' rule"),
    # Its bound is far above the likelihood of its ODE: times near the data, which it weighs most, are hardly trained.
    Family("flow", "flow matching", _patches(presets.flow, "ode"), "exact", "by Bayes' rule"),
    Family("masked", "masked autoregressive, diffusion head", _masked, "bound", "directly"),
)
EXPERTS = (
    FAMILIES[0],
    Family("top1", "4 experts, top-1", _experts(1), "exact", "directly", FAMILIES[0]),
    Family("top2", "4 experts, top-2", _experts(2), "exact", "directly", FAMILIES[0]),
)
