"""Settings of the optimizer."""

from configs.checks import NAMES, POSITIVE
from configs.keys import Key

KEYS = {
    "optimizer": Key(
        "Adam",
        "`Adam` (or `adamw`, the same), `nadamw`, `radam`, `adabelief`, `lion`, `muon` (for kernels; Adam for the "
        "rest), `rmsprop`, `sgd`, `schedule_free_adamw` or `schedule_free_sgd`; each with decoupled weight decay.",
        changes="model",
        mismatch="stored",
    ),
    "lr": Key(2e-4, "Learning rate.", POSITIVE, changes="nothing"),
    "beta1": Key(
        0.9,
        "Decay rate of the first moment, or the momentum; of schedule-free optimizers the weight of the average.",
        changes="nothing",
    ),
    "beta2": Key(0.999, "Decay rate of the second moment.", changes="nothing"),
    "eps": Key(1e-8, "Added to the denominator of Adam and its relatives.", POSITIVE, changes="nothing"),
    "weight_decay": Key(
        0.0,
        "Decoupled weight decay; random Fourier features and a learned noise schedule have none.",
        changes="nothing",
    ),
    "no_decay": Key(
        (),
        "Parameters without weight decay: patterns of their paths, such as `('*/bias', '*/scale')`.",
        NAMES,
        changes="model",
        mismatch="stored",
        needs="optim.weight_decay",
    ),
    "warmup": Key(5000, "Steps of linear warmup; 0: none.", changes="nothing"),
    "schedule": Key(
        "constant",
        "`constant`, `cosine` decay to zero at `training.n_iters`, `wsd` (constant, then linear to zero there) or "
        "`inverse_sqrt` (of the step).",
        changes="nothing",
    ),
    "decay_steps": Key(
        int,
        "`wsd`: steps of the decay; unset: a fifth of `training.n_iters`. `inverse_sqrt`: the step at which the decay "
        "begins; unset: `warmup`.",
        POSITIVE,
        changes="nothing",
        needs="optim.schedule=wsd|inverse_sqrt",
    ),
    "frozen": Key(
        (),
        "Parameters that are not trained: patterns of their paths, such as `('Conv_0/*', '*/bias')`.",
        NAMES,
        changes="model",
        mismatch="stored",
    ),
    "normalized": Key(
        (),
        "Parameters that are scaled back to mean square 1 for each output after every step: patterns of their paths, "
        "such as `('*/weight',)` for the weights of `edm2`.",
        NAMES,
        changes="model",
        mismatch="stored",
    ),
    "grad_clip": Key(1.0, "Largest global norm of the gradient; negative: no clipping.", changes="nothing"),
}
