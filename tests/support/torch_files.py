"""Writes files as `torch.save` does, without PyTorch: a zip of a pickle and of the raw numbers of its storages."""

import collections
import io
import math
import pickle
import sys
import types
import zipfile

import numpy as np

STORAGES = {
    "f8": "DoubleStorage",
    "f4": "FloatStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "u2": "BFloat16Storage",
}
FOREIGN = {}  # names as a pickle of PyTorch has them


def _foreign(module, name):
    """An object that pickles as the global `module.name`."""
    if (module, name) not in FOREIGN:
        FOREIGN[module, name] = type(name, (), {"__module__": module, "__qualname__": name})
    return FOREIGN[module, name]


class Tensor:
    """A tensor to write: a view (shape and strides in elements) of a storage; bfloat16 is given as uint16."""

    def __init__(self, storage, offset=0, shape=None, strides=None):
        self.storage = np.ravel(storage)
        self.offset, self.shape = offset, np.shape(storage) if shape is None else shape
        contiguous = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        self.strides = tuple(contiguous) if strides is None else strides


class _Pickler(pickle.Pickler):
    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.storages = []

    def persistent_id(self, obj):
        if not isinstance(obj, np.ndarray):
            return None
        self.storages.append(obj)
        kind = _foreign("torch", STORAGES[obj.dtype.str[1:]])
        return "storage", kind, str(len(self.storages) - 1), "cpu", obj.size

    def reducer_override(self, obj):
        if not isinstance(obj, Tensor):
            return NotImplemented
        arguments = (obj.storage, obj.offset, obj.shape, obj.strides, False, collections.OrderedDict())
        return _foreign("torch._utils", "_rebuild_tensor_v2"), arguments


def save(path, contents, *, protocol=2, byteorder="little", extra=()):
    """Writes `contents`; arrays must be wrapped as Tensor. `extra`: more entries (name, bytes) of the archive."""
    before = dict(sys.modules)
    buffer = io.BytesIO()
    names = [("torch", kind) for kind in STORAGES.values()] + [("torch._utils", "_rebuild_tensor_v2")]
    try:
        for module, name in names:  # the pickler looks up what it writes
            fake = sys.modules.setdefault(module, types.ModuleType(module))
            setattr(fake, name, _foreign(module, name))
        pickler = _Pickler(buffer, protocol)
        pickler.dump(contents)
    finally:
        for name in {"torch", "torch._utils"} - before.keys():
            del sys.modules[name]
    write_zip(path, buffer.getvalue(), [a.tobytes() for a in pickler.storages], byteorder=byteorder, extra=extra)


def write_zip(path, program, storages=(), *, byteorder="little", extra=()):
    """Writes an archive around any pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", byteorder)
        for k, raw in enumerate(storages):
            archive.writestr(f"archive/data/{k}", raw)
        for name, raw in extra:
            archive.writestr(name, raw)
