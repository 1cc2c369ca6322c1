"""The FID InceptionV3 against torch-fidelity's network with the same weights, and the files of weights."""

import hashlib
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interop.base import CheckpointFormatError, flatten
from interop.formats import inception_weights, torch_legacy, torch_pickle
from models import inception
from tests.support import metric_fixtures as recipe

GOLDEN = np.load(recipe.FOLDER / "inception.npz")
SHAPES = recipe.inception_shapes()


@pytest.fixture(scope="module")
def state():
    """Random weights under PyTorch's names."""
    return recipe.inception_state(SHAPES)


@pytest.mark.parametrize("size", list(recipe.RESIZED))
def test_resizing_is_that_of_the_graph(size):
    large = inception.resize(jnp.asarray(recipe.images(recipe.RESIZED[size])))
    assert large.shape[1:3] == (inception.SIZE, inception.SIZE)
    # One rounding in float32 of values up to 255 is 8e-6; fused multiplication and addition save or add one.
    target = GOLDEN[f"{size}/resized"]
    np.testing.assert_allclose(large[:, :: recipe.STRIDE, :: recipe.STRIDE], target, rtol=0, atol=3e-5)


def test_the_graph_takes_only_what_resizing_gives():
    with pytest.raises(ValueError, match=r"it takes \[B, 299, 299, 3\]"):
        jax.eval_shape(inception.InceptionV3().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_the_names_of_the_published_file_are_those_of_the_network(state):
    """Every tensor of PyTorch's state but the bias of the logits has its place, transposed, and no place is left."""
    like = flatten(inception.parameter_shapes())
    flat = inception_weights.to_flat(state)
    assert {name: value.shape for name, value in flat.items()} == {name: like[name].shape for name in like}
    assert len(flat) == len(state) - 1 == 471  # 94 convolutions with five arrays each, and the logits
    kernel = state["Mixed_5b.branch5x5_2.conv.weight"]
    np.testing.assert_array_equal(flat["Mixed_5b/branch5x5_2/kernel"], kernel.transpose(2, 3, 1, 0))


@pytest.mark.parametrize("name", ["small_new.pth", "small_legacy.pth"])
def test_files_of_early_and_late_pytorch_are_read_alike(name):
    path = recipe.FOLDER / name
    contents = torch_legacy.read(path) if torch_legacy.is_legacy(path) else torch_pickle.read(path)
    assert torch_legacy.is_legacy(path) == ("legacy" in name)
    np.testing.assert_array_equal(contents["0.weight"], np.arange(12.0, dtype=np.float32).reshape(3, 2, 1, 2))
    np.testing.assert_array_equal(contents["1.running_var"], np.arange(3, dtype=np.float32))
    np.testing.assert_array_equal(contents["transposed"], np.arange(6.0).reshape(2, 3).T)
    assert contents["1.num_batches_tracked"].dtype == np.int64


def test_a_legacy_file_that_is_cut_off_or_changed_is_refused_in_one_sentence(tmp_path):
    whole = (recipe.FOLDER / "small_legacy.pth").read_bytes()
    path = tmp_path / "cut.pth"
    for end in [*range(20, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointFormatError, match="nothing in it was executed"):
            torch_legacy.read(path)
    path.write_bytes(whole.replace(b"ctorch\nFloatStorage", b"cos\nsystem         "))
    with pytest.raises(CheckpointFormatError, match="nothing in it was executed"):
        torch_legacy.read(path)


def test_a_damaged_legacy_file_never_fails_in_another_way(tmp_path):
    whole = np.frombuffer((recipe.FOLDER / "small_legacy.pth").read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.pth"
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(15, len(whole), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            torch_legacy.read(path)
        except CheckpointFormatError as error:
            assert "\n" not in str(error)


def _like():
    shapes = {"0": {"kernel": (1, 2, 2, 3)}, "fc": (4, 5)}
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, jnp.float32), shapes, is_leaf=lambda s: isinstance(s, tuple))


def _small(**changed):
    return {"0.conv.weight": np.ones((3, 2, 1, 2), np.float32), "fc.weight": np.ones((5, 4), np.float32)} | changed


def test_weights_come_with_the_hash_of_their_file(tmp_path, caplog):
    path = tmp_path / "own.npz"
    np.savez(path, **_small(**{"fc.bias": np.ones(5)}))
    with caplog.at_level(logging.WARNING):
        weights = inception_weights.load(path, _like())
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and not weights.published
    assert "compare only with those of the same file" in caplog.text
    assert weights.params["0"]["kernel"].shape == (1, 2, 2, 3) and weights.params["fc"].shape == (4, 5)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"fc.weight": np.full((5, 4), np.nan, np.float32)}, "not finite"),
        ({"fc.weight": np.ones((4, 5), np.float32)}, r"\(5, 4\) as fc instead of float \(4, 5\)"),
        ({"fc.weight": np.ones(5, np.float32)}, "1 axes instead of 2"),
        ({"fc.weight": np.ones((5, 4), np.int32)}, "int32"),
        ({"more": np.ones(2)}, r"0 of its tensors are missing and 1 are unknown \(more\)"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_sentence(tmp_path, changed, reason):
    path = tmp_path / "other.npz"
    np.savez(path, **_small(**changed))
    with pytest.raises(CheckpointFormatError, match=reason) as caught:
        inception_weights.load(path, _like())
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_whose_name_promises_another_hash_is_refused(tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes((recipe.FOLDER / "small_legacy.pth").read_bytes())
    with pytest.raises(CheckpointFormatError, match="cut off or damaged; fetch it again"):
        inception_weights.load(path, _like())
    with pytest.raises(CheckpointFormatError, match="is not a file; give pt_inception"):
        inception_weights.load(tmp_path / "absent.pth", _like())
    for name in ("small_new.pth", "small_legacy.pth"):
        with pytest.raises(CheckpointFormatError, match="is not the InceptionV3 of 2015-12-05"):
            inception_weights.load(recipe.FOLDER / name, _like())
