"""Checkpoints: what is saved is restored, or the error says why not."""

import dataclasses
import errno
import gc
import os
import pathlib
import re
import resource
import shutil
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from core.errors import PeerError
from core.files import read_json
from tests.support.paths import GOLDEN
from training.checkpoint import CheckpointError, Checkpoints, peek_config
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


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
    "of strangers": lambda path: path.write_bytes(b'\xff\xfe{"state": ['),
    "of another shape": lambda path: path.write_text('["state"]'),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
    "a sparse terabyte": lambda path: os.truncate(path, 2**40),
}
NEVER_OPENED = ("a pipe", "a link to itself", "a sparse terabyte")
DAMAGES_OF_FOLDERS = {
    "removed": shutil.rmtree,
    "emptied": lambda path: (shutil.rmtree(path), path.mkdir()),
    "a file": lambda path: (shutil.rmtree(path), path.write_text("x")),
}


def right_or_refused(folder):
    """The parts of checkpoint 10 that are refused, each in one sentence; the others are as they were saved."""
    expected, refused = state_of(10), set()
    store = Checkpoints(folder)
    reads = {
        "state": lambda: equal(store.restore(10, state_of(0)), expected),
        "parameters": lambda: equal(store.read(10, ("ema_params",)), {"ema_params": expected.ema_params}),
        "config": lambda: store.config(10) == peek_config(folder, 10) == {"seed": 1},
        "notes": lambda: store.notes(10) == {"pending": []},
    }
    for name, is_right in reads.items():
        try:
            assert is_right(), name
        except CheckpointError as error:
            assert str(error).count("\n") == 0 and str(error).endswith(".")
            refused.add(name)
    store.close()
    store = Checkpoints(folder, keep=2, clean=True)  # as the trainer opens it
    store.set_aside(10)
    assert store.numbers() == [5] and equal(store.restore(5, state_of(0)), state_of(5))
    store.close()
    return refused


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_of_a_checkpoint_is_one_sentence_or_harms_nothing(two_checkpoints, tmp_path, how, capfd):
    everything = set()
    for turn, path in enumerate(sorted(two_checkpoints.glob("10/**/*"))):
        if path.is_file() and (how == "removed" or path.name != "commit_success.txt"):
            folder = pathlib.Path(shutil.copytree(two_checkpoints, tmp_path / str(turn)))
            DAMAGES[how](folder / path.relative_to(two_checkpoints))
            refused = right_or_refused(folder)
            if how in NEVER_OPENED:  # whatever is asked of the checkpoint
                assert refused == {"state", "parameters", "config", "notes"} or path.parent.name == "d"
            elif path.name == "metadata":  # the JSON items; checksums belong to all of them
                name = path.parent.name
                assert refused == ({"state", "parameters", "config", "notes"} if name == "checksums" else {name})
            everything |= refused
    gc.collect()
    assert everything == {"state", "parameters", "config", "notes"}
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_note_of_orbax_that_it_cannot_read_keeps_nothing_from_being_saved(two_checkpoints, tmp_path):
    folder = pathlib.Path(shutil.copytree(two_checkpoints, tmp_path / "c"))
    (folder / "10" / "_CHECKPOINT_METADATA").write_text("[]")
    store = Checkpoints(folder, keep=2, clean=True)
    store.save(15, state_of(15), {"seed": 1})
    assert store.numbers() == [10, 15] and equal(store.restore(10, state_of(0)), state_of(10))
    store.close()


@pytest.mark.parametrize("how", DAMAGES_OF_FOLDERS)
def test_a_damaged_folder_of_a_checkpoint_is_one_sentence_or_harms_nothing(two_checkpoints, tmp_path, how, capfd):
    for turn, path in enumerate(sorted([two_checkpoints / "10", *two_checkpoints.glob("10/**/*")])):
        if path.is_dir():
            folder = pathlib.Path(shutil.copytree(two_checkpoints, tmp_path / str(turn)))
            DAMAGES_OF_FOLDERS[how](folder / path.relative_to(two_checkpoints))
            if how == "a file" and path.name == "10":
                assert Checkpoints(folder).numbers() == [5]
                continue
            refused = right_or_refused(folder) if (folder / "10").exists() else set()
            if path.name == "checksums":
                assert refused == {"state", "parameters", "config", "notes"}, path
            elif path.name in ("config", "notes"):
                assert refused == {path.name}
    gc.collect()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_checksums_are_missed_even_where_the_note_of_them_is_damaged(two_checkpoints, tmp_path):
    folder = pathlib.Path(shutil.copytree(two_checkpoints, tmp_path / "c"))
    shutil.rmtree(folder / "10" / "checksums")
    (folder / "10" / "_CHECKPOINT_METADATA").write_text('{"item_handlers": {}, "custom_metadata": 3}')
    assert right_or_refused(folder) == {"state", "parameters", "config", "notes"}


def test_what_does_not_fit_below_a_limit_of_file_sizes_is_one_short_sentence(tmp_path):
    """By the system, not by a mock: files of at most 4 kB, as `ulimit -f` sets it."""
    store = Checkpoints(tmp_path, clean=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"\(File too large; intact: none\); free some space and") as error:
            store.save(5, state_of(5), {})
            store.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(str(error.value)) < 400 and store.numbers() == []
    store.close()


def test_what_a_device_says_is_no_damage_of_a_checkpoint(two_checkpoints, monkeypatch):
    def exhausted(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(ocp.Checkpointer, "restore", exhausted)
    store = Checkpoints(two_checkpoints)
    with pytest.raises(jax.errors.JaxRuntimeError):
        store.restore(10, state_of(0))
    store.close()


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


@pytest.mark.parametrize(
    ("message", "num_processes", "expected"),
    [
        ("[external/gloo/transport/tcp/pair.cc:538] Read error: Connection reset by peer", 2, PeerError),
        ("Barrier failed: DEADLINE_EXCEEDED", 2, PeerError),
        ("Connection reset by the file server", 1, CheckpointError),
        ("no such driver", 2, CheckpointError),
    ],
)
def test_a_process_that_is_gone_during_a_save_is_no_matter_of_the_disk(
    message, num_processes, expected, tmp_path, monkeypatch
):
    def lose(*args, **kwargs):
        monkeypatch.setattr(jax, "process_count", lambda: num_processes)
        raise ValueError(message)  # as Gloo does

    store = Checkpoints(tmp_path)
    monkeypatch.setattr(ocp.CheckpointManager, "save", lose)
    with pytest.raises(expected, match=re.escape(message)):
        store.save(5, state_of(5), {})
    monkeypatch.undo()
    store.close()
