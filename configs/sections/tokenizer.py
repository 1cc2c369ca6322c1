"""Settings of tokenizers and auto-encoders (`config.system = "tokenizer"`), and of models of what they encode."""

from configs.checks import BELOW_ONE, NON_NEGATIVE, POSITIVE, one_of
from configs.keys import Key

KEYS = {
    "quantizer": Key(
        "vq",
        "What a code is: `vq` (tokens, the nearest vectors of a codebook), `kl` (latents, normally distributed) or "
        "`pca` (latents, the principal components of patches, in closed form).",
        changes="model",
        needs="system=tokenizer",
    ),
    "encoder": Key(
        "conv",
        "Encoder of `vq` and `kl`: `conv`, or `patch` (each patch by itself).",
        changes="model",
        needs="tokenizer.quantizer!=pca",
    ),
    "decoder": Key(
        "conv", "Decoder of `vq` and `kl`: `conv` or `patch`.", changes="model", needs="tokenizer.quantizer!=pca"
    ),
    "factor": Key(
        2,
        "Side of the patch that a token or latent stands for; with `conv` a power of 2.",
        POSITIVE,
        changes="model",
        needs="system=tokenizer",
    ),
    "num_blocks": Key(
        1,
        "Residual blocks of the encoder and of the decoder.",
        NON_NEGATIVE,
        changes="model",
        needs="tokenizer.quantizer!=pca",
    ),
    "dim": Key(
        4, "Channels of a latent, or of a vector of the codebook.", POSITIVE, changes="model", needs="system=tokenizer"
    ),
    "num_codes": Key(64, "`vq`: vectors in the codebook.", POSITIVE, changes="model", needs="tokenizer.quantizer=vq"),
    "codebook": Key(
        "gradient",
        "`vq`: how the codebook is learned, `gradient` or `average` (a moving average of the features of each code).",
        changes="model",
        needs="tokenizer.quantizer=vq",
    ),
    "codebook_init": Key(
        "k_means",
        "`vq`: the codebook at step 0, `k_means` of encoder features, or `normal`. With `training.init_from` and "
        "`optim.frozen = ('encoder/*',)`, `k_means` is ReFiT.",
        one_of("k_means", "normal"),
        changes="model",
        mismatch="stored",
        needs="tokenizer.quantizer=vq",
    ),
    "reservoir": Key(
        15_000,
        "`k_means`: encoder features that the clusters are fitted to.",
        POSITIVE,
        changes="model",
        mismatch="stored",
        needs="tokenizer.codebook_init=k_means",
    ),
    "codebook_decay": Key(
        0.99,
        "`average`: decay rate per step.",
        BELOW_ONE,
        changes="model",
        mismatch="stored",
        needs="tokenizer.codebook=average",
    ),
    "restart_below": Key(
        0.0,
        "`average`: replace a code by a feature of the batch where its share of the tokens falls below this fraction "
        "of 1 / `num_codes`; 0: never.",
        NON_NEGATIVE,
        changes="model",
        mismatch="stored",
        needs="tokenizer.codebook=average",
    ),
    "loss": Key("l2", "Loss of the reconstruction: `l2` or `l1`.", changes="evaluation", needs="system=tokenizer"),
    "feature_loss": Key(
        str,
        "A further loss, the squared distance of features: `package.module:function`, from values in [0, 1], "
        "[B, ...], to {'features': [B, D]}, as for `eval.features`, written in `jax.numpy`.",
        changes="evaluation",
        needs="system=tokenizer",
    ),
    "external": Key(
        str,
        "Train on the latents of an auto-encoder of your own, `package.module:function`, instead of those of a stage "
        "`tokenizer`.",
        changes="model",
    ),
}
