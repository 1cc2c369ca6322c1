"""Every setting, with its default, unit and source; an experiment states only what differs.

Names are those of the published code, so that its users' commands carry over. A key that is not here cannot be set.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections.config_dict import placeholder

from configs import validation
from configs.keys import FIXED, changes_evaluation, differences, flatten, is_fixed, to_json
from core.tables import choose, nearest

__all__ = [
    "FIXED",
    "changes_evaluation",
    "choose",
    "complete",
    "differences",
    "flatten",
    "from_json",
    "get_config",
    "is_fixed",
    "nearest",
    "to_json",
    "validate",
]


def get_config() -> ml_collections.ConfigDict:
    """A new, locked config with every key at its default: a sub-VP DDPM++ on CIFAR-10."""
    config = ml_collections.ConfigDict()
    config.seed = 42
    config.training = _training()
    config.sampling = _sampling()
    config.restore = _restore()
    config.eval = _evaluation()
    config.data = _data()
    config.model = _model()
    config.optim = _optim()
    return config.lock()


def _training() -> ml_collections.ConfigDict:
    training = ml_collections.ConfigDict()
    training.sde = "subvpsde"  # vpsde | subvpsde | vesde | edm | cosine
    training.continuous = True  # False: the discrete objectives of DDPM and SMLD on model.num_scales levels
    training.batch_size = 128  # images in a step, over all devices and processes
    training.n_iters = 1_300_000  # optimiser steps
    training.snapshot_freq = 50_000  # steps between checkpoints that are kept
    training.snapshot_freq_for_preemption = 10_000  # steps between checkpoints of which only the newest is kept
    training.snapshot_sampling = True  # draw a grid of samples at each snapshot
    training.snapshot_num_samples = 64  # images in that grid
    training.log_freq = 50  # steps between lines of metrics
    training.eval_freq = 100  # steps between losses of a test batch; 0: never
    training.n_jitted_steps = 1  # steps fused into one dispatch; ignored on a CPU, where XLA is 16 times slower so
    training.grad_accumulation = 1  # parts of a batch, one after the other, of whose gradients the mean is taken
    training.fsdp = 1  # devices that share parameters, averages and optimiser; 1: each has all of them
    training.likelihood_weighting = False  # weigh the loss by diffusion(t)^2 instead of std(t)^2
    training.weighting = placeholder(str)  # variance | likelihood | edm; unset: as likelihood_weighting says
    training.time_sampling = "uniform"  # uniform | log_snr (suits the likelihood) | log_normal (EDM's)
    training.stratified = False  # spread the times of a batch evenly
    training.p_mean = -1.2  # log_normal: mean of ln sigma
    training.p_std = 1.2  # log_normal: its standard deviation
    training.reduce_mean = True  # mean over dimensions instead of half their sum
    training.eps = 1e-5  # smallest time that is trained
    # A loss or gradient that is not finite: stop | skip (the update) | rollback (to the checkpoint, without that batch)
    training.on_nonfinite = "stop"
    training.max_nonfinite = 10  # skip, rollback: so many batches; with one more the run stops
    training.spike_factor = 10.0  # warn of a loss so many times its running median; 0: never
    return training


def _sampling() -> ml_collections.ConfigDict:
    sampling = ml_collections.ConfigDict()
    sampling.method = "pc"  # pc: predictor-corrector | solver: multistep, in few steps | ode: adaptive
    # euler_maruyama | reverse_diffusion | ancestral_sampling | none, or for few steps: ddim | heun
    sampling.predictor = "euler_maruyama"
    sampling.corrector = "none"  # langevin | ald | none
    sampling.probability_flow = False  # the predictor follows the probability-flow ODE
    sampling.num_steps = placeholder(int)  # steps of the loop; unset: model.num_scales, 20 for method solver
    sampling.grid = "uniform"  # uniform | log_snr | polynomial (rho = 7, in sigma) | quadratic: spacing of the steps
    sampling.solver = "dpmpp_2m"  # of method solver: dpmpp_2m | dpmpp_3m | dpmpp_2m_sde | unipc_2 or _3 | deis_2 or _3
    sampling.eta = 0.0  # noise of predictor ddim: 0 follows the ODE, 1 is ancestral sampling
    sampling.churn = 0.0  # S_churn of predictor heun: 0 follows the ODE; Karras et al. 2022, algorithm 2
    sampling.churn_min = 0.0  # S_tmin: noise level std / mean_coeff, in units of the data, below which none is added
    sampling.churn_max = placeholder(float)  # S_tmax: above which none is added; unset: no such limit
    sampling.churn_noise = 1.0  # S_noise: standard deviation of what is added, 1 being right for an exact score
    sampling.trajectory = 0  # states of the way to keep and to show as a GIF; 0: none
    sampling.n_steps_each = 1  # corrector steps per predictor step
    sampling.snr = 0.16  # signal-to-noise ratio of the corrector
    sampling.langevin_norm = "example"  # example | batch: over what Langevin's norms are averaged (published: batch)
    sampling.ancestral_variance = placeholder(str)  # posterior | transition; unset: as published for the SDE
    sampling.noise_removal = True  # end with the denoised image, one evaluation more
    sampling.eps = placeholder(float)  # last time; unset: 1e-3 for VP and sub-VP, 1e-5 for VE, as published
    sampling.rtol = 1e-5  # relative tolerance of method ode
    sampling.atol = 1e-5  # absolute tolerance of method ode
    sampling.ode_solver = "dopri5"  # of method ode: tsit5 | dopri5 | dopri8 | heun
    sampling.ode_per_example = False  # steps of method ode chosen for each image by itself, not for its batch
    sampling.dtype = placeholder(str)  # float32 | bfloat16: as model.dtype, while sampling; unset: that of the model
    sampling.guidance = "none"  # none | classifier_free | classifier | autoguidance
    sampling.guidance_scale = 1.0  # how strongly; 1: the class itself (classifier_free, classifier), no guidance (auto)
    sampling.guidance_min_sigma = 0.0  # noise levels std / mean_coeff at which there is guidance: from this one
    sampling.guidance_max_sigma = placeholder(float)  # to this one; unset: all above
    sampling.guide_workdir = placeholder(str)  # the run of the classifier, or of the weaker model
    sampling.guide_checkpoint = placeholder(int)  # which checkpoint of it; unset: the newest
    return sampling


def _restore() -> ml_collections.ConfigDict:
    restore = ml_collections.ConfigDict()
    restore.method = "pigdm"  # projection | ddnm | pigdm | dps: how samples are made to agree with a measurement
    restore.noise_std = 0.0  # of the measurement, where the data range from 0 to 1
    restore.prior_variance = placeholder(float)  # of the data in [0, 1], ddnm and pigdm; unset: the training images'
    restore.covariance = "isotropic"  # pigdm: isotropic | jacobian (what the score tells; several times the work)
    restore.num_iterations = 10  # conjugate gradients of covariance jacobian
    restore.limit = 2.0  # pigdm: largest change of the expected data in a step, in units of the data's own norm
    restore.zeta = 1.0  # dps: size of its steps
    restore.dps_form = "score"  # dps: score (any sampler) | step (as published; method pc, fits one number of steps)
    restore.factor = 2  # superresolve: pixels that become one, along each axis
    restore.blur_width = 1.5  # deblur: standard deviation in pixels
    restore.kept = 0.3  # reconstruct: about this share of the columns of the spectrum is known, without a mask
    return restore


def _evaluation() -> ml_collections.ConfigDict:
    evaluation = ml_collections.ConfigDict()
    evaluation.begin_ckpt = 1  # first checkpoint to evaluate
    evaluation.end_ckpt = 26  # last one
    evaluation.batch_size = 1024  # images per round
    evaluation.enable_loss = True
    evaluation.enable_bpd = False
    evaluation.enable_sampling = False
    evaluation.enable_metrics = False  # compare the samples with data: FID and others; needs enable_sampling
    evaluation.metrics = ("fid", "kid", "inception_score", "precision", "recall", "density", "coverage")
    evaluation.features = "inception"  # inception | classifier | thumbnails | pixels | package.module:function
    evaluation.inception_weights = placeholder(str)  # inception: the published .pth file, or an .npz
    evaluation.classifier_workdir = placeholder(str)  # classifier: the run of a wideresnet on the same data
    evaluation.feature_batch_size = 50  # images that a feature network sees at once
    evaluation.reference_dataset = "train"  # train | test: the data that samples are compared with
    evaluation.num_samples = 50_000
    evaluation.sample_format = "npz"  # npz (arr_0, grey levels) | png (a folder, 8 bits) | both: samples for others
    evaluation.bpd_dataset = "test"  # train | test
    evaluation.bpd_repeats = 1  # dequantisations and probes per image, averaged
    evaluation.bpd_method = "ode"  # ode (density of the probability flow) | bound (variational, of the sampling SDE)
    evaluation.bpd_dtype = "float32"  # float32 | bfloat16: as model.dtype, while the likelihood is measured
    evaluation.bpd_offset = "at_eps"  # at_eps (data are taken as samples at bpd_eps) | decoded (lower bound at time 0)
    # uniform | truncated_normal (the noise of bpd_eps; for training without it) | variational (learned for the model)
    evaluation.dequantization = "uniform"
    evaluation.dequantization_steps = 1000  # optimiser steps in which variational is learned, of training.batch_size
    evaluation.num_dequantizations = 1  # importance samples per image, under one logarithm
    evaluation.divergence = "hutchinson"  # hutchinson | exact (small images) | hutchpp (where few directions matter)
    evaluation.num_probes = 1  # Jacobian products per evaluation of the ODE; times per image for method bound
    evaluation.hutchinson = "rademacher"  # rademacher | gaussian
    evaluation.bpd_eps = 1e-5  # time at which the likelihood's ODE or bound starts
    evaluation.ode_solver = "dopri5"  # bosh3 (network with fast changes in t) | dopri5 | tsit5 | dopri8
    evaluation.rtol = 1e-5  # relative tolerance of that ODE
    evaluation.atol = 1e-5  # absolute tolerance of that ODE
    evaluation.wait_seconds = 3600.0  # how long to wait for a checkpoint of a run in progress
    return evaluation


def _data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    # A name (CIFAR10, digits, LSUN ...), or own data: folder:PATH | zip:PATH | npy:PATH | npz:PATH | cifar10:PATH;
    # empty: the command has to say it.
    data.dataset = "CIFAR10"
    data.category = placeholder(str)  # which LSUN: bedroom | church_outdoor
    data.data_dir = placeholder(str)  # where TFDS keeps data sets; unset: its own default
    data.image_size = 32  # pixels along each side; of own data: what data.resize makes of them
    data.num_channels = 3  # own data say it themselves
    # (D,) vectors, (L, C) series, (H, W, C) images, (D, H, W, C) volumes; (): (image_size, image_size, num_channels),
    # and of own data what they are
    data.shape = ()
    data.num_levels = placeholder(int)  # of own integers; unset: 256 for 8 bits, 65536 for 16; floats have none
    data.resize = placeholder(str)  # own pictures: crop (to the middle) | stretch; unset: they have one size
    data.test_every = 10  # own data without folders train and test: every so manieth is for testing; 0: all are both
    data.on_corrupt = "refuse"  # refuse | skip: own pictures that cannot be read
    data.cache_dir = placeholder(str)  # where own pictures are kept decoded; unset: in memory, up to 1 GiB
    data.offset = 0.0  # floats: the network sees (x - offset) / scale; --mode=inspect suggests both
    data.scale = 1.0
    data.num_threads = 4  # that read ahead, a batch each
    data.num_workers = 0  # processes that read instead, for decoding many small pictures; 0: threads alone
    data.random_flip = True  # mirror half of the training images
    data.augment = 0.0  # probability of each of EDM's augmentations of images (0.12 there); needs model.augment_dim = 9
    data.centered = True  # the network sees [-1, 1] instead of [0, 1]
    data.uniform_dequantization = False  # train on (u + U[0, 1)) / levels instead of u / (levels - 1)
    return data


def _model() -> ml_collections.ConfigDict:
    model = ml_collections.ConfigDict()
    model.name = "ncsnpp"  # ncsnpp | ddpm (any rank) | mlp (vectors) | ncsn | ncsnv2_* | wideresnet (classifier)
    # float32 | bfloat16: of activations; parameters, norms' statistics, losses and SDEs are float32 in any case
    model.dtype = "float32"
    model.remat = False  # compute what is in residual and attention blocks again for the gradient: less memory
    model.sigma_min = 0.01  # VE
    model.sigma_max = 50.0  # VE; about the largest distance between two training images
    model.beta_min = 0.1  # VP and sub-VP
    model.beta_max = 20.0  # VP and sub-VP
    model.log_snr_min = -15.0  # cosine: log signal-to-noise ratio at t = 1
    model.log_snr_max = 15.0  # cosine: at t = 0
    model.parameterization = placeholder(str)  # noise | score | data | velocity | edm; unset: as published for the SDE
    model.sigma_data = 0.5  # standard deviation of the data, for parameterization and weighting edm
    model.num_scales = 1000  # noise levels of a discrete model, and the default number of sampling steps
    model.ema_rate = 0.9999
    model.ema_warmup = False  # True: min(ema_rate, (1 + step) / (10 + step)), as the published PyTorch code has it
    model.ema_rates = ()  # rates of further averages to keep beside that one, such as (0.999, 0.99999)
    model.ema_sigma_rels = ()  # relative widths of power-function averages, such as (0.05, 0.1): to choose afterwards
    model.embedding_type = "positional"  # positional | fourier
    model.fourier_scale = 16.0
    model.scale_by_sigma = False  # divide the output by the noise level
    model.normalization = "GroupNorm"
    model.nonlinearity = "swish"
    model.nf = 128  # channels at full resolution
    model.ch_mult = (1, 2, 2, 2)  # channels at each resolution, in units of nf
    model.num_res_blocks = 4  # per resolution
    model.attn_resolutions = (16,)  # heights at which attention is used
    model.dropout = 0.1
    model.resamp_with_conv = True
    model.conditional = True  # the network is told the time
    model.augment_dim = 0  # size of the vector that says how a batch was augmented, `batch["augment"]`; 0: not told
    model.num_labels = 0  # classes of the data set that the network is told, or tells; 0: it knows no classes
    model.label_dropout = 0.1  # share of training images whose class is withheld, for classifier-free guidance
    model.fir = False  # resample with a FIR filter
    model.fir_kernel = (1, 3, 3, 1)
    model.skip_rescale = True
    model.resblock_type = "biggan"  # biggan | ddpm
    model.progressive = "none"  # none | output_skip | residual
    model.progressive_input = "none"  # none | input_skip | residual
    model.progressive_combine = "sum"  # sum | cat
    model.init_scale = 0.0
    model.blocks_per_group = 4  # of the classifier "wideresnet": residual blocks at each of three resolutions
    model.channel_multiplier = 10  # its width, in units of 16 channels
    return model


def _optim() -> ml_collections.ConfigDict:
    optim = ml_collections.ConfigDict()
    optim.optimizer = "Adam"
    optim.lr = 2e-4
    optim.beta1 = 0.9
    optim.beta2 = 0.999
    optim.eps = 1e-8
    optim.weight_decay = 0.0  # decoupled
    optim.warmup = 5000  # steps of linear warm-up; 0: none
    optim.schedule = "constant"  # constant | cosine (to zero at training.n_iters)
    optim.grad_clip = 1.0  # largest global norm of the gradient; negative: not clipped
    return optim


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks everything about a config that needs nothing but the config; see `configs.validation`.

    Errors: ValueError, one sentence: the key, the value, what is expected.
    """
    validation.check(config, get_config())


def from_json(stored: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config that `to_json` gave, as a checkpoint keeps it; keys that it lacks have their defaults.

    Errors: ValueError, one sentence, for a key that does not exist here.
    """
    config = get_config()
    known = dict(flatten(config))
    for key, value in flatten(stored):
        if key not in known:
            raise ValueError(f"config.{key} is not a setting; the nearest is config.{nearest(key, known)}.")
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = tuple(value) if isinstance(value, list) else value
    return config


def complete(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A config as JSON, of an earlier version: the keys that it lacks have their defaults, which change nothing."""
    whole = to_json(get_config())
    for key, value in flatten(stored):
        section, _, name = key.rpartition(".")
        (whole.setdefault(section, {}) if section else whole)[name] = value
    return whole
