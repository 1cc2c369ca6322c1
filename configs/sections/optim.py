"""Settings of the optimizer."""

from configs.checks import NAMES, POSITIVE
from configs.keys import Key

KEYS = {
    "optimizer": Key("Adam", "`Adam`, with decoupled weight decay.", changes="model", mismatch="stored"),
    "lr": Key(2e-4, "Learning rate.", POSITIVE, changes="nothing"),
    "beta1": Key(0.9, "Decay rate of the first moment.", changes="nothing"),
    "beta2": Key(0.999, "Decay rate of the second moment.", changes="nothing"),
    "eps": Key(1e-8, "Added to the denominator of Adam.", POSITIVE, changes="nothing"),
    "weight_decay": Key(0.0, "Decoupled weight decay.", changes="nothing"),
    "warmup": Key(5000, "Steps of linear warmup; 0: none.", changes="nothing"),
    "schedule": Key("constant", "`constant`, or `cosine` decay to zero at `training.n_iters`.", changes="nothing"),
    "frozen": Key(
        (),
        "Parameters that are not trained: patterns of their paths, such as `('Conv_0/*', '*/bias')`.",
        NAMES,
        changes="model",
        mismatch="stored",
    ),
    "grad_clip": Key(1.0, "Largest global norm of the gradient; negative: no clipping.", changes="nothing"),
}
