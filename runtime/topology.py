"""Devices that this machine does not have, for programs that are compiled ahead of time."""

import contextlib
import importlib.metadata
import importlib.util
import math
import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from core.tables import nearest
from runtime.chips import DEVICES_PER_GPU_HOST, GPUS, TPUS, Chip

# The shapes that libtpu compiles for, by number of chips; those of 3 axes are tori of v4, v5p, and v7.
FLAT = {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
CUBES = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8"}
SHAPES = {"v2": FLAT, "v3": FLAT, "v5e": FLAT, "v6e": FLAT, "v4": CUBES, "v5p": CUBES, "tpu7x": CUBES}
CORES = {"v2": 2, "v3": 2, "v4": 2, "v5p": 2, "tpu7x": 2}  # that a name such as v5p-256 counts, per chip
OTHER_NAMES = {"v5litepod": "v5e", "v5lite": "v5e", "v7x": "tpu7x"}
QUIET = {  # libtpu asks the machine which TPU it is, and waits for an answer
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_HOST_BOUNDS": "1,1,1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
EXAMPLES = "v5e:2x2, v5p-256, v6e:4x4, h100x8 or h200x1"


def leave_devices() -> None:
    """Lets this process compute on its CPU, whatever devices it has: they may be at work. To be called first."""
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")


class Topology(NamedTuple):
    """Devices to compile for. `name`: canonical, such as v5e:2x2; `platform`: tpu or gpu."""

    name: str
    platform: str
    chip: Chip
    devices: list[jax.Device]

    @property
    def network(self) -> float:
        """Bytes per second that a device can send to the others: the slowest network between them."""
        return self.chip.network_of(len(self.devices))


def find(given: str) -> Topology:
    """The devices of a name such as `v5e:2x2`, `v5p-256` (by cores), `v5e-16`, `h100x8`.

    Errors: ValueError for a name that is not one, a shape that the compiler does not take, or a compiler that is not
    installed.
    """
    name = canonical(given)
    if ":" not in name:
        return _gpus(name)
    kind, shape = name.split(":")
    _require("libtpu", "requirements-plan.txt", "a TPU")
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    single = shape in ("1x1", "1x1x1")  # which the compiler only knows as a part of a host
    options = {"chip_config_name": "megacore"} if kind in ("v4", "v5p") else {}
    host = SHAPES[kind][4]
    devices = _describe("tpu", f"{kind}:{host if single else shape}", given, **options)
    cores = CORES.get(kind, 1) if not options else 1
    return Topology(name, "tpu", TPUS[kind], devices[:cores] if single else devices)


def canonical(given: str) -> str:
    """`v5e:2x2` or `h100x8` for any name of them. Errors: ValueError."""
    text = given.strip().lower().removeprefix("tpu-").removeprefix("nvidia-")
    if match := re.fullmatch(r"([a-z]+\d+)(?:x(\d+))?", text):
        kind, count = match[1], int(match[2] or 1)
        if kind in GPUS and count and (count <= DEVICES_PER_GPU_HOST or count % DEVICES_PER_GPU_HOST == 0):
            return f"{kind}x{count}"
        if kind in GPUS:
            raise ValueError(f"--topology={given} is not a number of whole hosts of 8 GPUs; use {kind}x8 or {kind}x16.")
    if match := re.fullmatch(r"([a-z0-9]+)[:-](\d+(?:x\d+)*)", text):
        kind, size = OTHER_NAMES.get(match[1], match[1]), match[2]
        if kind in SHAPES:
            return f"{kind}:{_shape(given, kind, size)}"
    known = [*SHAPES, *GPUS]
    raise ValueError(
        f"--topology={given} is not known; give devices such as {EXAMPLES} "
        f"(nearest: {nearest(re.split('[-:]', text)[0], known)})."
    )


def _shape(given: str, kind: str, size: str) -> str:
    """The shape of a slice from its shape or its size, which for some kinds counts two cores per chip."""
    axes = 3 if SHAPES[kind] is CUBES else 2
    if "x" in size:
        shape = tuple(map(int, size.split("x")))
        padded = shape + (1,) * (axes - len(shape))
        if len(padded) == axes and min(padded):
            return "x".join(map(str, padded))
    else:
        chips = int(size) // CORES.get(kind, 1)
        if chips in SHAPES[kind] and chips * CORES.get(kind, 1) == int(size):
            return SHAPES[kind][chips]
        if chips == 1:
            return "x".join("1" * axes)
    sizes = ", ".join(f"{kind}-{chips * CORES.get(kind, 1)}" for chips in SHAPES[kind])
    raise ValueError(f"--topology={given} is no slice of {kind}; use one of {sizes}, or a shape such as {EXAMPLES}.")


def _gpus(name: str) -> Topology:
    kind, count = name.split("x")
    _require("jax_cuda12_plugin", "requirements-plan-gpu.txt", "a GPU")
    _put_tools_on_path()
    hosts = math.ceil(int(count) / DEVICES_PER_GPU_HOST)
    shape = f"1x{hosts}x{int(count) // hosts}"
    devices = _describe("cuda", kind, name, topology=shape, target_config=GPUS[kind].description)
    return Topology(name, "gpu", GPUS[kind], devices)


def _describe(platform: str, name: str, given: str, **options: Any) -> list[jax.Device]:
    try:
        return list(topologies.get_topology_desc(platform=platform, topology_name=name, **options).devices)
    except (RuntimeError, ValueError, NotImplementedError) as error:  # a shape, or versions that do not fit
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ValueError(f"--topology={given} cannot be compiled for ({reason}); use such as {EXAMPLES}.") from error


def _require(package: str, file: str, device: str) -> None:
    """Errors: ValueError where the compiler is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"--topology names {device}, whose compiler is not installed; install it with `pip install -r {file}`."
        )


def _put_tools_on_path() -> None:
    """Lets the GPU's compiler find the assembler ptxas, which lies in a package of Python."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.files("nvidia-cuda-nvcc-cu12") or ()
        for path in files:
            if path.name == "ptxas":
                folder = str(pathlib.Path(str(path.locate())).resolve().parent)
                if folder not in os.environ.get("PATH", "").split(os.pathsep):
                    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
