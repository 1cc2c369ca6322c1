"""Settings of causal latents (`config.system = "causal_diffae"`)."""

import re

from configs.checks import NAMES, NON_NEGATIVE, POSITIVE, PROBABILITY, each, one_of
from configs.keys import Key

EDGE = re.compile(r"\s*\w+\s*->\s*\w+\s*")
NEEDS = "system=causal_diffae"

KEYS = {
    "variables": Key(
        (),
        "The variables: fields of the data with a number for each example, such as `('thickness', 'intensity')`.",
        NAMES,
        changes="model",
        needs=NEEDS,
    ),
    "graph": Key(
        (),
        "Causes of these variables, as `CAUSE->EFFECT`, such as `('thickness->intensity',)`; there must be no cycle.",
        each("an edge", "be of the form CAUSE->EFFECT", lambda edge: bool(EDGE.fullmatch(edge))),
        changes="model",
        needs=NEEDS,
    ),
    "mechanism": Key(
        "neural",
        "How causes make an effect, before its noise is added: `neural` or `linear`.",
        one_of("neural", "linear"),
        changes="model",
        needs=NEEDS,
    ),
    "dim": Key(1, "Numbers in the latent of each variable.", POSITIVE, changes="model", needs=NEEDS),
    "label_std": Key(
        0.05,
        "Standard deviation of the latent of a variable around its label, where labels have standard deviation 1.",
        POSITIVE,
        changes="evaluation",
        needs=NEEDS,
    ),
    "entry": Key(
        "norm",
        "Where the latent enters the network: `add` or `norm`, as in `model.conditions`.",
        one_of("add", "norm"),
        changes="model",
        needs=NEEDS,
    ),
    "drop_rate": Key(
        0.1,
        "How often training drops the latent, for classifier-free guidance.",
        PROBABILITY,
        changes="model",
        mismatch="stored",
        needs=NEEDS,
    ),
    "encoder": Key(
        "conv",
        "Encoder of the latents: `conv`, or `patch` (each patch by itself, then all).",
        one_of("conv", "patch"),
        changes="model",
        needs=NEEDS,
    ),
    "encoder_nf": Key(
        32,
        "Channels of the encoder, and a quarter of the width of its last layers.",
        POSITIVE,
        changes="model",
        needs=NEEDS,
    ),
    "encoder_blocks": Key(1, "Residual blocks of the encoder.", NON_NEGATIVE, changes="model", needs=NEEDS),
    "encoder_factor": Key(
        4,
        "By how much the encoder reduces the sides of an example; with `conv` a power of 2.",
        POSITIVE,
        changes="model",
        needs=NEEDS,
    ),
    "mechanism_width": Key(
        64, "Width of `neural` mechanisms.", POSITIVE, changes="model", needs="causal.mechanism=neural"
    ),
}
