"""Sizes of runs: how long they train, how large their batches are, what is evaluated."""

from ml_collections import ConfigDict


def small_images(config: ConfigDict) -> None:
    """Batches of 128 images for 1.3 million steps."""
    config.training.update(batch_size=128, n_iters=1_300_001, n_jitted_steps=5)
    config.training.update(snapshot_freq=50_000, snapshot_freq_for_preemption=10_000, log_freq=50, eval_freq=100)
    config.eval.update(batch_size=1024, num_samples=50_000)


def large_images(config: ConfigDict) -> None:
    """Batches of 64 images for 2.4 million steps, without dropout; sigma_max and snr are those of LSUN bedroom."""
    config.data.update(num_channels=3, random_flip=True)
    config.training.update(batch_size=64, n_iters=2_400_001, n_jitted_steps=5)
    config.training.update(snapshot_freq=50_000, snapshot_freq_for_preemption=5_000, log_freq=50, eval_freq=100)
    config.eval.update(begin_ckpt=50, end_ckpt=96, batch_size=512, num_samples=50_000, enable_sampling=True)
    config.model.update(dropout=0.0, sigma_max=378.0)
    config.sampling.snr = 0.075


def minutes(config: ConfigDict, batch_size: int, n_iters: int) -> None:
    """A run of a few minutes on two CPU cores, with two checkpoints; the second is evaluated."""
    config.training.update(batch_size=batch_size, n_iters=n_iters, snapshot_freq=n_iters // 2)
    config.training.update(snapshot_freq_for_preemption=n_iters // 2, log_freq=50, eval_freq=n_iters // 2)
    config.sampling.num_steps = 200
    # As for the digits, the tolerance changes the likelihood by far less than its standard error.
    config.eval.update(begin_ckpt=2, end_ckpt=2, num_samples=100, rtol=1e-3, atol=1e-3)
    config.eval.update(enable_bpd=True, enable_sampling=True, features="pixels")
    config.eval.metrics = ("fid", "kid", "precision", "recall", "density", "coverage")  # pixels have no logits
