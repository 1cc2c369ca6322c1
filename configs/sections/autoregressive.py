"""Settings of sequences of a text and an image, token by token (`config.system = "autoregressive"`)."""

from configs.checks import POSITIVE, PROBABILITY, must
from configs.keys import Key

NEEDS = "system=autoregressive"

KEYS = {
    "image_first": Key(
        0.5,
        "How often training sees an image before its text, from which texts are predicted; otherwise the text is "
        "before its image. Only with texts.",
        PROBABILITY,
        changes="model",
        mismatch="stored",
        needs=NEEDS,
    ),
    "num_experts": Key(
        1,
        "Experts in place of each perceptron; 1: the perceptron. Their `balance` is a loss of its own, see "
        "`training.loss_weights`.",
        POSITIVE,
        changes="model",
        needs=NEEDS,
    ),
    "experts_per_token": Key(
        1,
        "How many of the experts a token goes through. An expert of k has 1/k of the hidden units of a perceptron.",
        must("be 1 or 2", lambda value: value in (1, 2)),
        changes="model",
        needs="autoregressive.num_experts!=1",
    ),
}
