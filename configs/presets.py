"""Families of settings: what the experiments of one data set, SDE or network have in common."""

from ml_collections import ConfigDict


def cifar10(config: ConfigDict) -> None:
    """CIFAR-10, 32x32 RGB, batches of 128, as all published CIFAR-10 experiments."""
    config.data.update(dataset="CIFAR10", image_size=32, num_channels=3, random_flip=True)
    config.training.update(batch_size=128, n_iters=1_300_001, n_jitted_steps=5)
    config.training.update(snapshot_freq=50_000, snapshot_freq_for_preemption=10_000, log_freq=50, eval_freq=100)
    config.eval.update(begin_ckpt=9, end_ckpt=26, batch_size=1024, num_samples=50_000)


def digits(config: ConfigDict) -> None:
    """scikit-learn's 8x8 digits, sized for two CPU cores; a mirrored digit is not a digit."""
    config.data.update(dataset="digits", image_size=8, num_channels=1, random_flip=False, uniform_dequantization=True)
    config.model.update(nf=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), dropout=0.1, ema_rate=0.999)
    config.optim.update(lr=1e-3, warmup=100, schedule="cosine")
    config.training.update(batch_size=128, n_iters=2000, snapshot_freq=1000, snapshot_freq_for_preemption=500)
    config.training.update(log_freq=100, eval_freq=500)
    config.eval.update(begin_ckpt=2, end_ckpt=2, batch_size=150, num_samples=100, enable_bpd=True)
    config.eval.enable_sampling = True


def smoke(config: ConfigDict) -> None:
    """The digits with a network of a few thousand parameters and a few steps: checks the way, reaches nothing."""
    digits(config)
    config.model.update(nf=8, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(), num_scales=10)
    config.optim.update(warmup=2, schedule="constant")
    config.training.update(batch_size=16, n_iters=10, snapshot_freq=10, snapshot_freq_for_preemption=5, log_freq=5)
    config.training.update(eval_freq=5, snapshot_num_samples=16)
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
    config.sampling.update(method="pc", predictor="reverse_diffusion", corrector="langevin", snr=0.16)
    config.model.update(scale_by_sigma=True, ema_rate=0.999, embedding_type="fourier", sigma_min=0.01, sigma_max=50.0)


def ddpmpp(config: ConfigDict) -> None:
    """DDPM++: BigGAN residual blocks, no FIR filter, no progressive growing."""
    config.model.update(name="ncsnpp", resblock_type="biggan", skip_rescale=True, fir=False)
    config.model.update(progressive="none", progressive_input="none")


def ncsnpp(config: ConfigDict) -> None:
    """NCSN++: DDPM++ with FIR resampling and a residual input pyramid."""
    ddpmpp(config)
    config.model.update(fir=True, progressive_input="residual")


def deep(config: ConfigDict) -> None:
    """The deep variants: twice the residual blocks, 950,001 steps."""
    config.model.num_res_blocks = 8
    config.training.n_iters = 950_001
