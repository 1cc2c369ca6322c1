"""The published experiments made small, so that they compile and run quickly."""

from tests.support.configs import load


def equalized(path):
    """The experiment with equal numbers where they only scale something, and two steps of eight random images."""
    config = load(path)
    config.data.update(dataset="synthetic", category=None)
    config.model.update(num_scales=6, beta_max=4.0, sigma_max=10.0, ema_rate=0.9, dropout=0.1)
    config.optim.update(lr=1e-3, warmup=min(config.optim.warmup, 2))
    config.sampling.update(snr=0.1, n_steps_each=min(config.sampling.n_steps_each, 2))
    config.training.update(
        batch_size=8, reduce_mean=True, n_iters=2, log_freq=1, snapshot_freq=2, snapshot_freq_for_preemption=2
    )
    config.training.update(eval_freq=0, snapshot_sampling=False, n_jitted_steps=1)
    config.eval.update(begin_ckpt=1, end_ckpt=1, batch_size=64, num_samples=8, wait_seconds=1.0, rtol=0.1, atol=0.1)
    config.eval.update(enable_loss=False, enable_sampling=True, enable_bpd=config.training.continuous)
    return config


def shallow(path):
    """With its own network and size of images, but one residual block where others follow that are the same."""
    config = equalized(path)
    config.model.num_res_blocks = 1
    return config


def shrunken(path):
    """With what makes it large taken away; the kinds of network, SDE, levels and sampler stay what they are."""
    config = equalized(path)
    config.data.image_size, config.model.nf = 8, 8
    if config.model.name in ("ncsnpp", "ddpm"):
        config.model.update(ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=())
    return config


def expected_calls(config):
    """The fewest network calls of a sample; one more where the last step is a call."""
    predicted, corrected = config.sampling.predictor != "none", config.sampling.corrector != "none"
    return config.model.num_scales * (predicted + corrected * config.sampling.n_steps_each)
