"""Metrics that are not yet logged."""

import numpy as np

from training.progress import Progress, from_notes, read_metrics
from training.settings import TrainSettings

SETTINGS = TrainSettings(
    n_iters=100,
    batch_size=8,
    grad_accumulation=1,
    n_jitted_steps=1,
    log_freq=50,
    eval_freq=0,
    snapshot_freq=50,
    snapshot_freq_for_preemption=50,
    on_nonfinite="stop",
    max_nonfinite=10,
    spike_factor=10.0,
)


def test_a_loss_far_above_its_running_median_is_a_warning(caplog):
    losses = np.r_[np.linspace(1.0, 1.2, 30), 40.0, 1.0].astype(np.float32)
    progress = Progress(None, 32, 0, [(32, {"loss": losses, "grad_norm": losses})])
    read_metrics(progress, SETTINGS, lambda step: np.zeros(0))
    assert [r.getMessage() for r in caplog.records] == ["step 31: the loss 40 is 36.4 times its running median"]
    assert not progress.pending


def test_losses_around_zero_have_no_ratio_to_their_median(caplog):
    losses = np.r_[np.linspace(-1.2, -1.0, 30), 0.5, -0.9].astype(np.float32)
    read_metrics(
        Progress(None, 32, 0, [(32, {"loss": losses, "grad_norm": losses})]), SETTINGS, lambda step: np.zeros(0)
    )
    assert not caplog.records


def test_pending_metrics_survive_a_checkpoint_exactly():
    metrics = {"loss": np.float32([0.1, 1 / 3]), "grad_norm": np.float32([1e-30, 3e30])}
    progress = Progress(None, 7, 5, [(7, metrics)], bad={3})
    restored = from_notes(None, 7, progress.notes())
    assert restored.bad == {3} and restored.step == restored.saved == 7
    ((step, found),) = restored.pending
    assert step == 7 and all(np.array_equal(found[name], metrics[name]) for name in metrics)
