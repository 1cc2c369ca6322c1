"""Settings of restoration: samples of the posterior given a measurement (`--mode=sample`)."""

from configs.checks import NON_NEGATIVE, POSITIVE, PROBABILITY, one_of
from configs.keys import Key

KEYS = {
    "method": Key(
        "pigdm",
        "How samples are conditioned on a measurement: `projection`, `ddnm`, `pigdm`, `dps` or `self_guidance`; `none` "
        "for a network that is conditioned on it.",
        changes="evaluation",
    ),
    "noise_std": Key(
        0.0,
        "Standard deviation of the measurement's noise, for data in [0, 1]; in the units of data without levels.",
        NON_NEGATIVE,
        changes="evaluation",
    ),
    "prior_variance": Key(
        float,
        "`ddnm`, `pigdm` and `dps`: variance of data in [0, 1], or of data without levels; unset: that of the "
        "training data.",
        POSITIVE,
        changes="evaluation",
        needs="restore.method!=projection|self_guidance",
    ),
    "covariance": Key(
        "isotropic",
        "`pigdm`: posterior covariance of the data, `isotropic` or from the `jacobian` of the score, at several times "
        "the cost.",
        one_of("isotropic", "jacobian"),
        changes="evaluation",
        needs="restore.method=pigdm",
    ),
    "num_iterations": Key(
        10,
        "`projection`, `ddnm` and `pigdm`: conjugate gradient iterations per step for a measurement too large for "
        "its singular values to be computed, for counts, and of covariance `jacobian`.",
        POSITIVE,
        changes="evaluation",
        needs="restore.method=projection|ddnm|pigdm",
    ),
    "limit": Key(
        2.0,
        "`pigdm`: largest change of the posterior mean per step, relative to the norm of the data.",
        POSITIVE,
        changes="evaluation",
        needs="restore.method=pigdm",
    ),
    "zeta": Key(1.0, "`dps`: step size.", POSITIVE, changes="evaluation", needs="restore.method=dps"),
    "dps_form": Key(
        "score",
        "`dps`: `score` works with any sampler; `step` is the published form, for method `pc`, and suits one number of "
        "steps.",
        one_of("step", "score"),
        changes="evaluation",
        needs="restore.method=dps",
    ),
    "observation_loss": Key(
        "quantile",
        "`self_guidance`: how far the posterior mean is from what is observed, the `mean_square`, or the loss of the "
        "`quantile` i / (S + 1) for sample i of S.",
        one_of("mean_square", "quantile"),
        changes="evaluation",
        needs="restore.method=self_guidance",
    ),
    "observation_scale": Key(
        4.0,
        "`self_guidance`: scale of the gradient; published values are 1 to 8, by data set.",
        POSITIVE,
        changes="evaluation",
        needs="restore.method=self_guidance",
    ),
    "operator": Key(
        "fourier",
        "Task reconstruct: what is measured; `fourier` (frequencies), `complex_fourier` (of complex images in two "
        "channels), `sense` (of several coils), `radon` (tomography), or a function `package.module:function` from the "
        "shape of an example to an operator.",
        changes="evaluation",
    ),
    "pattern": Key(
        "columns",
        "Task reconstruct of frequencies without a mask: `columns` (low frequencies of the last side, and each of its "
        "others by chance), `random_lines`, `equispaced_lines`, `random_points` or `radial`.",
        changes="evaluation",
    ),
    "center": Key(
        0.08,
        "Task reconstruct: share of the lowest frequencies, along the last side or of all, that every pattern but "
        "`columns` measures.",
        PROBABILITY,
        changes="evaluation",
        needs="restore.pattern!=columns",
    ),
    "coil_maps": Key(
        str,
        "Operator `sense`: the sensitivities of the coils, an .npy file [*sides, coils], complex, or `simulated:N`.",
        changes="evaluation",
        needs="restore.operator=sense",
    ),
    "num_views": Key(
        20,
        "Operator `radon`: number of angles, evenly spaced over half a turn.",
        POSITIVE,
        changes="evaluation",
        needs="restore.operator=radon",
    ),
    "photons": Key(
        0.0,
        "Task reconstruct: photons sent along each line, for measurements that are counts with Poisson noise; 0 for "
        "sums along lines with noise of `noise_std`.",
        NON_NEGATIVE,
        changes="evaluation",
    ),
    "attenuation": Key(
        0.05,
        "Attenuation of photons in nepers per pixel of a value of one, for data in [0, 1].",
        POSITIVE,
        changes="evaluation",
        needs="restore.photons!=0.0",
    ),
    "factor": Key(2, "Task superresolve: downsampling factor along each side.", POSITIVE, changes="evaluation"),
    "blur_width": Key(
        1.5,
        "Task deblur: standard deviation of the blur in pixels, or entries of other data.",
        POSITIVE,
        changes="evaluation",
    ),
    "kept": Key(
        0.3,
        "Task reconstruct without a mask: share of the frequencies that are measured, 1 / acceleration.",
        POSITIVE,
        changes="evaluation",
    ),
}
