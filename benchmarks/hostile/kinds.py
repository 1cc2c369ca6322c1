"""What a kind of hostile file is, and the command lines of the programs that read files."""

import pathlib
import random
from collections.abc import Callable
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent.parent
ARRAYS = ROOT / "configs" / "vp" / "vectors_mlp_continuous.py"  # data of any rank
IMAGES = ROOT / "configs" / "vp" / "smoke.py"  # digits, 8x8, 17 levels
NETWORK = "benchmarks.hostile.network:Linear"
TRAINED = "trained"  # a workdir below the shared folder, of a network that compiles in a moment
MODEL = "good.model"  # exported from it
PICTURES, CACHE = "pictures", "cache"  # images, and what data.cache_dir keeps of them

Make = Callable[[pathlib.Path, random.Random], object]
Words = Callable[[pathlib.Path, pathlib.Path], list[str]]  # (the file, the shared folder)


class Kind(NamedTuple):
    """A hostile file: its name, the use by which a program reads it, and what makes it.

    may_be_read: the program need not refuse it, since it takes what is good of it, and leaves the rest. named: what an
    error calls it, where that is not the file's name.
    """

    file: str
    use: str
    make: Make
    may_be_read: bool = False
    named: str = ""


def _data(form: str, *settings: str) -> Words:
    def words(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
        return ["--mode=inspect", f"--config={IMAGES}", f"--config.data.dataset={form}:{path}", *settings]

    return words


def _inputs(flag: str, *more: str) -> Words:
    def words(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
        given = {"input": f"--input={shared / PICTURES / '0.png'}", "mask": f"--mask={shared / 'mask.npy'}"}
        given[flag] = f"--{flag}={path}"
        return [
            "--mode=sample", f"--workdir={shared / TRAINED}", "--task=inpaint", f"--allow_code={NETWORK}", "--dry_run",
            *given.values(), *more,
        ]  # fmt: skip

    return words


def _compared(flag: str) -> Words:
    def words(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
        given = {"samples": f"--samples={shared / 'samples.npz'}"} | {flag: f"--{flag}={path}"}
        return [
            "--mode=metrics", f"--config={IMAGES}", f"--workdir={shared / 'compared'}",
            "--config.eval.metrics=('fid',)", "--config.eval.features=pixels", *given.values(),
        ]  # fmt: skip

    return words


def _tfrecords(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
    return [
        "--mode=inspect", f"--config={IMAGES}", "--config.data.dataset=FFHQ", "--config.data.image_size=8",
        "--config.data.num_channels=3", f"--config.data.data_dir={path}",
    ]  # fmt: skip


def _prepared(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
    return ["--mode=inspect", f"--config={IMAGES}", "--config.data.dataset=tfds:own", f"--config.data.data_dir={path}"]


def _imported(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
    return ["--mode=import", f"--config={ARRAYS}", f"--workdir={path.parent / 'new'}", f"--checkpoint={path}"]


def _inception(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
    return [
        *_compared("samples")(shared / "samples.npz", shared)[:-2], "--config.eval.features=inception",
        f"--config.eval.inception_weights={path}", f"--samples={shared / 'samples.npz'}",
    ]  # fmt: skip


def _model(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
    return _sampled(f"--model={path}", path)


def _workdir(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
    return _sampled(f"--workdir={path}", path)


def _sampled(source: str, path: pathlib.Path) -> list[str]:
    return [
        "--mode=sample", source, f"--output={path.parent / 'out'}", f"--allow_code={NETWORK}",
        "--num_samples=2", "--config.sampling.num_steps=2", "--overwrite",
    ]  # fmt: skip


def _cached(path: pathlib.Path, shared: pathlib.Path) -> list[str]:
    return _data("folder", f"--config.data.cache_dir={path}")(shared / PICTURES, shared)


USES: dict[str, Words] = {
    **{form: _data(form) for form in ("npy", "npz", "zip", "folder", "wds", "hf", "cifar10", "encoded")},
    "input": _inputs("input"),
    "mask": _inputs("mask"),
    "samples": _compared("samples"),
    "stats": _compared("stats"),
    "tfrecords": _tfrecords,
    "tfds": _prepared,
    "import": _imported,
    "inception": _inception,
    "model": _model,
    "workdir": _workdir,
    "cache": _cached,
}
