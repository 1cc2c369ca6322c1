"""Settings of samplers and of guidance."""

from configs.checks import DTYPE, NON_NEGATIVE, POSITIVE, PROBABILITY, must, one_of
from configs.keys import Key

CATEGORIES = "system!=diffusion|classifier|mmar"  # a system of a user's own may use them, too

KEYS = {
    "method": Key(
        "pc",
        "`pc` (predictor-corrector), `solver` (multistep, in few steps) or `ode` (adaptive); of networks with "
        "`model.second_time` also `average_velocity` (straight steps) or `consistency` (to the data, and back by "
        "adding noise); of system `categorical` "
        "`ancestral`, or `confidence` (the likeliest sites first; corruption `absorbing`); of `resgen` the same.",
        changes="evaluation",
    ),
    "predictor": Key(
        "euler_maruyama",
        "Of method `pc`: `euler_maruyama`, `reverse_diffusion`, `ancestral_sampling` or `none`; in few steps `ddim`, "
        "`heun` (in sigma) or `straight_heun` (along a line, for flow matching).",
        changes="evaluation",
        needs="sampling.method=pc",
    ),
    "corrector": Key(
        "none", "Of method `pc`: `langevin`, `ald` or `none`.", changes="evaluation", needs="sampling.method=pc"
    ),
    "probability_flow": Key(
        False, "The predictor follows the probability-flow ODE.", changes="evaluation", needs="sampling.predictor"
    ),
    "diffusion": Key(
        "sde",
        "Noise w of predictor `euler_maruyama`, which leaves the marginals as they are: that of the SDE (`sde`), "
        "`std` (w = std(t)) or `constant` (w = 1), times `diffusion_scale`.",
        changes="evaluation",
        needs="sampling.predictor=euler_maruyama",
    ),
    "diffusion_scale": Key(
        1.0,
        "Factor of that noise; 0 follows the ODE.",
        NON_NEGATIVE,
        changes="evaluation",
        needs="sampling.predictor=euler_maruyama",
    ),
    "num_steps": Key(
        int,
        "Sampling steps; unset: `model.num_scales`, 20 for method `solver`, 1 for `average_velocity` and "
        "`consistency`.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.method!=ode",
    ),
    "grid": Key(
        "uniform",
        "Spacing of the steps: `uniform`, `log_snr`, `polynomial` (in sigma, rho = 7) or `quadratic`.",
        changes="evaluation",
        needs="sampling.method!=ode",
    ),
    "solver": Key(
        "dpmpp_2m",
        "Of method `solver`: `dpmpp_2m`, `dpmpp_3m`, `dpmpp_2m_sde`, `unipc_2`, `unipc_3`, `deis_2` or `deis_3`.",
        changes="evaluation",
        needs="sampling.method=solver",
    ),
    "eta": Key(
        0.0,
        "Noise of predictor `ddim`: 0 follows the ODE, 1 is ancestral sampling.",
        PROBABILITY,
        changes="evaluation",
        needs="sampling.predictor=ddim",
    ),
    "churn": Key(
        0.0,
        "S_churn of predictors `heun` and `straight_heun`: 0 follows the ODE (Karras et al. 2022, algorithm 2).",
        NON_NEGATIVE,
        changes="evaluation",
        needs="sampling.predictor=heun|straight_heun",
    ),
    "churn_min": Key(
        0.0,
        "S_tmin: smallest noise level std / mean_coeff at which noise is added, in units of the data.",
        NON_NEGATIVE,
        changes="evaluation",
        needs="sampling.churn",
    ),
    "churn_max": Key(
        float, "S_tmax: largest such noise level; unset: no limit.", changes="evaluation", needs="sampling.churn"
    ),
    "churn_noise": Key(
        1.0,
        "S_noise: standard deviation of the noise that is added; 1 is right for an exact score.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.churn",
    ),
    "temperature": Key(
        1.0,
        "System `categorical`: the predicted log-probabilities are divided by it; 0: the likeliest category.",
        NON_NEGATIVE,
        changes="evaluation",
        needs=f"{CATEGORIES} or mmar.head=categories",
    ),
    "top_p": Key(
        1.0,
        "System `categorical`: sample only from the likeliest categories, which together have this probability.",
        PROBABILITY,
        changes="evaluation",
        needs=CATEGORIES,
    ),
    "remasking": Key(
        0.0,
        "Corruption `absorbing`: method `ancestral` masks sites again with this share of the largest probability that "
        "keeps the marginals; method `confidence`, if it is positive, the sites that were the least likely.",
        PROBABILITY,
        changes="evaluation",
        needs=CATEGORIES,
    ),
    "confidence_noise": Key(
        1.0,
        "System `resgen`, method `confidence`: Gumbel noise that is added to log-probabilities, times the time; a "
        "large one shows tokens in random order.",
        NON_NEGATIVE,
        changes="evaluation",
        needs="system=resgen",
    ),
    "start": Key(
        "prior",
        "Where samples start: `prior`, or at a training example with noise: a random one (`noised_data`), or that to "
        "which the sample of the prior is assigned by `optimal_transport`; or, with noise, at a sample of the Gaussian "
        "with the mean and covariance of the training examples (`gaussian`).",
        changes="evaluation",
        needs="system=diffusion",
    ),
    "start_noise": Key(
        0.5,
        "Standard deviation of that noise, std / mean_coeff, as the network sees the data. With little of it samples "
        "are copies.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.start!=prior",
    ),
    "start_targets": Key(
        int,
        "The number of training examples that samples start from; unset: all.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.start!=prior",
    ),
    "start_cells": Key(
        1,
        "Optimal transport: the training examples whose mean is a start; 1: a single one, as the map has it.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.start=optimal_transport",
    ),
    "start_angle": Key(
        30.0,
        "With `start_cells` above 1, the angle in degrees beyond which an example is not mixed with that of the cell.",
        must("be in [0, 180]", lambda value: 0 <= value <= 180),
        changes="evaluation",
        needs="sampling.start_cells!=1",
    ),
    "start_iterations": Key(
        2000,
        "Steps of the stochastic gradients that find the transport map.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.start=optimal_transport",
    ),
    "trajectory": Key(0, "Number of intermediate states to keep and show as a GIF; 0: none.", changes="evaluation"),
    "n_steps_each": Key(
        1, "Corrector steps per predictor step.", POSITIVE, changes="evaluation", needs="sampling.corrector!=none"
    ),
    "snr": Key(
        0.16,
        "Signal-to-noise ratio of the corrector.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.corrector!=none",
    ),
    "langevin_norm": Key(
        "example",
        "What Langevin's step size is computed from: the norms of each `example`, or their means over the `batch` "
        "(as published).",
        one_of("example", "batch"),
        changes="evaluation",
        needs="sampling.corrector!=none",
    ),
    "ancestral_variance": Key(
        str,
        "Variance of ancestral sampling: `posterior` or `transition`; unset: as published for the SDE.",
        one_of("posterior", "transition"),
        changes="evaluation",
        needs="sampling.predictor=ancestral_sampling",
    ),
    "noise_removal": Key(
        True, "Return the posterior mean at the last step, for one more function evaluation.", changes="evaluation"
    ),
    "eps": Key(
        float,
        "Last time; unset: 1e-3 for VP and sub-VP, 1e-5 for VE, as published.",
        POSITIVE,
        changes="evaluation",
    ),
    "rtol": Key(
        1e-5, "Relative tolerance of method `ode`.", POSITIVE, changes="evaluation", needs="sampling.method=ode"
    ),
    "atol": Key(
        1e-5, "Absolute tolerance of method `ode`.", POSITIVE, changes="evaluation", needs="sampling.method=ode"
    ),
    "ode_solver": Key(
        "dopri5",
        "Of method `ode`: `bosh3`, `dopri5`, `tsit5`, `dopri8` or `heun`.",
        changes="evaluation",
        needs="sampling.method=ode",
    ),
    "ode_per_example": Key(
        False,
        "Of method `ode`: choose step sizes for each example instead of for the batch.",
        changes="evaluation",
        needs="sampling.method=ode",
    ),
    "dtype": Key(str, "As `model.dtype`, while sampling; unset: that of the model.", DTYPE, changes="evaluation"),
    "guidance": Key("none", "`none`, `classifier_free`, `classifier` or `autoguidance`.", changes="evaluation"),
    "guidance_scale": Key(
        1.0,
        "Strength of the guidance. 1 is the conditional distribution itself (`classifier_free`, `classifier`), or no "
        "guidance (`autoguidance`).",
        changes="evaluation",
        needs="sampling.guidance!=none",
    ),
    "guidance_min_sigma": Key(
        0.0,
        "Smallest noise level std / mean_coeff with guidance.",
        NON_NEGATIVE,
        changes="evaluation",
        needs="sampling.guidance!=none",
    ),
    "guidance_max_sigma": Key(
        float,
        "Largest noise level with guidance; unset: no limit.",
        POSITIVE,
        changes="evaluation",
        needs="sampling.guidance!=none",
    ),
    "guide_workdir": Key(
        str,
        "Workdir of the classifier, or of the weaker model for `autoguidance`.",
        changes="evaluation",
        needs="sampling.guidance=classifier|autoguidance",
    ),
    "guide_checkpoint": Key(
        int, "Its checkpoint; unset: the newest.", changes="evaluation", needs="sampling.guide_workdir"
    ),
}
