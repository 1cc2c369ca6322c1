"""Settings of the model: the network, the parameters of the SDE, the parameterization, averages of the parameters."""

import math

from configs.checks import (
    BELOW_ONE,
    DTYPE,
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SIZES,
    STAGES,
    each,
    must,
    one_of,
)
from configs.conditions import is_condition
from configs.keys import Key

CATEGORIES = "system!=diffusion|classifier"  # a system of a user's own may use them, too

KEYS = {
    "name": Key(
        "ncsnpp",
        "Network: `ncsnpp`, `ddpm`, `dit` or `edm2` (data of any rank but vectors), `mlp` (vectors), `s4_residual` "
        "(series), `ncsn`, `ncsnv2_64`, `ncsnv2_128`, `ncsnv2_256`, the classifier `wideresnet`, `token_transformer` "
        "(categories), `masked_ar` (system `mmar`), `autoregressive` (system of that name), or your own, "
        "`package.module:name`.",
        changes="model",
    ),
    "stages": Key(
        (),
        "Runs of earlier stages, whose networks are used and not trained: `NAME=WORKDIR[:CHECKPOINT]`, such as "
        "`('encoder=runs/encoder:3',)`. The run keeps a copy of their weights; a resumed run refuses other weights.",
        STAGES,
        changes="nothing",
    ),
    "dtype": Key(
        "float32",
        "Type of activations. Parameters, statistics of normalizations, losses and SDEs are float32 in any case.",
        DTYPE,
        changes="evaluation",
    ),
    "remat": Key(
        False,
        "Recompute residual and attention blocks in the backward pass, which saves memory.",
        changes="nothing",
    ),
    "remat_policy": Key(
        "nothing",
        "What `remat` stores beside the inputs of blocks: `nothing`, `dots` (products of matrices) or "
        "`dots_without_batch` (products with parameters).",
        changes="nothing",
        needs="model.remat",
    ),
    "corruption": Key(
        "absorbing",
        "System `categorical`: what a site becomes that loses its data, a mask (`absorbing`) or a random category "
        "(`uniform`).",
        changes="model",
        needs=CATEGORIES,
    ),
    "schedule": Key(
        "linear",
        "System `categorical`: the share of lost sites over time t, `linear` (t), `cosine` (sin^2(pi t / 2)) or "
        "`polynomial` (t^schedule_power).",
        changes="model",
        needs=CATEGORIES,
    ),
    "schedule_power": Key(
        2.0, "The exponent of schedule `polynomial`.", POSITIVE, changes="model", needs="model.schedule=polynomial"
    ),
    "reverse_kernel": Key(
        "mixture",
        "Of corruption `uniform`: `mixture` (Bayes' rule) or `plug_in`, for comparison: its samples have another "
        "distribution even with exact predictions.",
        one_of("mixture", "plug_in"),
        changes="model",
        needs="model.corruption=uniform",
    ),
    "num_categories": Key(
        int,
        "System `categorical`: number of categories of a site, which is the number of levels of the data.",
        POSITIVE,
        changes="model",
        needs=CATEGORIES,
    ),
    "sigma_min": Key(
        0.01,
        "VE: smallest noise level.",
        POSITIVE,
        changes="model",
        needs="training.sde!=vpsde|subvpsde|cosine|linear|log_linear",
    ),
    "sigma_max": Key(
        50.0,
        "VE and EDM: largest noise level, about the largest distance between two training images.",
        changes="model",
        needs="training.sde!=vpsde|subvpsde|cosine|linear|log_linear",
    ),
    "beta_min": Key(
        0.1,
        "VP and sub-VP: beta at t = 0.",
        POSITIVE,
        changes="model",
        needs="training.sde!=vesde|edm|cosine|linear|log_linear",
    ),
    "beta_max": Key(
        20.0, "VP and sub-VP: beta at t = 1.", changes="model", needs="training.sde!=vesde|edm|cosine|linear|log_linear"
    ),
    "log_snr_min": Key(
        -15.0,
        "`cosine` and `log_linear`: log signal-to-noise ratio at t = 1.",
        changes="model",
        needs="training.sde=cosine|log_linear",
    ),
    "log_snr_max": Key(
        15.0,
        "`cosine` and `log_linear`: log signal-to-noise ratio at t = 0.",
        changes="model",
        needs="training.sde=cosine|log_linear",
    ),
    "parameterization": Key(
        str,
        "What the network predicts: `noise`, `score`, `data`, `velocity` (along a circle), `flow` (along a line: "
        "noise minus data) or `edm`; unset: as published for the SDE.",
        changes="model",
    ),
    "sigma_data": Key(
        0.5, "Standard deviation of the data, for parameterization and weighting `edm`.", changes="model"
    ),
    "num_scales": Key(
        1000,
        "Noise levels of a discrete model, and the default number of sampling steps; of system `categorical` with "
        "`training.continuous = False` the steps of the grid.",
        POSITIVE,
        changes="model",
    ),
    "ema_rate": Key(
        0.9999, "Decay rate of the average of the parameters.", BELOW_ONE, changes="model", mismatch="stored"
    ),
    "ema_warmup": Key(
        False,
        "Use min(ema_rate, (1 + step) / (10 + step)), as in the published PyTorch code.",
        changes="model",
        mismatch="stored",
    ),
    "ema_rates": Key(
        (),
        "Decay rates of further averages to keep, such as (0.999, 0.99999).",
        each("a rate", "be in [0, 1)", lambda rate: 0 <= rate < 1, int | float),
        changes="model",
        mismatch="stored",
    ),
    "ema_sigma_rels": Key(
        (),
        "Relative widths of power-function averages to keep, such as (0.05, 0.1), from which `--mode=export` makes an "
        "average of any width.",
        each("a width", "be in (0, 0.288)", lambda sigma_rel: 0 < sigma_rel < 12**-0.5, float),
        changes="model",
        mismatch="stored",
    ),
    "embedding_type": Key("positional", "Embedding of time: `positional` or `fourier`.", changes="model"),
    "fourier_scale": Key(
        16.0,
        "Standard deviation of the frequencies of `fourier`.",
        changes="model",
        needs="model.embedding_type=fourier",
    ),
    "scale_by_sigma": Key(False, "Divide the network's output by the noise level.", changes="model"),
    "normalization": Key("GroupNorm", "`GroupNorm`, or `InstanceNorm++` for `ncsn` and `ncsnv2`.", changes="model"),
    "nonlinearity": Key("swish", "Activation function: `swish`, `elu`, `relu` or `lrelu`.", changes="model"),
    "nf": Key(
        128,
        "Channels at full resolution; of `mlp` and transformers a quarter of the width, of `s4_residual` all of it.",
        POSITIVE,
        changes="model",
    ),
    "ch_mult": Key(
        (1, 2, 2, 2),
        "Channels at each resolution, as multiples of `nf`.",
        each("a multiple", "be a positive integer", lambda multiple: multiple > 0, int, may_be_empty=False),
        changes="model",
    ),
    "num_res_blocks": Key(
        4,
        "Residual blocks per resolution; of `mlp`, `s4_residual`, `dit` and `token_transformer` all blocks.",
        POSITIVE,
        changes="model",
    ),
    "state_size": Key(
        128,
        "`s4_residual`: numbers in the state of each channel, twice the complex modes.",
        POSITIVE,
        changes="model",
        needs="model.name=s4_residual",
    ),
    "num_heads": Key(4, "`token_transformer` and `dit`: heads of attention.", POSITIVE, changes="model"),
    "patch_size": Key(
        2, "`dit`: the side of a patch, which is a token.", POSITIVE, changes="model", needs="model.name=dit"
    ),
    "positions": Key(
        "sincos",
        "`dit`: positions as fixed vectors that are added (`sincos`), or as rotations of queries and keys (`rotary`).",
        changes="model",
        needs="model.name=dit",
    ),
    "qk_norm": Key(
        False,
        "`dit`: normalize queries and keys, which keeps training stable.",
        changes="model",
        needs="model.name=dit",
    ),
    "output": Key(
        "categories",
        "`token_transformer`: a logit for each category (`categories`), or a `logistic` distribution over ordered "
        "categories, such as 256 levels.",
        one_of("categories", "logistic"),
        changes="model",
    ),
    "attn_resolutions": Key((16,), "Heights at which attention is used.", SIZES, changes="model"),
    "dropout": Key(0.1, "Dropout probability.", BELOW_ONE, changes="model", mismatch="stored"),
    "resamp_with_conv": Key(True, "Resample with a convolution (`ddpm` blocks).", changes="model"),
    "conditional": Key(True, "Condition the network on time.", changes="model"),
    "augment_dim": Key(
        0,
        'Size of the vector `batch["augment"]` that describes the augmentation; 0: not conditioned on it.',
        changes="model",
    ),
    "num_labels": Key(
        0,
        "Number of classes that the network is conditioned on, or that a classifier predicts; 0: none.",
        NON_NEGATIVE,
        changes="model",
    ),
    "label_dropout": Key(
        0.1,
        "Probability of dropping a class label in training, for classifier-free guidance.",
        PROBABILITY,
        changes="model",
        needs="model.num_labels",
    ),
    "max_frequency": Key(
        1.0,
        "The largest frequency of the positional embedding of time, in radians per unit of its label (999 t), up to 1; "
        "faster ones are left out, and the network is smooth in time, as derivatives by time need (0.03).",
        must("be in (0, 1]", lambda frequency: 0 < frequency <= 1),
        changes="model",
    ),
    "second_time": Key(
        False,
        "Condition the network on the interval from t down to a second time r as well, for the average velocities "
        "u(x, t, r) of `training.objective`; at r = t the network is as without it.",
        changes="model",
    ),
    "conditions": Key(
        (),
        "Fields of the data that the network is conditioned on, as `NAME:ENTRY` or `NAME:ENTRY:DROP_RATE`, such as "
        "`('attributes:add:0.1', 'mask:concat')`. ENTRY: `add` (to the embedding of time), `norm` (scale and shift of "
        "normalizations), `concat` (channels of the input) or `cross` (cross-attention). DROP_RATE: how often training "
        "drops it, for classifier-free guidance; 0 unless given.",
        each("a condition", "be of the form NAME:ENTRY or NAME:ENTRY:DROP_RATE, as attributes:add:0.1", is_condition),
        changes="model",
    ),
    "fir": Key(False, "Resample with a FIR filter.", changes="model"),
    "fir_kernel": Key(
        (1, 3, 3, 1),
        "That filter.",
        each("a weight", "be a finite number", math.isfinite, int | float, may_be_empty=False),
        changes="model",
        needs="model.fir",
    ),
    "skip_rescale": Key(True, "Divide the sum of a residual connection by sqrt(2).", changes="model"),
    "resblock_type": Key("biggan", "`biggan` or `ddpm`.", changes="model"),
    "progressive": Key("none", "Output pyramid: `none`, `output_skip` or `residual`.", changes="model"),
    "progressive_input": Key("none", "Input pyramid: `none`, `input_skip` or `residual`.", changes="model"),
    "progressive_combine": Key("sum", "How the input pyramid is combined: `sum` or `cat`.", changes="model"),
    "init_scale": Key(0.0, "Scale of the initialization of output layers.", changes="model", mismatch="stored"),
    "blocks_per_group": Key(
        4,
        "`wideresnet`: residual blocks at each of three resolutions.",
        POSITIVE,
        changes="model",
        needs="model.name=wideresnet",
    ),
    "channel_multiplier": Key(
        10, "`wideresnet`: width, in units of 16 channels.", POSITIVE, changes="model", needs="model.name=wideresnet"
    ),
}
