"""Checkpoints: what is saved is restored, or the error says why not."""

import dataclasses
import errno
import gc
import re
import shutil
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from core.files import read_json
from tests.support.paths import GOLDEN
from training.checkpoint import CheckpointError, Checkpoints
from training.checksums import checksums
from training.optim import adam, learning_rate
from training.state import initial_state, stored_form

# Where one array cannot be read, Orbax abandons the tasks of the others, which complain when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def state_of(step):
    params = {"a": jax.random.normal(jax.random.key(step), (64, 32)), "b": {"c": jnp.full((3,), step, jnp.bfloat16)}}
    return dataclasses.replace(initial_state({"params": params}, optax.adam(1e-3)), step=jnp.int32(step))


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    store = Checkpoints(folder)
    for step in (5, 10):
        store.save(step, state_of(step), {"seed": 1}, {"pending": []})
    store.close()
    return folder


def equal(a, b):
    return checksums(a) == checksums(b)


def test_a_checkpoint_comes_back_as_it_was_saved(two_checkpoints):
    store = Checkpoints(two_checkpoints)
    assert store.numbers() == [5, 10]
    assert equal(store.restore(10, state_of(0)), state_of(10)) and store.config(10) == {"seed": 1}
    store.close()


def test_checkpoints_of_the_version_before_collections_are_restored(tmp_path):
    """`golden/checkpoints.tar.gz`, written when the state had no collections: 1 without averages, 2 with one."""
    with tarfile.open(GOLDEN / "checkpoints.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    params = {"Dense_0": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.full((3,), 0.5, jnp.bfloat16)}}
    tx = adam(learning_rate(1e-3), grad_clip=1.0)
    store = Checkpoints(tmp_path)
    for number, averages in ((1, ()), (2, ("rate_0",))):
        like = initial_state({"params": params}, tx, averages)
        assert equal(store.restore(number, like), dataclasses.replace(like, step=jnp.int32(number)))
    store.save(3, like, {})
    keys = {n: set(read_json(tmp_path / str(n) / "state" / "_METADATA")["tree_metadata"]) for n in (2, 3)}
    assert keys[2] == keys[3]
    store.close()


def test_collections_are_saved_and_restored_with_the_state(tmp_path):
    variables = {"params": {"a": jnp.ones(2)}, "codebook": {"counts": jnp.arange(3), "sums": jnp.ones((3, 2))}}
    state = initial_state(variables, optax.adam(1e-3))
    store = Checkpoints(tmp_path)
    store.save(1, state, {})
    like = jax.tree.map(lambda a: jax.device_put(jnp.zeros_like(a), jax.devices()[0]), state)
    restored = store.restore(1, like)
    store.close()
    assert equal(restored, state) and restored.variables.keys() == {"params", "codebook"}
    np.testing.assert_array_equal(restored.averaged_variables["codebook"]["counts"], np.arange(3))


def test_a_flipped_bit_in_any_file_is_noticed_or_harms_nothing(two_checkpoints, tmp_path):
    """Orbax restores most of them silently wrong."""
    noticed = 0
    files = [p.relative_to(two_checkpoints) for p in (two_checkpoints / "10").rglob("*") if p.is_file()]
    for turn, file in enumerate(files):
        folder = tmp_path / str(turn)
        shutil.copytree(two_checkpoints, folder)
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 16
        (folder / file).write_bytes(bytes(content))
        store = Checkpoints(folder)
        try:
            assert equal(store.restore(10, state_of(0)), state_of(10)) and store.config(10) == {"seed": 1}, file
        except CheckpointError as error:
            noticed += 1
            assert "\n" not in str(error)
        store.close()
    gc.collect()  # here, not in another test
    assert noticed >= 3  # at least the arrays, the config and the checksums themselves


def test_changed_numbers_are_named_by_their_leaf(two_checkpoints, tmp_path, monkeypatch):
    store = Checkpoints(two_checkpoints)
    monkeypatch.setattr("training.checkpoint.checksums", lambda tree: checksums(tree) | {".params['a']": "other"})
    message = (
        f"Checkpoint 10 in {two_checkpoints} is damaged (.params['a'] of the state does not match its checksum); "
        "delete it to resume from the one before."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        store.restore(10, state_of(0))
    store.close()


def test_a_checkpoint_saved_without_checksums_is_restored_and_the_log_says_so(tmp_path, caplog):
    with ocp.CheckpointManager(tmp_path) as manager:
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(stored_form(state_of(3))), config=ocp.args.JsonSave({"seed": 2})
        )
        manager.save(3, args=items)
    store = Checkpoints(tmp_path)
    with caplog.at_level("INFO"):
        assert equal(store.restore(3, state_of(0)), state_of(3))
    assert store.config(3) == {"seed": 2} and store.notes(3) == {}
    assert "checkpoint 3" in caplog.text and "saved without checksums: not verified" in caplog.text
    store.close()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: Error writing: [OS error 28: No space left on device]\nmore"),
    ],
)
def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_is_intact(tmp_path, monkeypatch, error):
    store = Checkpoints(tmp_path)
    store.save(5, state_of(5), {})

    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    message = (
        f"Checkpoint 10 could not be written to {tmp_path} (No space left on device; intact: 5); "
        "free some space and start the same command again."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        store.save(10, state_of(10), {})
    assert equal(store.restore(5, state_of(0)), state_of(5))
    store.close()
