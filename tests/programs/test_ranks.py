"""Vectors, series, non-square images and volumes through the programs, and what is refused for them."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import run_lib
from builders import data as build_data
from builders import likelihood
from builders.condition import make_condition
from builders.network import make_network
from builders.process import make_sde
from configs import default
from core.keys import example_keys
from programs import sample
from programs.run import Run
from reports.sheets import GAP, MARGIN, PLOT_HEIGHT, PLOT_WIDTH, sample_grid
from tests.support import perceptron
from tests.support.configs import load
from tests.support.oracles import correlated
from tests.support.runs import asked, untrained

SHAPES = {"vectors": (30,), "series": (16, 2), "images": (4, 8, 3), "volumes": (4, 8, 4, 1)}
SAMPLING = {
    "vectors": {"method": "ode", "rtol": 0.1, "atol": 0.1},
    "series": {"corrector": "langevin"},
    "images": {"method": "solver"},
    "volumes": {"predictor": "heun"},
}


def config_of(kind):
    """A tiny model of random levels, or of the measurements of tumors, which are floats."""
    config = load("configs/vp/smoke.py")
    config.data.update(dataset="synthetic", shape=SHAPES[kind], centered=True)
    config.model.update(ch_mult=(1, 2), attn_resolutions=(SHAPES[kind][0] // 2,))
    config.sampling.update(SAMPLING[kind])
    config.training.update(n_iters=20, snapshot_freq=20, snapshot_freq_for_preemption=20, snapshot_sampling=False)
    config.eval.update(batch_size=64, num_samples=4, rtol=0.1, atol=0.1)
    if kind == "vectors":
        config.data.update(dataset="tumors", uniform_dequantization=False)
        config.model.name = "mlp"
    return config


@pytest.mark.parametrize("kind", SHAPES)
def test_data_of_every_rank_are_trained_sampled_and_measured(kind, tmp_path):
    """tests/slow/test_experiments.py has a U-Net of series, and `test_networks.py` those of other ranks."""
    config = config_of(kind)
    if kind != "vectors":
        config.model.name = perceptron.NAME
    run = Run(config, str(tmp_path / "run"), jax.devices()[:1])
    run_lib.train_run(run)
    (path,) = run_lib.evaluate_run(run)
    results, samples = json.loads(path.read_text())["results"], np.load(path.with_name("samples.npz"))["arr_0"]
    assert samples.shape == (4, *SHAPES[kind]) and samples.dtype == run.test.dtype
    assert path.with_name("samples.png").is_file()
    if kind == "vectors":
        assert "bits_per_dim" not in results and results["nats_per_dim"]["num_examples"] == 95
        # A network that predicts zero noise, as it does at first, has ln(2 pi) / 2 + int beta / 2 = 0.919 + 5.025.
        assert 0 < results["nats_per_dim"]["mean"] < 5.944
    else:  # uniform levels have 8 bits/dim, and no model has less
        assert results["bits_per_dim"]["num_examples"] == 128 and 8 < results["bits_per_dim"]["mean"] < 16


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("series", {"data.shape": (18, 2), "model.ch_mult": (1, 1, 1)}, r"\(18, 2\) cannot be halved 2 .* 16 or 20"),
        ("images", {"data.shape": (4, 7, 3)}, r"\(4, 7, 3\) cannot be halved 1 times; use a multiple of 2 .* 6 or 8"),
        ("images", {"data.shape": (4, 0, 3)}, r"must be positive integers of vectors \(D,\), series"),
        ("series", {"model.name": "mlp"}, r"'mlp' is for vectors \(D,\), but examples have the shape \(16, 2\)"),
        ("vectors", {"model.name": "ncsnpp"}, r"is for series .* \(30,\); use mlp.*, or config.data.shape = \(30, 1\)"),
        ("volumes", {"model.name": "ncsnv2_64"}, r"'ncsnv2_64' is for images .* use ncsnpp"),
        ("images", {"model.name": "ddpm", "model.augment_dim": 3}, "'ddpm' cannot be conditioned on an augmentation"),
    ],
)  # fmt: skip
def test_a_network_that_does_not_fit_the_shape_is_refused_by_name(kind, changes, message):
    config = config_of(kind)
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        make_network(config)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("series", {"data.random_flip": True}, "random_flip = True is for images .* set it to False"),
        ("vectors", {"data.uniform_dequantization": True}, "uniform_dequantization = True adds noise within a level"),
        ("vectors", {"data.centered": False}, r"centered = False is for data in \[0, 1\]"),
        ("series", {"data.dataset": "digits"}, r"of \(16, 2\), but digits has \(8, 8, 1\); set config.data.shape"),
    ],
)  # fmt: skip
def test_settings_of_data_that_do_not_fit_are_refused_by_name(kind, changes, message):
    config = config_of(kind)
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build_data.source(config, "train")


@pytest.mark.parametrize("kind", ["vectors", "series", "volumes"])
def test_examples_of_every_rank_are_inpainted_from_the_command_line(kind, tmp_path, command_line):
    """Half of every side, or a mask of the user; what is known is kept, and judged in the units of the data."""
    config, shape = config_of(kind), SHAPES[kind]
    config.model.name = config.model.name if kind == "vectors" else perceptron.NAME
    config.sampling.update(method="pc", predictor="ddim", eta=1.0, corrector="none", num_steps=4)
    config.restore.method = "ddnm"
    run = untrained(config, tmp_path / "run")
    known = np.arange(math.prod(shape[:-1] or shape)).reshape(shape[:-1] or shape) % 2
    np.save(tmp_path / "mask.npy", known)
    np.save(tmp_path / "x.npy", run.test.fetch(np.arange(3))["x"])
    asked = [
        f"--workdir={tmp_path / 'run'}",
        "--mode=sample",
        "--task=inpaint",
        f"--output={tmp_path / 'out'}",
        "--overwrite",
    ]
    for given in (["--input=test:0,1"], [f"--input={tmp_path / 'x.npy'}", f"--mask={tmp_path / 'mask.npy'}"]):
        done = command_line(*asked, "--num_samples=2", *given)
        assert done.code == 0, done.error
        results = json.loads((tmp_path / "out" / "record.json").read_text())["results"]
        arrays = np.load(tmp_path / "out" / "samples.npz")
        num = results["num_images"]
        assert arrays["samples"].shape == (num, 2, *shape) and results["residual_rms"] < 1e-5
        psnr = [results[key] for key in results if key.startswith("psnr")]
        assert len(psnr) == 6 and np.isfinite(np.hstack(psnr)).all()
        assert ("value_range" in results) == (run.test.num_levels == 0)
    if kind == "volumes":  # some of its frequencies
        words = ["--task=reconstruct" if word.startswith("--task") else word for word in asked]
        done = command_line(*words, "--num_samples=2", "--input=test:0", "--config.restore.pattern=random_points")
        assert done.code == 0, done.error
        found = json.loads((tmp_path / "out" / "record.json").read_text())["results"]
        assert found["num_images"] == 1 and found["residual_rms"] < 1e-5
    known = known if kind == "vectors" else known[..., None]
    np.testing.assert_allclose(np.where(known, arrays["mean"] - arrays["input"], 0), 0, atol=1e-4)
    assert np.where(known, 0, arrays["deviation"]).max() > 0.01


def test_tasks_for_other_ranks_and_features_of_images_are_refused_by_name(tmp_path):
    config = config_of("series")
    config.eval.features = "inception"
    run = Run(config, str(tmp_path), jax.devices()[:1])
    vectors = Run(config_of("vectors"), str(tmp_path), jax.devices()[:1])
    message = r"--task=colorize is for series \(L, C\), images .*, but examples have the shape \(30,\); use inpaint"
    with pytest.raises(ValueError, match=message):
        sample.prepare(vectors, asked(vectors, "colorize", input="test:0"))
    with pytest.raises(ValueError, match=r"'inception' is for images .* use 'pixels'"):
        _ = run.extractor


def test_the_network_is_conditioned_on_the_augmentation_of_a_batch():
    config = config_of("vectors")
    config.model.augment_dim = 2
    labels = make_condition(config)
    x, augment = jnp.zeros((3, 30)), jnp.ones((3, 2))
    assert labels(x, {"augment": augment}, None)["augment"] is augment
    assert labels(x, {}, None) is None
    config.model.update(num_labels=2)
    assert set(make_condition(config)(x, {"augment": augment}, None)) == {"labels", "augment"}
    config.model.augment_dim = 0
    assert set(make_condition(config)(x, {"augment": augment}, None)) == {"labels"}


def test_floats_have_nats_per_dimension_of_their_density():
    config = config_of("vectors")
    config.data.shape = (4,)
    config.eval.update(divergence="exact", bpd_eps=1e-3, rtol=1e-4, atol=1e-4)
    data, sde = correlated(4, spread=0.3), make_sde(config)
    fn = likelihood.bits_per_dim(config, sde, 0)
    x = data.sample(0, (8, 4))
    found = jax.jit(lambda keys, x: fn(data.predict(sde), keys, x))(example_keys(jax.random.key(0), 8), x)
    expected = -data.logp(sde, x, jnp.full((8,), 1e-3)) / 4  # the closed form of the model's density at bpd_eps
    assert set(found) == {"nats_per_dim", "logp_nats", "num_evals"}
    np.testing.assert_allclose(
        found["nats_per_dim"], expected, atol=2e-3
    )  # the solver's tolerance, summed over its steps
    config.eval.num_dequantizations = 2
    with pytest.raises(ValueError, match="num_dequantizations = 2, but the data are floats, which are not"):
        likelihood.bits_per_dim(config, sde, 0)


def test_volumes_are_shown_as_slices_and_images_of_two_channels_side_by_side():
    levels = np.arange(2 * 2 * 3 * 4, dtype=np.uint8).reshape(2, 2, 3, 4, 1)  # two volumes of two slices of 3x4
    scale = 64 // 3
    grid = sample_grid(levels, 256, columns=1)
    assert grid.shape == (2 * (3 * scale + GAP) + GAP, 2 * 4 * scale + 2 * GAP, 1)
    np.testing.assert_array_equal(grid[GAP, GAP:-GAP, 0][::scale], [0, 1, 2, 3, 12, 13, 14, 15])
    grid = sample_grid(np.array([[[[10, 20]]]], np.uint8), 256)  # one pixel of two channels
    np.testing.assert_array_equal(grid[GAP, [GAP, GAP + 64], 0], [10, 20])


def test_a_series_is_drawn_as_a_line_from_the_smallest_to_the_largest_value():
    rising = np.linspace(-1, 3, 50, dtype=np.float32)[None, :, None]
    grid = sample_grid(rising, 0)
    assert grid.shape == (PLOT_HEIGHT + 2, PLOT_WIDTH + 2, 3)
    rows, columns = np.nonzero(grid[1:-1, 1:-1].min(-1) < 255)
    first, last = rows[columns == columns.min()], rows[columns == columns.max()]
    assert columns.min() == MARGIN and columns.max() == PLOT_WIDTH - MARGIN
    assert first.max() == PLOT_HEIGHT - MARGIN and last.min() == MARGIN


def test_vectors_are_plotted_against_each_other():
    values = np.stack([np.linspace(0, 1, 9), np.linspace(1, 0, 9), np.full(9, np.nan)], axis=1).astype(np.float32)
    grid = sample_grid(values, 0)
    assert grid.shape[0] == grid.shape[1] and grid.shape[0] > 3 * 100
    with pytest.raises(ValueError, match="give .N, .... of rank 1 to 4"):
        sample_grid(np.zeros((2, 1, 1, 1, 1, 1)), 0)
    assert default.get_config().data.shape == ()
