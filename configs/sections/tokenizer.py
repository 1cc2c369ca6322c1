"""Settings of tokenizers and auto-encoders (`config.system = "tokenizer"`), and of models of what they encode."""

from configs.checks import BELOW_ONE, NON_NEGATIVE, POSITIVE, PROBABILITY, one_of
from configs.keys import Key

HAS_CODEBOOK = "tokenizer.quantizer=vq|rvq"

KEYS = {
    "quantizer": Key(
        "vq",
        "What a code is: `vq` (tokens, the nearest vectors of a codebook), `rvq` (several tokens at each position, "
        "whose vectors add up), `kl` (latents, normally distributed) or `pca` (latents, the principal components of "
        "patches, in closed form).",
        changes="model",
        needs="system=tokenizer",
    ),
    "encoder": Key(
        "conv",
        "Encoder: `conv`, `patch` (each patch by itself), or `raw` (the values of each patch, with nothing to learn).",
        changes="model",
        needs="tokenizer.quantizer!=pca",
    ),
    "decoder": Key("conv", "Decoder: `conv`, `patch` or `raw`.", changes="model", needs="tokenizer.quantizer!=pca"),
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
    "num_codes": Key(64, "Vectors in a codebook.", POSITIVE, changes="model", needs=HAS_CODEBOOK),
    "depth": Key(4, "`rvq`: tokens of a position.", POSITIVE, changes="model", needs="tokenizer.quantizer=rvq"),
    "shared_codebook": Key(
        False,
        "`rvq`: one codebook for all levels instead of one for each.",
        changes="model",
        needs="tokenizer.quantizer=rvq",
    ),
    "quantizer_dropout": Key(
        0.0,
        "`rvq`: how often training decodes the first levels only, a uniform number of them, so that fewer tokens do.",
        PROBABILITY,
        changes="model",
        mismatch="stored",
        needs="tokenizer.quantizer=rvq",
    ),
    "codebook": Key(
        "gradient",
        "How a codebook is learned, `gradient` or `average` (a moving average of the features of each code).",
        changes="model",
        needs=HAS_CODEBOOK,
    ),
    "codebook_init": Key(
        "k_means",
        "The codebook at step 0, `k_means` of encoder features, or `normal`. With `training.init_from` and "
        "`optim.frozen = ('encoder/*',)`, `k_means` is ReFiT.",
        one_of("k_means", "normal"),
        changes="model",
        mismatch="stored",
        needs=HAS_CODEBOOK,
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
