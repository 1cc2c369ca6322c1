"""The program encode: the tokens or latents of a whole data set, as a data set for another model."""

import logging
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from core.files import temporary_file, write_json
from data.pipeline import eval_batch, num_rounds
from data.readers.encoded import ABOUT, FORM, field
from data.source import Source
from programs import restore_run
from programs.flags import source_of
from programs.run import Run
from systems.tokenizer import TokenizerSystem
from training import frozen
from training.objectives.base import Variables

SPLITS = ("train", "test")


def encode(run: Run, folder: pathlib.Path, number: int | None = None) -> pathlib.Path:
    """Writes the codes of both splits to `folder`; see `data.readers.encoded`. Latents are their means.

    `encoded.json` is written last, so that a folder with it is whole. Errors: CheckpointError, OSError.
    """
    system = run.system
    assert isinstance(system, TokenizerSystem)
    restored = restore_run.restore(run.workdir, number, run.devices.replicated)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).unlink(missing_ok=True)
    statistics = {split: _write(run, system, restored.variables, split, folder) for split in SPLITS}
    weights = frozen.to_bytes(jax.device_get(restored.variables))
    about = {
        "dataset": run.config.data.dataset,
        "shape": list(system.tokenizer.code_shape),
        "num_codes": system.tokenizer.num_codes,
        "num_classes": run.spec.num_classes,
        "statistics": statistics,
        "tokenizer": frozen.sha256(weights),
        "workdir": str(run.workdir),
        "checkpoint": restored.number,
    }
    write_json(folder / ABOUT, about)
    logging.info("codes of %s, %s -> %s:%s", about["dataset"], about["shape"], FORM, folder)
    return folder


def _write(run: Run, system: TokenizerSystem, variables: Variables, split: str, folder: pathlib.Path) -> dict[str, Any]:
    """Writes the codes and labels of a split; their statistics."""
    source, size = run.splits.named(split), run.config.eval.batch_size
    x, shape = field(system.tokenizer.num_codes, system.tokenizer.code_shape), (len(source),)
    with temporary_file(folder / f"{split}.npy") as path:
        codes = np.lib.format.open_memmap(path, mode="w+", dtype=x.dtype, shape=(*shape, *x.shape))
        for turn in range(num_rounds(len(source), size)):
            batch = eval_batch(source, turn, size)
            rows = np.asarray(batch["index"])[np.asarray(batch["counted"]) > 0]
            found = np.asarray(system.codes(variables, system.on_devices(batch)["x"]))
            codes[rows] = found[: len(rows)].astype(x.dtype)
        codes.flush()
        found_statistics = _statistics(codes, system.tokenizer.num_codes)
        del codes
    labels = _labels(source, size)
    with temporary_file(folder / f"{split}_labels.npy") as path, path.open("wb") as file:
        np.save(file, labels, allow_pickle=False)
    return found_statistics


def _labels(source: Source, size: int) -> np.ndarray:
    parts = [source.fetch(np.arange(k, min(k + size, len(source))))["label"] for k in range(0, len(source), size)]
    return np.concatenate(parts)


def _statistics(codes: np.ndarray, num_codes: int) -> dict[str, Any]:
    """The number of examples; of tokens the codes in use, of latents mean and standard deviation of each channel."""
    if num_codes:
        return {"num_examples": len(codes), "codes_in_use": len(np.unique(codes))}
    flat = codes.reshape(-1, codes.shape[-1]).astype(np.float64)
    return {"num_examples": len(codes), "mean": flat.mean(0).tolist(), "std": flat.std(0).tolist()}


def command(given: Any) -> Callable[[], None]:
    """--mode=encode. Errors: ValueError, CheckpointError, before anything is compiled."""
    run = Run.of_checkpoint(given.config, source_of(given), given.number)
    if not isinstance(run.system, TokenizerSystem):
        raise ValueError(
            f"--mode=encode needs the run of a tokenizer, but {run.workdir} is one of config.system = "
            f"{run.config.system!r}; give the --workdir of a run with config.system = 'tokenizer'."
        )
    if given.output is None and given.workdir is None:
        raise ValueError("--mode=encode with --model needs --output=FOLDER, where the codes go.")
    for split in SPLITS:
        run.splits.named(split)
    folder = pathlib.Path(given.output) if given.output else pathlib.Path(given.workdir) / "encoded"

    def run_command() -> None:
        print(f"-> {FORM}:{encode(run, folder, given.number)}")

    return run_command
