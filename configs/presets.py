"""Families of settings: what the experiments of one data set, SDE or network have in common."""

import math

from ml_collections import ConfigDict


def cifar10(config: ConfigDict) -> None:
    """CIFAR-10, 32x32 RGB."""
    config.data.update(dataset="CIFAR10", image_size=32, num_channels=3, random_flip=True)
    _small_images(config)
    config.eval.update(begin_ckpt=9, end_ckpt=26)
    config.model.sigma_max = 50.0


def celeba(config: ConfigDict) -> None:
    """CelebA, 64x64 RGB."""
    config.data.update(dataset="CELEBA", image_size=64, num_channels=3, random_flip=True)
    _small_images(config)
    config.eval.update(begin_ckpt=1, end_ckpt=26, enable_sampling=True)
    config.model.sigma_max = 90.0


def lsun(config: ConfigDict, category: str, image_size: int = 256) -> None:
    """One category of LSUN: bedroom or church_outdoor."""
    _large_images(config)
    config.data.update(dataset="LSUN", category=category, image_size=image_size)


def celebahq(config: ConfigDict, image_size: int = 256) -> None:
    """CelebA-HQ; `data.data_dir`: its TFRecord files, or where TFDS keeps it."""
    _large_images(config)
    config.data.update(dataset="CelebAHQ", image_size=image_size)


def ffhq(config: ConfigDict, image_size: int = 256) -> None:
    """FFHQ; `data.data_dir`: its TFRecord files, or where its folder of images is."""
    _large_images(config)
    config.data.update(dataset="FFHQ", image_size=image_size)


def _small_images(config: ConfigDict) -> None:
    """Batches of 128 images for 1.3 million steps."""
    config.training.update(batch_size=128, n_iters=1_300_001, n_jitted_steps=5)
    config.training.update(snapshot_freq=50_000, snapshot_freq_for_preemption=10_000, log_freq=50, eval_freq=100)
    config.eval.update(batch_size=1024, num_samples=50_000)


def _large_images(config: ConfigDict) -> None:
    """Batches of 64 images for 2.4 million steps, without dropout; sigma_max and snr are those of LSUN bedroom."""
    config.data.update(num_channels=3, random_flip=True)
    config.training.update(batch_size=64, n_iters=2_400_001, n_jitted_steps=5)
    config.training.update(snapshot_freq=50_000, snapshot_freq_for_preemption=5_000, log_freq=50, eval_freq=100)
    config.eval.update(begin_ckpt=50, end_ckpt=96, batch_size=512, num_samples=50_000, enable_sampling=True)
    config.model.update(dropout=0.0, sigma_max=378.0)
    config.sampling.snr = 0.075


def digits(config: ConfigDict) -> None:
    """scikit-learn's 8x8 digits, sized for two CPU cores; a mirrored digit is not a digit."""
    config.data.update(dataset="digits", image_size=8, num_channels=1, random_flip=False, uniform_dequantization=True)
    config.model.update(nf=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), dropout=0.0, ema_rate=0.99)
    config.optim.update(lr=2e-3, warmup=100, schedule="cosine")
    config.training.update(batch_size=128, n_iters=800, snapshot_freq=400, snapshot_freq_for_preemption=200)
    config.training.update(log_freq=50, eval_freq=200)
    config.sampling.num_steps = 200
    # The tolerance moves bits/dim by 0.001, a tenth of the standard error, and takes an eighth of the evaluations.
    config.eval.update(begin_ckpt=2, end_ckpt=2, batch_size=152, num_samples=100, rtol=1e-3, atol=1e-3)
    config.eval.update(enable_bpd=True, enable_sampling=True, features="classifier")


def classifier(config: ConfigDict) -> None:
    """After a data set: the noise-conditional Wide ResNet that guides score models towards its classes."""
    config.model.update(name="wideresnet", ema_rate=0.99)
    config.training.snapshot_sampling = False
    config.eval.update(enable_bpd=False, enable_sampling=False)


def photos(config: ConfigDict) -> None:
    """32x32 crops of scikit-learn's two photographs, sized for two CPU cores."""
    config.data.update(dataset="photos", image_size=32, num_channels=3, random_flip=True, uniform_dequantization=True)
    config.model.update(nf=32, ch_mult=(1, 2, 2), num_res_blocks=1, attn_resolutions=(8,), dropout=0.0, ema_rate=0.999)
    config.model.sigma_max = 50.0  # the largest distance between two of 2,000 training crops is 52
    # EDM's preconditioning: so little training leaves errors in a noise prediction that drive all colours out of range.
    scale = 2.0 if config.data.centered else 1.0
    _edm(config, sigma_data=0.33 * scale, p_mean=math.log(0.125 * scale))
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine")
    config.training.update(batch_size=16, n_iters=8000, snapshot_freq=4000, snapshot_freq_for_preemption=250)
    config.training.update(log_freq=50, eval_freq=1000, snapshot_num_samples=16)
    config.sampling.num_steps = 200
    config.eval.update(begin_ckpt=2, end_ckpt=2, batch_size=100, num_samples=100, rtol=1e-3, atol=1e-3)


def pictures(config: ConfigDict) -> None:
    """A folder of pictures of any sizes at 32x32: the network of `photos`, trained and sampled in fewer steps."""
    photos(config)
    config.data.update(dataset="", resize="crop")  # whose pictures is for the command to say
    config.training.update(n_iters=600, snapshot_freq=300, snapshot_freq_for_preemption=100, eval_freq=100)
    config.model.ema_rate = 0.99  # of so few steps the average of 0.999 would be half of what it began with
    config.sampling.update(method="solver", solver="dpmpp_2m", num_steps=20, grid="log_snr")
    config.eval.update(enable_bpd=True, enable_sampling=True, enable_metrics=True, num_samples=500)
    config.eval.update(features="thumbnails", metrics=("fid", "kid", "precision", "recall", "density", "coverage"))


def series(config: ConfigDict) -> None:
    """Windows of 64 weeks of carbon dioxide at Mauna Loa, sized for two CPU cores."""
    config.data.update(dataset="co2", shape=(64, 1), random_flip=False, uniform_dequantization=True)
    config.model.update(nf=32, ch_mult=(1, 2, 2), num_res_blocks=1, attn_resolutions=(16,), dropout=0.1, ema_rate=0.995)
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine")
    _minutes(config, batch_size=64, n_iters=1500)
    config.eval.batch_size = 171


def volumes(config: ConfigDict) -> None:
    """Soft ellipsoids in 16x16x16 voxels, sized for two CPU cores."""
    config.data.update(dataset="blobs", shape=(16, 16, 16, 1), random_flip=False, uniform_dequantization=True)
    config.model.update(nf=8, ch_mult=(1, 2, 4), num_res_blocks=1, attn_resolutions=(4,), dropout=0.0, ema_rate=0.99)
    # EDM's preconditioning, as for the photos: of volumes by a noise prediction a quarter is lost in noise.
    _edm(config, sigma_data=0.42, p_mean=-1.4)
    config.optim.update(lr=2e-3, warmup=50, schedule="cosine")
    _minutes(config, batch_size=8, n_iters=2000)
    config.training.snapshot_num_samples = 16
    config.sampling.update(method="solver", num_steps=20, grid="log_snr")
    config.eval.update(batch_size=40, num_samples=16)


def vectors(config: ConfigDict) -> None:
    """30 measurements of each of 474 tumours, numbers without levels, sized for two CPU cores."""
    config.data.update(dataset="tumours", shape=(30,), random_flip=False)
    config.model.update(nf=32, num_res_blocks=3, dropout=0.2, ema_rate=0.995)
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine")
    _minutes(config, batch_size=128, n_iters=3000)
    config.eval.update(batch_size=95, num_samples=474)


def _edm(config: ConfigDict, sigma_data: float, p_mean: float) -> None:
    """EDM's preconditioning and weighting, at noise levels about exp(p_mean), spread wider than published."""
    config.model.update(parameterization="edm", sigma_data=sigma_data, scale_by_sigma=False)
    config.training.update(weighting="edm", time_sampling="log_normal", p_mean=p_mean, p_std=1.6)


def _minutes(config: ConfigDict, batch_size: int, n_iters: int) -> None:
    """A run of a few minutes, with two checkpoints of which the second is evaluated."""
    config.training.update(batch_size=batch_size, n_iters=n_iters, snapshot_freq=n_iters // 2)
    config.training.update(snapshot_freq_for_preemption=n_iters // 2, log_freq=50, eval_freq=n_iters // 2)
    config.sampling.num_steps = 200
    # As for the digits, the tolerance moves the figure by far less than its standard error.
    config.eval.update(begin_ckpt=2, end_ckpt=2, num_samples=100, rtol=1e-3, atol=1e-3)
    config.eval.update(enable_bpd=True, enable_sampling=True, features="pixels")
    config.eval.metrics = ("fid", "kid", "precision", "recall", "density", "coverage")  # pixels have no logits


def smoke(config: ConfigDict) -> None:
    """The digits with a network of a few thousand parameters and a few steps: checks the way, reaches nothing."""
    digits(config)
    config.model.update(nf=8, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), num_scales=10)
    config.optim.update(warmup=2, schedule="constant")
    config.training.update(batch_size=16, n_iters=10, snapshot_freq=10, snapshot_freq_for_preemption=5, log_freq=5)
    config.training.update(eval_freq=5, snapshot_num_samples=16)
    config.sampling.num_steps = 10
    config.eval.update(begin_ckpt=1, end_ckpt=1, batch_size=160, num_samples=24, rtol=1e-2, atol=1e-2)
    config.eval.wait_seconds = 5.0


def vp(config: ConfigDict) -> None:
    """VP SDE on [-1, 1], trained on continuous time, sampled by Euler-Maruyama."""
    config.training.update(sde="vpsde", continuous=True, reduce_mean=True)
    config.data.centered = True
    config.sampling.update(method="pc", predictor="euler_maruyama", corrector="none")
    config.model.update(scale_by_sigma=False, ema_rate=0.9999, embedding_type="positional")


def subvp(config: ConfigDict) -> None:
    """Sub-VP SDE; everything else as VP."""
    vp(config)
    config.training.sde = "subvpsde"


def ve(config: ConfigDict) -> None:
    """VE SDE on [0, 1], trained on continuous time, sampled by reverse diffusion and Langevin."""
    config.training.update(sde="vesde", continuous=True, reduce_mean=False)
    config.data.centered = False
    config.sampling.update(method="pc", predictor="reverse_diffusion", corrector="langevin")
    config.model.update(scale_by_sigma=True, ema_rate=0.999, embedding_type="fourier")


def discrete(config: ConfigDict) -> None:
    """After an SDE: its chain of `num_scales` levels with the objective of SMLD or DDPM, embedded by their number."""
    config.training.continuous = False
    config.model.embedding_type = "positional"
    if config.training.sde == "vpsde":
        config.sampling.predictor = "ancestral_sampling"


def ddpmpp(config: ConfigDict) -> None:
    """DDPM++: BigGAN residual blocks, no FIR filter, no progressive growing."""
    config.model.update(name="ncsnpp", resblock_type="biggan", skip_rescale=True, fir=False)
    config.model.update(progressive="none", progressive_input="none")


def mlp(config: ConfigDict) -> None:
    """A residual perceptron, for vectors."""
    config.model.name = "mlp"


def ncsnpp(config: ConfigDict) -> None:
    """NCSN++: DDPM++ with FIR resampling and a residual input pyramid."""
    ddpmpp(config)
    config.model.update(fir=True, progressive_input="residual")


def deep(config: ConfigDict) -> None:
    """The deep variants: twice the residual blocks, 950,001 steps."""
    config.model.num_res_blocks = 8
    config.training.n_iters = 950_001


def ncsnpp_256(config: ConfigDict) -> None:
    """NCSN++ for 256 pixels: seven resolutions, pyramids of images at the input and at the output."""
    ncsnpp(config)
    config.model.update(progressive="output_skip", progressive_input="input_skip")
    config.model.update(ch_mult=(1, 1, 2, 2, 2, 2, 2), num_res_blocks=2, num_scales=2000)


def ncsnpp_1024(config: ConfigDict) -> None:
    """NCSN++ for 1024 pixels: eight resolutions from 16 channels up, batches of 8; evaluated from checkpoint 1 on."""
    ncsnpp_256(config)
    config.model.update(nf=16, ch_mult=(1, 2, 4, 8, 16, 32, 32, 32), num_res_blocks=1, ema_rate=0.9999)
    config.model.sigma_max = 1348.0
    config.training.update(batch_size=8, n_jitted_steps=1)
    config.sampling.snr = 0.15
    config.eval.update(begin_ckpt=1, batch_size=1024, enable_sampling=False)


def ddpm(config: ConfigDict) -> None:
    """The network of DDPM for 32 pixels, embedded by level or time; embedding_type, not read, is as published."""
    config.model.update(name="ddpm", num_res_blocks=2, embedding_type="fourier")


def ddpm_256(config: ConfigDict) -> None:
    """The network of DDPM for 256 pixels, with a tenth of the learning rate."""
    ddpm(config)
    config.model.ch_mult = (1, 1, 2, 2, 4, 4)
    config.optim.lr = 2e-5


def ncsn(config: ConfigDict) -> None:
    """NCSN: ten levels from 1 to 0.01, each with normalisations of its own, 100 Langevin steps at each; no average."""
    _refinenet(config)
    config.model.update(name="ncsn", scale_by_sigma=False, ema_rate=0.0, num_scales=10, sigma_max=1.0)
    config.optim.lr = 1e-3
    config.sampling.update(n_steps_each=100, snr=0.316)


def ncsnv2(config: ConfigDict) -> None:
    """NCSNv2: a network divided by sigma (technique 3) with the techniques 1, 2, 4 and 5."""
    _refinenet(config)
    config.model.update(name="ncsnv2_64", scale_by_sigma=True)
    config.optim.lr = 1e-4
    technique_124(config)
    technique_5(config)


def technique_124(config: ConfigDict) -> None:
    """After a data set: many levels from its largest distance on, and Langevin steps that fit them.

    Source: Song and Ermon 2020, techniques 1, 2 and 4.
    """
    sigma_max, num_scales, n_steps_each, snr = _LADDERS[config.data.dataset]
    config.model.update(sigma_max=sigma_max, num_scales=num_scales)
    config.sampling.update(n_steps_each=n_steps_each, snr=snr)


def technique_5(config: ConfigDict) -> None:
    """The average of the parameters. Source: Song and Ermon 2020, technique 5."""
    config.model.ema_rate = 0.999


def _refinenet(config: ConfigDict) -> None:
    """SMLD with annealed Langevin dynamics and a RefineNet; embedding_type, not read, is as published."""
    discrete(config)
    config.sampling.update(predictor="none", corrector="ald")
    config.model.update(normalization="InstanceNorm++", nonlinearity="elu", embedding_type="fourier")
    config.optim.update(warmup=0, grad_clip=-1.0)


# Largest sigma, number of levels, Langevin steps at each, their signal-to-noise ratio.
_LADDERS = {"CIFAR10": (50.0, 232, 5, 0.176), "CELEBA": (90.0, 500, 5, 0.128), "LSUN": (190.0, 1086, 3, 0.095)}
