"""Settings of learned adaptive noise (`config.system = "adaptive_noise"`)."""

from configs.checks import POSITIVE, one_of
from configs.keys import Key

NEEDS = "system=adaptive_noise"

KEYS = {
    "dim": Key(
        16,
        "Numbers in the latent on which the noise schedule of each pixel depends.",
        POSITIVE,
        changes="model",
        needs=NEEDS,
    ),
    "entry": Key(
        "norm",
        "Where the latent enters the network: `add` or `norm`, as in `model.conditions`.",
        one_of("add", "norm"),
        changes="model",
        needs=NEEDS,
    ),
    "encoder_nf": Key(
        16,
        "Channels of the encoder of the latent, and a quarter of the width of its last layers.",
        POSITIVE,
        changes="model",
        needs=NEEDS,
    ),
    "width": Key(
        64, "Width of the layer between the latent and the noise schedules.", POSITIVE, changes="model", needs=NEEDS
    ),
}
