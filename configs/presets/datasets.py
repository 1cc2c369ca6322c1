"""Data sets, with networks and runs of a suitable size."""

import math

from ml_collections import ConfigDict

from configs.presets.processes import categorical, edm, masked_ar
from configs.presets.sizes import large_images, minutes, small_images


def cifar10(config: ConfigDict) -> None:
    """CIFAR-10, 32x32 RGB."""
    config.data.update(dataset="CIFAR10", image_size=32, num_channels=3, random_flip=True)
    small_images(config)
    config.eval.update(begin_ckpt=9, end_ckpt=26)
    config.model.sigma_max = 50.0


def celeba(config: ConfigDict) -> None:
    """CelebA, 64x64 RGB."""
    config.data.update(dataset="CELEBA", image_size=64, num_channels=3, random_flip=True)
    small_images(config)
    config.eval.update(begin_ckpt=1, end_ckpt=26, enable_sampling=True)
    config.model.sigma_max = 90.0


def lsun(config: ConfigDict, category: str, image_size: int = 256) -> None:
    """One category of LSUN: bedroom or church_outdoor."""
    large_images(config)
    config.data.update(dataset="LSUN", category=category, image_size=image_size)


def celebahq(config: ConfigDict, image_size: int = 256) -> None:
    """CelebA-HQ; `data.data_dir`: its TFRecord files, or where TFDS keeps it."""
    large_images(config)
    config.data.update(dataset="CelebAHQ", image_size=image_size)


def ffhq(config: ConfigDict, image_size: int = 256) -> None:
    """FFHQ; `data.data_dir`: its TFRecord files, or the folder that contains its folder of images."""
    large_images(config)
    config.data.update(dataset="FFHQ", image_size=image_size)


def digits(config: ConfigDict) -> None:
    """scikit-learn's 8x8 digits, sized for two CPU cores; not mirrored, since a mirrored digit is no digit."""
    config.data.update(dataset="digits", image_size=8, num_channels=1, random_flip=False, uniform_dequantization=True)
    config.model.update(nf=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), dropout=0.0, ema_rate=0.99)
    config.optim.update(lr=2e-3, warmup=100, schedule="cosine")
    config.training.update(batch_size=128, n_iters=800, snapshot_freq=400, snapshot_freq_for_preemption=200)
    config.training.update(log_freq=50, eval_freq=200)
    config.sampling.num_steps = 200
    # This tolerance changes bits/dim by 0.001, a tenth of the standard error, and saves 7/8 of the evaluations.
    config.eval.update(begin_ckpt=2, end_ckpt=2, batch_size=152, num_samples=100, rtol=1e-3, atol=1e-3)
    config.eval.update(enable_bpd=True, enable_sampling=True, features="classifier")


def categorical_digits(config: ConfigDict) -> None:
    """The 17 levels of the digits as categories, sized for two CPU cores."""
    digits(config)
    categorical(config)
    config.model.update(num_categories=17, nf=16, num_res_blocks=3, num_heads=4, ema_rate=0.995)
    config.training.update(n_iters=1600, snapshot_freq=800, snapshot_freq_for_preemption=200)
    config.sampling.num_steps = 64
    config.eval.update(batch_size=152, num_samples=300, num_probes=32)


def photos(config: ConfigDict) -> None:
    """32x32 crops of scikit-learn's two photographs, sized for two CPU cores."""
    config.data.update(dataset="photos", image_size=32, num_channels=3, random_flip=True, uniform_dequantization=True)
    config.model.update(nf=32, ch_mult=(1, 2, 2), num_res_blocks=1, attn_resolutions=(8,), dropout=0.0, ema_rate=0.999)
    config.model.sigma_max = 50.0  # the largest distance between two of 2,000 training crops is 52
    # EDM's preconditioning: after so little training, the errors of a noise prediction push all colors out of range.
    scale = 2.0 if config.data.centered else 1.0
    edm(config, sigma_data=0.33 * scale, p_mean=math.log(0.125 * scale))
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine")
    config.training.update(batch_size=16, n_iters=8000, snapshot_freq=4000, snapshot_freq_for_preemption=250)
    config.training.update(log_freq=50, eval_freq=1000, snapshot_num_samples=16)
    config.sampling.num_steps = 200
    config.eval.update(begin_ckpt=2, end_ckpt=2, batch_size=100, num_samples=100, rtol=1e-3, atol=1e-3)


def pictures(config: ConfigDict) -> None:
    """A folder of images of any size at 32x32: the network of `photos`, trained and sampled in fewer steps."""
    photos(config)
    config.data.update(dataset="", resize="crop")  # the command says which folder
    config.training.update(n_iters=600, snapshot_freq=300, snapshot_freq_for_preemption=100, eval_freq=100)
    config.model.ema_rate = 0.99  # with 0.999, half of the average would still be the initial parameters
    config.sampling.update(method="solver", solver="dpmpp_2m", num_steps=20, grid="log_snr")
    config.eval.update(enable_bpd=True, enable_sampling=True, enable_metrics=True, num_samples=500)
    config.eval.update(features="thumbnails", metrics=("fid", "kid", "precision", "recall", "density", "coverage"))


def series(config: ConfigDict) -> None:
    """Windows of 64 weeks of carbon dioxide at Mauna Loa, sized for two CPU cores."""
    config.data.update(dataset="co2", shape=(64, 1), random_flip=False, uniform_dequantization=True)
    config.model.update(nf=32, ch_mult=(1, 2, 2), num_res_blocks=1, attn_resolutions=(16,), dropout=0.1, ema_rate=0.995)
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine")
    minutes(config, batch_size=64, n_iters=1500)
    config.eval.batch_size = 171


def windows(config: ConfigDict, context: int, horizon: int, n_iters: int = 4000) -> None:
    """Windows of a time series, with TSDiff's noise schedule and network, sized for two CPU cores."""
    discrete_chain = {"num_scales": 100, "beta_min": 0.01, "beta_max": 10.0}  # betas from 1e-4 to 0.1
    config.data.update(shape=(context + horizon, 1), num_channels=1, horizon=horizon, random_flip=False, offset=1.0)
    config.model.update(name="s4_residual", nf=32, num_res_blocks=2, state_size=32, dropout=0.0, **discrete_chain)
    config.model.ema_rate = 0.995
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine", grad_clip=0.5)
    minutes(config, batch_size=64, n_iters=n_iters)
    config.sampling.update(predictor="ancestral_sampling", corrector="none", num_steps=100)
    config.eval.update(batch_size=100, num_samples=500, posterior_samples=100)
    config.eval.tasks = ("loss", "bits_per_dim", "forecast", "imputation", "synthesis")
    config.restore.update(method="self_guidance", observation_loss="quantile", observation_scale=4.0)


def volumes(config: ConfigDict) -> None:
    """Soft ellipsoids in 16x16x16 voxels, sized for two CPU cores."""
    config.data.update(dataset="blobs", shape=(16, 16, 16, 1), random_flip=False, uniform_dequantization=True)
    config.model.update(nf=8, ch_mult=(1, 2, 4), num_res_blocks=1, attn_resolutions=(4,), dropout=0.0, ema_rate=0.99)
    # EDM's preconditioning, as for the photos: with a noise prediction, a quarter of the volumes is lost in noise.
    edm(config, sigma_data=0.42, p_mean=-1.4)
    config.optim.update(lr=2e-3, warmup=50, schedule="cosine")
    minutes(config, batch_size=8, n_iters=2000)
    config.training.snapshot_num_samples = 16
    config.sampling.update(method="solver", num_steps=20, grid="log_snr")
    config.eval.update(batch_size=40, num_samples=16)


def phantoms(config: ConfigDict, dataset: str = "phantoms") -> None:
    """Slices of random heads, 64x64, sized for two CPU cores: `phantoms`, or `phantoms_complex` in two channels."""
    config.data.update(dataset=dataset, image_size=64, num_channels=2 if dataset == "phantoms_complex" else 1)
    config.data.random_flip = True  # a mirrored head is as likely
    config.model.update(nf=8, ch_mult=(1, 2, 4, 8), num_res_blocks=1, attn_resolutions=(8,), dropout=0.0)
    config.model.update(ema_rate=0.999, sigma_max=25.0)  # the largest distance between two of 300 slices is 23
    config.optim.update(lr=2e-3, warmup=100, schedule="cosine")
    minutes(config, batch_size=8, n_iters=4000)
    config.training.update(snapshot_freq_for_preemption=250, snapshot_num_samples=16)
    config.eval.update(enable_bpd=False, batch_size=20)
    config.restore.update(method="ddnm", pattern="random_lines", kept=0.25)


def pendulum(config: ConfigDict, image_size: int = 24) -> None:
    """Images of a pendulum, a lamp and a shadow with their causal graph, sized for two CPU cores."""
    config.system = "causal_diffae"
    config.data.update(dataset="pendulum" if image_size == 24 else f"pendulum_{image_size}", image_size=image_size)
    config.data.update(num_channels=1, random_flip=False)
    causes, effects = ("pendulum_angle", "light_angle"), ("shadow_length", "shadow_position")
    config.causal.variables = (*causes, *effects)
    config.causal.graph = tuple(f"{cause}->{effect}" for effect in effects for cause in causes)
    config.causal.update(encoder="patch", encoder_factor=4, encoder_nf=32, entry="add")
    config.model.update(dropout=0.0, ema_rate=0.998)
    edm(config, sigma_data=0.35, p_mean=-1.2)
    config.optim.update(lr=1.5e-3, warmup=100, schedule="cosine", grad_clip=1.0)
    minutes(config, batch_size=64, n_iters=4000)
    config.training.update(snapshot_freq_for_preemption=500, snapshot_num_samples=16)
    config.training.loss_weights = ("noise_kl=0:0.02@0:1000", "label_kl=0:0.02@0:1000")
    config.sampling.update(method="ode", rtol=1e-3, atol=1e-3)
    config.eval.update(enable_bpd=False, enable_metrics=False, batch_size=100, num_examples=500)
    config.eval.tasks = ("loss", "counterfactual", "strength", "disentanglement")
    config.eval.ablations = ("no_propagation", "no_abduction", "label_conditional")


def digits_words(config: ConfigDict) -> None:
    """The digits with a text of three words, and a small model of both, sized for two CPU cores."""
    digits(config)
    minutes(config, batch_size=128, n_iters=3000)
    masked_ar(config)
    config.data.dataset = "digits_words"
    config.model.update(nf=24, num_res_blocks=4, num_heads=4, dropout=0.1, patch_size=2, ema_rate=0.998)
    config.optim.update(lr=1e-3, warmup=200, schedule="cosine", weight_decay=0.01)
    config.training.update(snapshot_freq_for_preemption=500, snapshot_num_samples=16)
    config.mmar.update(first_stage_steps=1000, hidden_share=0.5)
    config.eval.update(batch_size=150, num_samples=600, divergence="exact", enable_bpd=True)
    config.eval.tasks = ("loss", "bits_per_dim", "understanding", "text_to_image", "head_likelihood")


def vectors(config: ConfigDict) -> None:
    """30 measurements of each of 474 tumors, values without levels, sized for two CPU cores."""
    config.data.update(dataset="tumours", shape=(30,), random_flip=False)
    config.model.update(nf=32, num_res_blocks=3, dropout=0.2, ema_rate=0.995)
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine")
    minutes(config, batch_size=128, n_iters=3000)
    config.eval.update(batch_size=95, num_samples=474)


def smoke(config: ConfigDict) -> None:
    """The digits with a network of a few thousand parameters and ten steps: checks that everything runs."""
    digits(config)
    config.model.update(nf=8, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), num_scales=10)
    config.optim.update(warmup=2, schedule="constant")
    config.training.update(batch_size=16, n_iters=10, snapshot_freq=10, snapshot_freq_for_preemption=5, log_freq=5)
    config.training.update(eval_freq=5, snapshot_num_samples=16)
    config.sampling.num_steps = 10
    config.eval.update(begin_ckpt=1, end_ckpt=1, batch_size=160, num_samples=24, rtol=1e-2, atol=1e-2)
    config.eval.wait_seconds = 5.0
