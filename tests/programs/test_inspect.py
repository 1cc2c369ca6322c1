"""The program inspect: statistics against direct computations, the files that it writes, its errors."""

import json
import math
import types

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import pdist

from configs import default
from data import stock
from programs import inspect


def config_of(dataset, sde="vesde", **settings):
    config = default.get_config()
    config.data.update(dataset=dataset, **settings)
    config.training.sde = sde
    config.model.parameterization = "edm"
    return config


def test_the_statistics_are_those_of_the_whole_train_split(tmp_path):
    values = np.random.default_rng(0).integers(0, 100, (700, 5, 3, 2), np.uint8)
    np.savez(tmp_path / "a.npz", x=values, y=np.arange(700) % 3)
    config = config_of(f"npz:{tmp_path}/a.npz", centered=False)
    statistics = inspect.inspect(config, tmp_path / "out")
    train = values[np.arange(700) % 10 != 0]
    assert (statistics["num_train"], statistics["num_test"], statistics["num_classes"]) == (630, 70, 3)
    assert statistics["class_counts"].tolist() == np.bincount(np.arange(700)[np.arange(700) % 10 != 0] % 3).tolist()
    for name, expected in (
        ("mean", train.mean()),
        ("std", train.std()),
        ("minimum", 0),
        ("maximum", 99),
        ("max_distance", pdist(train.reshape(630, -1)).max()),
    ):
        assert statistics[name] == pytest.approx(expected, rel=1e-9), name  # double precision
    # Less than half of the 256 levels are used: 100 are enough, and the network sees them divided by 99.
    assert statistics["suggested"] == pytest.approx(
        {
            "data.num_levels": 100,
            "model.sigma_data": train.std() / 99,
            "model.sigma_max": statistics["max_distance"] / 99,
        }
    )
    stored = json.loads((tmp_path / "out" / "inspect" / "data.json").read_text())
    assert stored["mean"] == statistics["mean"] and stored["shape"] == [5, 3, 2]
    with Image.open(tmp_path / "out" / "inspect" / "examples.png") as grid:
        assert grid.mode == "L" and grid.size[0] > 8 * 6


def test_every_field_is_shown_with_its_range_and_an_example(tmp_path):
    further = {"tokens": np.arange(40).reshape(20, 2), "kind": np.array(["cat", "dog"])[np.arange(20) % 2]}
    further["age"] = np.linspace(0, 9.5, 20)
    np.savez(tmp_path / "a.npz", x=np.full((20, 4, 4, 1), 7, np.uint8), y=np.arange(20) % 3, **further)
    statistics = inspect.inspect(config_of(f"npz:{tmp_path}/a.npz", test_every=0), tmp_path)
    lines = [" ".join(line.split()) for line in inspect.table(statistics).splitlines()]
    assert lines[lines.index("fields") + 1 : lines.index("suggested settings")] == [
        "x 4 x 4 x 1 uint8 7 to 7 256 levels such as 7 7 7 7 ...",
        "label one int32 0 to 2 3 classes such as 0",
        "tokens 2 uint8 0 to 39 40 levels such as 0 1",
        "kind one int32 0 to 1 2 classes: cat, dog such as cat",
        "age one float32 0 to 9.5 values such as 0",
    ]
    stored = json.loads((tmp_path / "inspect" / "data.json").read_text())["fields"]
    assert stored[2]["example"] == [0, 1] and stored[3]["class_names"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (np.zeros((20, 3, 16, 16), np.uint8), r"(3, 16, 16) looks like (C, H, W), but images are (H, W, C); transpose"),
        (
            np.zeros((20, 28, 28), np.uint8),
            '(28, 28) is read as a series; for gray images, add "--config.data.shape=(28,28,1)".',
        ),
        (np.zeros((20, 1, 64)), "(1, 64) looks like (C, L), but series are (L, C); transpose the array to [N, L, C]."),
        (np.zeros((20, 2, 16, 16, 16)), "(2, 16, 16, 16) looks like (C, D, H, W), but volumes are (D, H, W, C)"),
        (np.zeros((20, 32, 3, 40), np.uint8), "(32, 3, 40) looks like (W, C, N) of an array [H, W, C, N]"),
        (np.zeros((20, 16, 16, 16), np.uint8), 'of 16 channels; for volumes, add "--config.data.shape=(16,16,16,1)".'),
        (np.zeros((20, 784), np.uint8), 'as vectors; for images, add "--config.data.shape=(28,28,1)".'),
        (np.zeros((20, 3072), np.uint8), 'as vectors; for images, add "--config.data.shape=(32,32,3)".'),
        (
            np.arange(20 * 12).reshape(20, 2, 2, 3) * 200.0,
            "floats from 0 to 47800 may be levels; give them as uint8 or",
        ),
        (np.zeros((20, 30)), None),
        (np.linspace(0, 255, 20 * 12).reshape(20, 2, 2, 3), "floats from 0 to 255 may be levels; give them as uint8"),
        (np.zeros((20, 16, 16, 3), np.uint8), None),
        (np.random.default_rng(0).normal(size=(20, 64, 2)), None),
        (np.random.default_rng(0).random((20, 8, 8, 3)), None),
    ],
)
def test_what_looks_like_other_axes_or_another_scale_is_hinted_at(tmp_path, values, hint):
    np.save(tmp_path / "x.npy", values)
    statistics = inspect.inspect(config_of(f"npy:{tmp_path}/x.npy", test_every=0))
    notes = [line for line in inspect.table(statistics).splitlines() if line.startswith("note: ")]
    assert len(notes) == (hint is not None) and all(hint in note for note in notes)


def test_examples_of_the_test_split_are_read_too(tmp_path):
    values = np.zeros((20, 3), np.float32)
    values[10] = np.nan  # every tenth is a test example
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match="row 10 of .*x.npy has the value nan"):
        inspect.inspect(config_of(f"npy:{tmp_path}/x.npy"))


def test_floats_are_scaled_to_zero_mean_and_unit_deviation(tmp_path):
    series = np.random.default_rng(0).normal(3, 20, (50, 9, 1))
    np.save(tmp_path / "x.npy", series)
    statistics = inspect.inspect(config_of(f"npy:{tmp_path}/x.npy", test_every=0), tmp_path)
    suggested = statistics["suggested"]
    assert suggested["data.offset"] == pytest.approx(series.mean(), rel=1e-6)  # the source returns float32
    assert suggested["data.scale"] == pytest.approx(series.std(), rel=1e-6)
    assert suggested["model.sigma_data"] == pytest.approx(1.0)
    assert "levels              none: floats" in inspect.table(statistics)


def test_only_what_the_sde_and_the_parameterization_have_is_suggested():
    statistics = {"num_levels": 256, "maximum": 255.0, "std": 60.0, "max_distance": 9000.0}

    def suggested(sde, parameterization="noise", continuous=True):
        config = config_of("CIFAR10", sde)
        config.model.parameterization, config.training.continuous = parameterization, continuous
        return inspect.suggest(statistics, config).keys() - {"data.num_levels"}

    for sde in ("vpsde", "subvpsde", "cosine"):
        assert suggested(sde) == set() and suggested(sde, "edm") == {"model.sigma_data"}
    for sde in ("vesde", "edm"):
        assert suggested(sde) == {"model.sigma_max"} and suggested(sde, "edm") == {
            "model.sigma_max",
            "model.sigma_data",
        }
    assert suggested("vpsde", continuous=False) == set()
    assert suggested("vesde", continuous=False) == {"model.sigma_max"}


def command_of(dataset, workdir=""):
    """What `main` runs for --mode=inspect."""
    return inspect.command(
        types.SimpleNamespace(mode="inspect", config=config_of(dataset), workdir=workdir, dry_run=False)
    )


def test_the_last_line_names_the_grid(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((20, 4, 4, 1), np.uint8))
    command_of(f"npy:{tmp_path}/x.npy", str(tmp_path / "run"))()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"-> {tmp_path}/run/inspect/examples.png" and (tmp_path / "run/inspect/examples.png").is_file()


@pytest.mark.parametrize(("dataset", "levels", "distance"), [("digits", 17, 4.8), ("photos", 256, 52)])
def test_named_data_sets_are_inspected_whatever_the_size_in_the_config(data_dir, dataset, levels, distance):
    statistics = inspect.inspect(config_of(dataset, data_dir=data_dir, centered=False))
    source = stock.load(dataset, "train", data_dir)
    assert (statistics["num_train"], statistics["shape"]) == (len(source), source.shape)
    assert statistics["suggested"]["data.num_levels"] == levels
    chosen = np.linspace(0, len(source) - 1, min(2000, len(source))).astype(int)
    largest = pdist(source.fetch(chosen)["x"].reshape(len(chosen), -1) / (levels - 1)).max()
    assert statistics["suggested"]["model.sigma_max"] == pytest.approx(largest, rel=1e-9)
    assert largest == pytest.approx(distance, rel=0.1)  # the statistics that the presets mention
    assert math.isfinite(statistics["std"])


def test_the_program_prints_a_table_without_a_workdir_and_names_missing_data(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((20, 4, 4, 1), np.uint8))
    command_of(f"npy:{tmp_path}/x.npy")()
    assert "18 to train on, 2 for testing" in capsys.readouterr().out
    with pytest.raises(
        FileNotFoundError, match=r"y\.npy does not exist; config\.data\.dataset must name an \.npy file"
    ):
        command_of(f"npy:{tmp_path}/y.npy")
