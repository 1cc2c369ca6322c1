"""The settings of the training loop, as plain values."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """The part of `config.training` that the loop follows; every field has the published name of its setting."""

    n_iters: int  # optimizer steps
    batch_size: int  # examples per step, over all devices and processes
    grad_accumulation: int  # parts that a batch is computed in
    n_jitted_steps: int  # steps per dispatch
    log_freq: int  # steps between lines of metrics
    eval_freq: int  # steps between test losses; 0: none
    snapshot_freq: int  # steps between checkpoints that are kept
    snapshot_freq_for_preemption: int  # steps between checkpoints to resume from
    on_nonfinite: str  # stop | skip | rollback
    max_nonfinite: int  # batches that may be left out
    spike_factor: float  # warn of a loss above this multiple of its running median; 0: never
    profile_steps: tuple[int, ...] = ()  # the first and the last step that are traced
