"""Runs of tiny tokenizers on random images, and models of what they encode."""

import jax
import numpy as np

from configs import default, presets
from core.files import write_json
from data.readers.encoded import ABOUT
from programs import start, train
from programs.run import Run
from tests.support.runs import tiny
from training.checkpoint import Checkpoints


def tokenizer_config(**settings):
    """Six steps of a tokenizer of random 8x8 RGB images."""
    config = tiny()
    presets.tokenizer(config, num_codes=16, factor=2)
    config.tokenizer.update(encoder="patch", decoder="patch", dim=3, num_blocks=0, reservoir=512)
    config.tokenizer.update(**settings)
    config.training.update(batch_size=16, n_iters=6, log_freq=3, snapshot_freq=3, snapshot_freq_for_preemption=3)
    config.training.update(eval_freq=3, **({"loss_weights": ()} if "quantizer" in settings else {}))
    config.eval.update(begin_ckpt=2, end_ckpt=2, features="pixels", batch_size=32)
    return config


def prior_config(workdir, **settings):
    """Six steps of a score model of the latents of the tokenizer in `workdir`."""
    config = tiny()
    config.model.stages = (f"tokenizer={workdir}",) if workdir else ()
    config.training.update(batch_size=16, n_iters=6, log_freq=3, snapshot_freq=3, snapshot_freq_for_preemption=3)
    config.training.update(eval_freq=3, snapshot_num_samples=4)
    config.eval.update(begin_ckpt=2, end_ckpt=2, features="pixels", batch_size=32, num_samples=8)
    config.eval.update(enable_sampling=True, enable_bpd=True, bpd_method="bound")
    config.update_from_flattened_dict(settings)
    return config


def trained(config, workdir, num_devices=1):
    """The run of a config, trained in `workdir`."""
    run = Run(config, str(workdir), jax.devices()[:num_devices])
    train.prepare(run)
    train.train(run)
    return run


def started(factory, quantizer, **settings):
    """The workdir of a tokenizer at step 0, after its start from data."""
    return begun(tokenizer_config(quantizer=quantizer, **settings), factory.mktemp(quantizer))


def begun(config, workdir):
    """The workdir of a run whose checkpoint 1 is at step 0, after its start from data."""
    run = Run(config, str(workdir), jax.devices()[:1])
    store = Checkpoints(workdir / "checkpoints")
    store.save(1, start.initial_state(run, {}), default.to_json(run.config), {"data": run.spec.to_json()})
    store.close()
    return workdir


def residual_tokens(factory):
    """Settings: a residual tokenizer at step 0, of 2x2 positions with two tokens of 8 codes, and random tokens."""
    raw = {"encoder": "raw", "decoder": "raw", "factor": 4, "dim": 48}
    workdir = started(factory, "rvq", depth=2, num_codes=8, reservoir=64, **raw)
    folder = factory.mktemp("tokens")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        np.save(folder / f"{split}.npy", rng.integers(0, 8, (64, 2, 2, 2)).astype(np.uint8))
        np.save(folder / f"{split}_labels.npy", (np.arange(64) % 10).astype(np.int32))
    about = {"dataset": "synthetic", "shape": [2, 2, 2], "num_codes": 8, "num_classes": 10, "tokenizer": None}
    write_json(folder / ABOUT, about)
    return {"model.stages": (f"tokenizer={workdir}",), "data.dataset": f"encoded:{folder}"}
