"""Settings of training: the SDE, the objective, the schedule of a run, and its faults."""

from configs.checks import DTYPE, LOSS_WEIGHTS, NON_NEGATIVE, POSITIVE, PROBABILITY, STEPS, must, one_of
from configs.keys import Key

FEW_STEPS = "training.objective!=score_matching"

KEYS = {
    "sde": Key(
        "subvpsde",
        "`vpsde`, `subvpsde`, `vesde`, `edm`, `cosine`, `log_linear` or `linear` (flow matching).",
        changes="model",
    ),
    "continuous": Key(
        True,
        "False: the discrete objective of DDPM or SMLD on `model.num_scales` levels; of system `categorical` the sum "
        "of KL terms over as many steps.",
        changes="model",
    ),
    "batch_size": Key(
        128,
        "Images per step over all devices and processes; also of each step in which "
        "`eval.dequantization = variational` is fitted.",
        POSITIVE,
        changes="model",
        mismatch="given",
    ),
    "n_iters": Key(1_300_000, "Optimizer steps.", POSITIVE, changes="nothing"),
    "snapshot_freq": Key(
        50_000, "Steps between checkpoints that are kept; a multiple of `log_freq`.", POSITIVE, changes="nothing"
    ),
    "snapshot_freq_for_preemption": Key(
        10_000,
        "Steps between checkpoints to resume from; only the newest is kept. A multiple of `log_freq`.",
        POSITIVE,
        changes="nothing",
    ),
    "snapshot_sampling": Key(True, "Whether to generate a grid of samples at each snapshot.", changes="nothing"),
    "snapshot_num_samples": Key(
        64, "Samples in that grid.", POSITIVE, changes="nothing", needs="training.snapshot_sampling"
    ),
    "log_freq": Key(50, "Steps between logged metrics.", POSITIVE, changes="nothing"),
    "eval_freq": Key(
        100, "Steps between losses of a test batch, a multiple of `log_freq`; 0: never.", changes="nothing"
    ),
    "n_jitted_steps": Key(
        1,
        "Steps per dispatch, compiled as one program. Ignored on CPUs, where XLA runs such a program 16 times slower.",
        POSITIVE,
        changes="nothing",
    ),
    "grad_accumulation": Key(
        1,
        "Gradient accumulation: the number of parts into which a batch is split. It must divide `batch_size`.",
        POSITIVE,
        changes="nothing",
    ),
    "grad_dtype": Key(
        str,
        "The type in which gradients are summed over devices, `float32` or `bfloat16`; unset: the type that the "
        "network computes in. If set, or with `grad_accumulation`, the rows of each device are parts of a batch.",
        DTYPE,
        changes="nothing",
    ),
    "fsdp": Key(
        1,
        "Number of devices over which parameters, their averages and the optimizer state are sharded; 1: replicated.",
        POSITIVE,
        changes="nothing",
    ),
    "objective": Key(
        "score_matching",
        "`score_matching`, or for samples in one or a few steps (`model.second_time`, the linear path) `mean_flow`, "
        "`improved_mean_flow`, `shortcut`, `consistency` or `continuous_consistency`.",
        changes="evaluation",
    ),
    "flow_share": Key(
        0.5,
        "The share of examples whose second time is the first, for which every objective is flow matching.",
        PROBABILITY,
        changes="evaluation",
        needs=FEW_STEPS,
    ),
    "velocity": Key(
        "example",
        "The velocity v of average velocities: `example` (z - x0); `network`: u(x, t, t) itself; or `teacher`: that of "
        "the run of flow matching in `model.stages = ('teacher=WORKDIR',)`, which is distilled. Unused by `shortcut`, "
        "whose targets are its own steps.",
        one_of("example", "network", "teacher"),
        changes="evaluation",
        needs="training.objective=mean_flow|improved_mean_flow|consistency|continuous_consistency",
    ),
    "error_power": Key(
        0.0,
        "p of the loss e / (e + 0.001)^p of an example with the squared error e; 0: e itself, 1: the same for all.",
        PROBABILITY,
        changes="evaluation",
        needs=FEW_STEPS,
    ),
    "train_guidance": Key(
        1.0,
        "w of the velocity w v + (1 - w) u without a class, which is learned, so that one call gives guided samples.",
        POSITIVE,
        changes="evaluation",
        needs=FEW_STEPS,
    ),
    "tangent_warmup": Key(
        0,
        "Steps over which the derivative in the target of mean flows and `continuous_consistency` grows to its "
        "strength; 0: it has it from the start.",
        NON_NEGATIVE,
        changes="evaluation",
        needs="training.objective=mean_flow|improved_mean_flow|continuous_consistency",
    ),
    "first_gap": Key(
        1.0,
        "`consistency`: the gap between the two times that are compared at the start, as a share of t; 1 is flow "
        "matching.",
        must("be in (0, 1]", lambda gap: 0 < gap <= 1),
        changes="evaluation",
        needs="training.objective=consistency",
    ),
    "last_gap": Key(
        0.01,
        "`consistency`: the smallest gap.",
        must("be in (0, 1]", lambda gap: 0 < gap <= 1),
        changes="evaluation",
        needs="training.objective=consistency",
    ),
    "gap_halving": Key(
        10_000,
        "`consistency`: the steps after which the gap is halved.",
        POSITIVE,
        changes="evaluation",
        needs="training.objective=consistency",
    ),
    "shortcut_levels": Key(
        7,
        "`shortcut`: the number of lengths 1, 1/2, 1/4 ... of intervals.",
        POSITIVE,
        changes="evaluation",
        needs="training.objective=shortcut",
    ),
    "likelihood_weighting": Key(
        False, "Weight the loss by `diffusion(t)^2` instead of `std(t)^2`.", changes="evaluation"
    ),
    "weighting": Key(
        str,
        "`variance`, `likelihood`, `edm` or `flow` (the error of the velocity); unset: as `likelihood_weighting` says.",
        changes="evaluation",
    ),
    "uncertainty": Key(
        False,
        "Learn a weight of noise levels beside the model: the loss of an example, L times `weighting`, becomes "
        "exp(-u) L + u, u a function of the log signal-to-noise ratio, so that exp(u) becomes the mean loss there.",
        changes="model",
        needs="system!=categorical|classifier|tokenizer",
    ),
    "noise_schedule": Key(
        str,
        "Train on the bound on the log-probability of levels instead of score matching, with the times of the SDE "
        "(`fixed`), or with a map of times that is learned with its ends (`learned`); unset: score matching.",
        one_of("fixed", "learned"),
        changes="model",
        needs="system!=categorical|classifier|tokenizer",
    ),
    "loss_weights": Key(
        (),
        "Weights of named losses, 1 by default: `NAME=WEIGHT`, or `NAME=START:END@FIRST:LAST`, which changes linearly "
        "from START to END between the steps FIRST and LAST, such as `('kl=0:0.1@1000:5000',)`.",
        LOSS_WEIGHTS,
        changes="evaluation",
    ),
    "init_from": Key(
        str,
        "Start from the averaged parameters of another run, `WORKDIR[:CHECKPOINT]`, by path; what is missing there or "
        "has another shape or type keeps its initial value. Only at step 0: a resumed run ignores it.",
        changes="nothing",
    ),
    "time_sampling": Key(
        "uniform",
        "Distribution of training times: `uniform`, `log_snr` (for likelihood training), `log_normal` (EDM), "
        "`logit_normal` or `mode` (flow matching); of "
        "system `categorical` `uniform` or `importance` (uniform in the share of lost sites).",
        changes="evaluation",
    ),
    "stratified": Key(False, "Stratify the times of a batch.", changes="evaluation"),
    "p_mean": Key(
        -1.2, "`log_normal`: mean of ln sigma.", changes="evaluation", needs="training.time_sampling=log_normal"
    ),
    "p_std": Key(
        1.2,
        "`log_normal`: standard deviation of ln sigma.",
        changes="evaluation",
        needs="training.time_sampling=log_normal",
    ),
    "logit_mean": Key(
        0.0,
        "`logit_normal`: mean of ln(t / (1 - t)); below 0 there is less noise.",
        changes="evaluation",
        needs="training.time_sampling=logit_normal",
    ),
    "logit_std": Key(
        1.0,
        "`logit_normal`: its standard deviation.",
        POSITIVE,
        changes="evaluation",
        needs="training.time_sampling=logit_normal",
    ),
    "mode_scale": Key(
        0.8,
        "`mode`: from -1 (more times near both ends) over 0 (uniform) to 1.75 (more in the middle).",
        must("be in [-1, 1.75]", lambda scale: -1 <= scale <= 1.75),
        changes="evaluation",
        needs="training.time_sampling=mode",
    ),
    "time_shift_base": Key(
        int,
        "Shift times toward noise for data of more numbers n than this, and toward data for fewer: t to "
        "alpha t / (1 + (alpha - 1) t), alpha = sqrt(n / time_shift_base), in training and on the sampling grids "
        "`uniform` and `quadratic`; unset: no shift.",
        POSITIVE,
        changes="evaluation",
    ),
    "coupling": Key(
        "independent",
        "How noise is paired with the data of a batch (or of a part of it, with `grad_accumulation`): `independent` or "
        "`optimal_transport`, which makes the paths of flow matching straighter; samplers then follow the ODE.",
        changes="evaluation",
    ),
    "reduce_mean": Key(
        True, "Average the loss over dimensions; False: half of the sum over dimensions.", changes="evaluation"
    ),
    "eps": Key(1e-5, "Smallest time in training.", POSITIVE, changes="evaluation"),
    "on_nonfinite": Key(
        "stop",
        "What to do about a loss or gradient that is not finite: `stop`, `skip` the update, or `rollback` to the "
        "checkpoint and leave out that batch.",
        one_of("stop", "skip", "rollback"),
        changes="nothing",
    ),
    "max_nonfinite": Key(
        10,
        "`skip` and `rollback`: largest number of such batches; one more stops the run.",
        POSITIVE,
        changes="nothing",
        needs="training.on_nonfinite!=stop",
    ),
    "spike_factor": Key(
        10.0,
        "Warn about a loss that exceeds its running median by this factor; 0: never.",
        NON_NEGATIVE,
        changes="nothing",
    ),
    "profile_steps": Key(
        (),
        "`(FIRST, LAST)`: trace these steps, counted from 1, into `WORKDIR/profile`, for TensorBoard's profiler and "
        "`xprof`.",
        STEPS,
        changes="nothing",
    ),
    "compile_effort": Key(
        float,
        "How hard XLA works on what training compiles, from -1 to 1; less compiles faster, to another program. 0 is "
        "XLA's default; unset: -1 for TPUs, otherwise 0. Some compilers ignore it.",
        must("be in [-1, 1]", lambda effort: -1 <= effort <= 1),
        changes="nothing",
    ),
}
