"""The sections of a config, each a table of declarations; "" holds the keys outside any section."""

from configs.keys import Key
from configs.sections import (
    adaptive,
    autoregressive,
    causal,
    data,
    evaluation,
    mmar,
    model,
    optim,
    resgen,
    restore,
    sampling,
    tokenizer,
    training,
)

SECTIONS: dict[str, dict[str, Key]] = {
    "": {
        "seed": Key(42, "Seed of all random numbers of a run.", changes="model", mismatch="given"),
        "system": Key(
            "diffusion",
            "Kind of model: `diffusion`, `classifier`, `categorical`, `tokenizer`, `causal_diffae`, `mmar`, `resgen`, "
            "`adaptive_noise`, `autoregressive`, or a class of your own, `package.module:Class`.",
            changes="model",
        ),
    },
    "training": training.KEYS,
    "sampling": sampling.KEYS,
    "restore": restore.KEYS,
    "eval": evaluation.KEYS,
    "data": data.KEYS,
    "model": model.KEYS,
    "tokenizer": tokenizer.KEYS,
    "causal": causal.KEYS,
    "adaptive": adaptive.KEYS,
    "mmar": mmar.KEYS,
    "resgen": resgen.KEYS,
    "autoregressive": autoregressive.KEYS,
    "optim": optim.KEYS,
}
KEYS: dict[str, Key] = {  # every declaration by its dotted key
    f"{section}.{name}" if section else name: key for section, keys in SECTIONS.items() for name, key in keys.items()
}
