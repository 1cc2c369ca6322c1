"""Small experiments for the tests of the programs: their configs, and a workdir with an untrained checkpoint."""

import shutil

import jax
import numpy as np

from configs import default
from programs import restore_run, sample
from programs.run import Run
from tests.support import perceptron
from tests.support.configs import load
from training.checkpoint import Checkpoints


def smoke():
    """Ten steps on the digits."""
    config = load("configs/vp/smoke.py")
    config.model.name = perceptron.NAME
    return config


def tiny(name=perceptron.NAME, **model):
    """Six steps of a tiny network on random 8x8 RGB images, some of them by class."""
    config = load("configs/vp/smoke.py")
    config.data.update(dataset="synthetic", num_channels=3)
    config.model.update(name=name, nf=8, ch_mult=(1,), num_scales=6, beta_max=4.0, **model)
    config.sampling.update(num_steps=6, predictor="ddim", eta=1.0)
    config.eval.batch_size = 8
    return config


def compared(**settings):
    config = tiny()
    config.eval.update(features="pixels", reference_dataset="train", enable_loss=False, enable_bpd=False)
    config.eval.update(metrics=("fid", "kid", "precision", "recall"), batch_size=48, **settings)
    return config


def asked(run, task, **options):
    """The request of a task with typed options."""
    return sample.task_of(run.system, task).request(task, **options)


def cut(workdir, step, folder):
    """What a run had saved for resuming at `step`, copied to `folder`; a run keeps its newest two checkpoints."""
    shutil.copytree(workdir / "checkpoints-meta" / str(step), folder / "checkpoints-meta" / str(step))
    if (workdir / "frozen").exists():
        shutil.copytree(workdir / "frozen", folder / "frozen")
    return folder


def stored(run, step):
    """The state that a run had saved for resuming at `step`."""
    store = Checkpoints(run.workdir / "checkpoints-meta")
    state = store.restore(step, run.abstract_state())
    store.close()
    return state


def untrained(config, workdir, num_devices=1):
    """A run whose checkpoint 1 holds random parameters."""
    run = Run(config, str(workdir), jax.devices()[:num_devices])
    if not (workdir / restore_run.FOLDER).exists():
        rng = np.random.default_rng(0)
        state = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), run.abstract_state())
        random = jax.tree.map(lambda a: rng.normal(scale=0.2, size=a.shape).astype(a.dtype), state.params)
        store = Checkpoints(workdir / restore_run.FOLDER)
        store.save(1, jax.device_put(state.replace(ema_params=random)), default.to_json(config))
        store.close()
    return run
