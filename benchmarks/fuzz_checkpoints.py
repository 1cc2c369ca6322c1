"""Small valid checkpoints of every format, workdirs and sweeps, and the readers that programs use for them."""

import dataclasses
import functools
import io
import json
import pathlib
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import safetensors.numpy
from flax import serialization

from configs import default
from core.files import read_json
from interop.formats import inception_weights
from interop.formats.torch_pickle import LEGACY_MAGIC
from interop.load import load
from reports import console, html, overview, records
from sweeps import plan, report, runs, table
from training.checkpoint import Checkpoints
from training.log import MetricsLog, write_evaluation
from training.model_folder import ModelFolder, write
from training.state import TrainState, initial_state

Files = dict[str, bytes]
SHAPES = {"Conv_0": {"kernel": (3, 3, 1, 2), "bias": (2,)}, "GroupNorm_0": {"scale": (2,), "bias": (2,)}}
LIKE = jax.tree.map(lambda shape: np.ones(shape, np.float32), SHAPES, is_leaf=lambda node: isinstance(node, tuple))
ORDER = list(SHAPES)
WEIGHTS = {"0": {"kernel": np.ones((1, 1, 2, 3), np.float32)}, "fc": np.ones((2, 3), np.float32)}  # Inception's names


# Checkpoints of others --------------------------------------------------------------------------------------------


def msgpack(_: pathlib.Path) -> list[Files]:
    """The training state of the published Flax code."""
    moments = jax.tree.map(lambda value: {"grad_ema": value, "grad_sq_ema": value}, LIKE)
    state = {
        "step": 3, "lr": 1e-4, "ema_rate": 0.999, "params_ema": LIKE, "model_state": {}, "rng": np.zeros(2, np.uint32),
        "optimizer": {"target": LIKE, "state": {"step": 3, "param_states": moments}},
    }  # fmt: skip
    return [{"a.ckpt": serialization.msgpack_serialize(state)}]


class Writer:
    """Writes plain data and arrays as `torch.save` does: as a pickle, with arrays as storages beside it."""

    def __init__(self, is_legacy: bool):
        self.is_legacy, self.storages = is_legacy, list[np.ndarray]()

    def pickled(self, value: Any) -> bytes:
        """The operations that build a value."""
        if isinstance(value, np.ndarray):
            return self._tensor(value)
        if isinstance(value, dict):
            return b"}(" + b"".join(self.pickled(k) + self.pickled(v) for k, v in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(self.pickled, value)) + b"e"
        if isinstance(value, tuple):
            return b"(" + b"".join(map(self.pickled, value)) + b"t"
        if isinstance(value, bool) or value is None:
            return {True: b"\x88", False: b"\x89", None: b"N"}[value]
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def _tensor(self, value: np.ndarray) -> bytes:
        key, strides = str(len(self.storages)), tuple(step // value.itemsize for step in value.strides)
        self.storages.append(value)
        storage = self.pickled("storage") + b"ctorch\nFloatStorage\n"
        storage += (
            self.pickled(key) + self.pickled("cpu") + self.pickled(value.size) + (b"N" if self.is_legacy else b"")
        )
        shape = self.pickled(value.shape) + self.pickled(strides)
        more = b"\x89ccollections\nOrderedDict\n)R"
        return b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQK\x00" + shape + more + b"tR"

    def file(self, value: Any) -> bytes:
        """The whole file."""
        program = b"\x80\x02" + self.pickled(value) + b"."
        if not self.is_legacy:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr("archive/data.pkl", program)
                for key, storage in enumerate(self.storages):
                    archive.writestr(f"archive/data/{key}", storage.tobytes())
            return buffer.getvalue()
        keys = [str(key) for key in range(len(self.storages))]
        parts = [1001, {"protocol_version": 1001, "little_endian": True}]
        head = LEGACY_MAGIC + b"".join(b"\x80\x02" + self.pickled(part) + b"." for part in parts)
        stored = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in self.storages)
        return head + program + b"\x80\x02" + self.pickled(keys) + b"." + stored


def torch_state() -> dict[str, Any]:
    """The training state of the published PyTorch code, for the network of `LIKE`."""
    tensors = [np.ones(shape, np.float32) for shape in ((2, 1, 3, 3), (2,), (2,), (2,))]
    names = [f"all_modules.{k}.{leaf}" for k in range(2) for leaf in ("weight", "bias")]
    moments = {k: {"step": 3, "exp_avg": t, "exp_avg_sq": t} for k, t in enumerate(tensors)}
    group = {"params": [0, 1, 2, 3], "lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    return {
        "optimizer": {"state": moments, "param_groups": [group]}, "model": dict(zip(names, tensors, strict=True)),
        "ema": {"decay": 0.999, "num_updates": 3, "shadow_params": tensors}, "step": 3,
    }  # fmt: skip


def inception_state() -> dict[str, np.ndarray]:
    """Named tensors, as those of the Inception weights."""
    return {"0.conv.weight": np.ones((3, 2, 1, 1), np.float32), "fc.weight": np.ones((3, 2), np.float32)}


def flat() -> dict[str, np.ndarray]:
    """Exported parameters."""
    return {f"{module}/{leaf}": value for module, leaves in LIKE.items() for leaf, value in leaves.items()}


def saved(arrays: dict[str, np.ndarray]) -> bytes:
    """An `.npz` file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_foreign(folder: pathlib.Path) -> None:
    """A checkpoint of another program, or exported parameters."""
    load(next(folder.iterdir()), LIKE, ORDER)


def read_inception(folder: pathlib.Path) -> None:
    """Weights of Inception."""
    inception_weights.load(next(folder.iterdir()), WEIGHTS)


# Checkpoints and folders of our own -------------------------------------------------------------------------------


def tree(folder: pathlib.Path) -> Files:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CONFIG = default.to_json(default.get_config())


@functools.cache
def state() -> TrainState:
    """A training state; made where it is used, since JAX's threads do not survive a fork."""
    params = jax.tree.map(jax.numpy.asarray, LIKE)
    return dataclasses.replace(initial_state({"params": params}, optax.adam(1e-3)), step=jax.numpy.int32(5))


def orbax(folder: pathlib.Path) -> list[Files]:
    """A checkpoint of the training state."""
    store = Checkpoints(folder / "made")
    store.save(5, state(), CONFIG, {"pending": []})
    store.close()
    return [tree(folder / "made")]


def read_orbax(folder: pathlib.Path) -> None:
    """All of a checkpoint, in both ways."""
    store = Checkpoints(folder)
    try:
        store.config(5), store.notes(5)
        store.restore(5, state())
    finally:
        try:
            store.read(5, ["ema_params", "step"])
        finally:
            store.close()


def model(folder: pathlib.Path) -> list[Files]:
    """A model that stands alone."""
    about = {"checkpoint": 1, "step": 5, "data": {"shape": [2]}, "frozen": {}}
    write(folder / "made.model", {"params": LIKE}, CONFIG, about, folder, {})
    return [tree(folder / "made.model")]


def read_model(folder: pathlib.Path) -> None:
    """All of a model."""
    found = ModelFolder(folder)
    (number,) = found.numbers()
    found.config(number), found.notes(number), found.read(number, ["ema_params", "collections"])


COLUMN = records.Column("fid.value", "FID", better="lower", error="fid.error", baseline="fid.floor")
RESULTS = {"fid": {"value": 3.5, "error": 0.1, "num_samples": 100, "warning": "few", "floor": 1.0}, "bits": 2}


def reported(number: int) -> bytes:
    """The report of a checkpoint."""
    content = {
        "checkpoint": number, "step": 10 * number, "config": CONFIG, "results": RESULTS, "columns": [COLUMN.to_dict()],
        "grid": "samples.png", "sampler": "pc", "commit": "abc", "num_devices": 1, "device_kind": "cpu",
        "backend": "cpu",
        "seed": 1, "versions": {"jax": "0.1"}, "subject": ["digits"],
    }  # fmt: skip
    return json.dumps(content).encode()


def evaluated(below: str = "") -> Files:
    """The files of a run that was trained and evaluated."""
    lines = [{"step": k, "loss": 1 / k, "images_per_second": 9.5} for k in range(1, 9)]
    return {
        **{f"{below}eval/ckpt_{k}/report.json": reported(k) for k in (1, 2)},
        f"{below}eval/ckpt_1/{records.TIMES}": b'{"task": "samples", "seconds": 3.5, "time": "2026-01-01 00:00 UTC"}\n',
        f"{below}metrics.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in lines),
        f"{below}finished.json": b'{"step": 8}',
    }  # fmt: skip


def read_workdir(folder: pathlib.Path) -> None:
    """The reports of an evaluation, and the log of training."""
    found = records.read(folder / "eval")
    if folder.name.endswith("0"):  # drawing takes long
        overview.rebuild(folder / "eval")
    overview.table(found), overview.curves(found), overview.training_curves(folder / records.METRICS)
    html.evaluation(found, records.best_of(found), b"", None)
    for checkpoint in found:
        console.summary(folder / f"eval/ckpt_{checkpoint.report['checkpoint']}" / records.REPORT)
    write_evaluation(folder / "eval", found)
    with MetricsLog(folder, 5) as log:
        log.write(6, {"loss": 0.5}, "")
    read_json(folder / "finished.json")


def sweep(_: pathlib.Path) -> list[Files]:
    """The root of a sweep of one run."""
    config = dict(default.flatten(CONFIG))
    listed = {"name": "one", "overrides": {"seed": 1}, "arguments": ["--config=a.py"], "config": config}
    ended = [{"mode": "eval", "code": 137, "progress": k, "arguments": ["--config=a.py"]} for k in (1, 1)]
    return [{
        plan.PLAN: json.dumps({"config": ["a"], "eval": True, "runs": [listed]}).encode(),
        "one/sweep/ended.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in ended),
        **evaluated("one/"),
    }]  # fmt: skip


def read_sweep(folder: pathlib.Path) -> None:
    """The states of all runs, as a table and as a report."""
    listed, with_eval = plan.load(folder)
    statuses = [runs.status_of(run, with_eval) for run in listed]
    table.table(statuses), table.failures(statuses), table.summary(statuses)
    numbers = [report.numbers_of(status) for status in statuses]
    report.as_csv(statuses, numbers), report.as_html("a sweep", statuses, numbers)


CASES: dict[str, Callable[[pathlib.Path], list[Files]]] = {
    "msgpack": msgpack,
    "pth": lambda _: [{"a.pth": Writer(False).file(torch_state())}],
    "pth_legacy": lambda _: [{"a.pth": Writer(is_legacy).file(inception_state())} for is_legacy in (True, False)],
    "safetensors": lambda _: [{"a.safetensors": safetensors.numpy.save(flat())}],
    "exported_npz": lambda _: [{"a.npz": saved(flat())}],
    "orbax": orbax,
    "model": model,
    "workdir": lambda _: [evaluated()],
    "sweep": sweep,
}  # fmt: skip
READERS: dict[str, Callable[[pathlib.Path], None]] = {
    **dict.fromkeys(("msgpack", "pth", "safetensors", "exported_npz"), read_foreign),
    "pth_legacy": read_inception, "orbax": read_orbax, "model": read_model, "workdir": read_workdir,
    "sweep": read_sweep,
}  # fmt: skip
