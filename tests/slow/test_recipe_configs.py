"""Every recipe of docs/recipes.md trains on a folder of images, resumes bit for bit, and does so on eight devices."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import run_lib
from programs.run import Run
from tests.support import perceptron
from tests.support.configs import load
from tests.support.runs import cut, stored, untrained
from training.checksums import checksums

SMALL = {"name": perceptron.NAME, "nf": 8}
RECIPES = {
    "configs/flow/digits.py": SMALL,
    "configs/flow/digits_dit.py": {"nf": 4, "num_heads": 2, "num_res_blocks": 1},
    "configs/flow/consistency_digits.py": SMALL,
    "configs/flow/meanflow_digits.py": SMALL,
    "configs/flow/shortcut_digits.py": SMALL,
    "configs/edm2/digits.py": {"nf": 8, "ch_mult": (1,), "attn_resolutions": ()},
    "configs/vdm/digits.py": SMALL,
    "configs/vdm/digits_fixed.py": SMALL,
    "configs/vdm/digits_mulan.py": SMALL,
}


@pytest.fixture(autouse=True, scope="module")
def _perceptron():
    with pytest.MonkeyPatch.context() as patch:
        perceptron.register(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty grayscale images of 12x12 pixels, which the configs resize."""
    path, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).save(path / f"{i}.png")
    return path


def config_of(path, folder):
    config = load(path)
    config.data.dataset = f"folder:{folder}"
    config.model.update(**RECIPES[path])
    config.optim.update(lr=1e-3, warmup=0)
    config.training.update(batch_size=16, n_iters=4, log_freq=1, snapshot_freq=2, eval_freq=0)
    config.training.update(snapshot_freq_for_preemption=2, snapshot_sampling=False)
    return config


@pytest.fixture(scope="module")
def teacher(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("teacher")
    untrained(config_of("configs/flow/digits.py", folder), workdir)
    return workdir


@pytest.mark.parametrize("path", RECIPES)
def test_it_trains_resumes_bit_for_bit_and_on_eight_devices(path, folder, teacher, tmp_path):
    losses, states = {}, {}
    for name, devices in (("whole", 1), ("resumed", 1), ("eight", 8)):
        config = config_of(path, folder)
        if config.model.second_time:
            config.training.init_from = str(teacher)
        if config.training.velocity == "teacher":
            config.model.stages = (f"teacher={teacher}",)
        if name == "resumed":
            cut(tmp_path / "whole", 2, tmp_path / name)
        run = Run(config, str(tmp_path / name), jax.devices()[:devices])
        run_lib.train_run(run)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses[name] = {line["step"]: line["loss"] for line in lines if "loss" in line}
        states[name] = checksums(stored(run, 4))
    assert list(losses["whole"]) == [1, 2, 3, 4] and list(losses["resumed"]) == [3, 4]
    assert states["resumed"] == states["whole"]
    # Sums in another order, which Adam can turn into steps of another size where gradients are almost zero.
    assert losses["eight"][1] == pytest.approx(losses["whole"][1], rel=1e-4)
    assert losses["eight"][4] == pytest.approx(losses["whole"][4], rel=0.02)
