"""Settings of `--mode=eval`: which checkpoints, which tasks, and how each of them measures."""

from configs.checks import DTYPE, NAMES, NON_NEGATIVE, POSITIVE, SPLIT, each, one_of
from configs.keys import Key

# An evaluation is done where its switch is on, or `tasks` names it; systems of a user's own have no switches.
SAMPLES = "eval.enable_sampling or eval.tasks or system!=diffusion|categorical"
DENSITY = "eval.enable_bpd or eval.tasks or system!=diffusion|categorical"

KEYS = {
    "begin_ckpt": Key(1, "First checkpoint to evaluate.", changes="nothing"),
    "end_ckpt": Key(26, "Last checkpoint to evaluate.", changes="nothing"),
    "batch_size": Key(1024, "Images per round.", POSITIVE, changes="evaluation"),
    "tasks": Key(
        (),
        "Evaluations of the system to do, such as `('loss', 'samples')`; empty: of the systems of this project those "
        "that are enabled below, of any other system all.",
        NAMES,
        changes="nothing",
    ),
    "enable_loss": Key(True, "Evaluate the loss on the test data.", changes="nothing"),
    "enable_bpd": Key(False, "Evaluate bits/dim, or nats/dim of data without levels.", changes="nothing"),
    "enable_sampling": Key(False, "Generate samples.", changes="nothing"),
    "enable_metrics": Key(
        False, "Compare the samples with data: FID and others; needs `enable_sampling`.", changes="nothing"
    ),
    "metrics": Key(
        ("fid", "kid", "inception_score", "precision", "recall", "density", "coverage"),
        "Metrics to compute.",
        NAMES,
        changes="evaluation",
        needs="eval.enable_metrics",
    ),
    "features": Key(
        "inception",
        "Feature extractor: `inception`, `classifier`, `thumbnails`, `pixels` or `package.module:function`.",
        changes="evaluation",
        needs="eval.enable_metrics",
    ),
    "inception_weights": Key(
        str,
        "`inception`: file with the weights, the published `.pth` or an `.npz`.",
        changes="evaluation",
        needs="eval.features=inception",
    ),
    "classifier_workdir": Key(
        str,
        "`classifier`: workdir of a `wideresnet` trained on the same data.",
        changes="evaluation",
        needs="eval.features=classifier",
    ),
    "feature_batch_size": Key(
        50, "Batch size of the feature extractor.", POSITIVE, changes="evaluation", needs="eval.enable_metrics"
    ),
    "reference_dataset": Key(
        "train",
        "Data split that samples are compared with: `train` or `test`.",
        SPLIT,
        changes="evaluation",
        needs="eval.enable_metrics",
    ),
    "num_samples": Key(50_000, "Number of samples.", POSITIVE, changes="evaluation", needs=SAMPLES),
    "season": Key(
        0,
        "Time series: after how many steps they repeat themselves, for the baselines; 0: what their frequency says.",
        NON_NEGATIVE,
        changes="evaluation",
        needs="data.horizon!=0",
    ),
    "sample_format": Key(
        "npz",
        "Format in which samples are exported: `npz` (`arr_0`, integer levels), `png` (a folder of 8-bit images) or "
        "`both`.",
        one_of("npz", "png", "both"),
        changes="nothing",
        needs=SAMPLES,
    ),
    "bpd_dataset": Key(
        "test",
        "Data split whose likelihood is evaluated: `train` or `test`.",
        SPLIT,
        changes="evaluation",
        needs=DENSITY,
    ),
    "bpd_repeats": Key(
        1,
        "Evaluations per example, each with its own dequantization and probes, averaged.",
        POSITIVE,
        changes="evaluation",
        needs=DENSITY,
    ),
    "bpd_method": Key(
        "ode",
        "`ode`: density of the probability flow; `bound`: variational bound, the only one of system `categorical`; "
        "`levels`: the bound on the probability of levels, of models with `training.noise_schedule`.",
        changes="evaluation",
        needs=DENSITY,
    ),
    "bpd_dtype": Key(
        "float32", "As `model.dtype`, while the likelihood is evaluated.", DTYPE, changes="evaluation", needs=DENSITY
    ),
    "bpd_offset": Key(
        "at_eps",
        "`at_eps`: data are treated as samples at time `bpd_eps`; `decoded`: a lower bound at time 0.",
        changes="evaluation",
        needs=DENSITY,
    ),
    "dequantization": Key(
        "uniform",
        "`uniform`, `truncated_normal` (the noise at `bpd_eps`, for models trained without dequantization) or "
        "`variational` (fitted to the model).",
        changes="evaluation",
        needs=DENSITY,
    ),
    "dequantization_steps": Key(
        1000,
        "Optimizer steps in which `variational` is fitted, on batches of `training.batch_size`.",
        POSITIVE,
        changes="evaluation",
        needs="eval.dequantization=variational",
    ),
    "num_dequantizations": Key(
        1,
        "Importance samples per image, averaged inside the logarithm.",
        POSITIVE,
        changes="evaluation",
        needs=DENSITY,
    ),
    "divergence": Key(
        "hutchinson",
        "`hutchinson`, `exact` (small images) or `hutchpp` (where a few directions dominate).",
        changes="evaluation",
        needs="eval.bpd_method=ode",
    ),
    "num_probes": Key(
        1,
        "Jacobian products per evaluation of the ODE; for method `bound`, times per image.",
        POSITIVE,
        changes="evaluation",
        needs=DENSITY,
    ),
    "hutchinson": Key(
        "rademacher",
        "Distribution of the probes: `rademacher` or `gaussian`.",
        changes="evaluation",
        needs="eval.divergence!=exact",
    ),
    "bpd_eps": Key(
        1e-5, "Smallest time of the likelihood's ODE or bound.", POSITIVE, changes="evaluation", needs=DENSITY
    ),
    "ode_solver": Key(
        "dopri5",
        "`dopri5`, `tsit5`, `dopri8`, `heun` or `bosh3` (for networks that vary quickly in t).",
        changes="evaluation",
        needs="eval.bpd_method=ode",
    ),
    "rtol": Key(1e-5, "Relative tolerance of that ODE.", POSITIVE, changes="evaluation", needs="eval.bpd_method=ode"),
    "atol": Key(1e-5, "Absolute tolerance of that ODE.", POSITIVE, changes="evaluation", needs="eval.bpd_method=ode"),
    "restoration": Key(
        "reconstruct",
        "Task `reconstruction`: what it restores, by the settings of `restore`: `reconstruct`, `inpaint`, "
        "`superresolve`, `colorize`, `deblur` or `denoise`.",
        changes="evaluation",
        needs="eval.tasks",
    ),
    "baselines": Key(
        (),
        "Task `reconstruction` of `reconstruct`: further methods beside the direct one, `total_variation` (needs "
        "scikit-image) and `pca_lmmse`.",
        NAMES,
        changes="evaluation",
        needs="eval.tasks",
    ),
    "posterior_samples": Key(
        16,
        "Tasks `reconstruction`, `anomaly`, `segmentation`, `forecast` and `imputation`: samples of each example.",
        POSITIVE,
        changes="evaluation",
        needs="eval.tasks",
    ),
    "num_examples": Key(
        0,
        "Tasks `reconstruction`, `anomaly`, `segmentation`, `counterfactual` and `strength`: how many of the first "
        "test examples are used; 0: all.",
        NON_NEGATIVE,
        changes="evaluation",
        needs="eval.tasks",
    ),
    "anomaly_dataset": Key(
        "phantoms_lesions",
        "Task `anomaly`: data whose test split has anomalies, with a field `lesion` that says where.",
        changes="evaluation",
        needs="eval.tasks",
    ),
    "anomaly_noise_std": Key(
        0.3,
        "Task `anomaly`: standard deviation of the noise added to examples in [0, 1], which hides anomalies.",
        POSITIVE,
        changes="evaluation",
        needs="eval.tasks",
    ),
    "interventions": Key(
        (),
        "Tasks `counterfactual` and `strength`: variables to intervene on; empty: all that affect others.",
        NAMES,
        changes="evaluation",
        needs="system=causal_diffae",
    ),
    "ablations": Key(
        ("no_propagation", "no_abduction"),
        "Task `counterfactual`: methods to compare with: `no_propagation` (descendants keep their latents), "
        "`no_abduction` (random noise) and `label_conditional` (random noise, the true labels in place of latents; of "
        "data whose counterfactuals are known).",
        NAMES,
        changes="evaluation",
        needs="system=causal_diffae",
    ),
    "strengths": Key(
        (0.0, 0.5, 1.0, 1.5),
        "Task `strength`: strengths of classifier-free guidance, in both directions of the ODE.",
        each("a strength", "be a number that is not negative", lambda value: value >= 0, int | float),
        changes="evaluation",
        needs="system=causal_diffae",
    ),
    "wait_seconds": Key(3600.0, "How long to wait for a checkpoint of a run in progress.", changes="nothing"),
}
