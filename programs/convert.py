"""The programs import and export: checkpoints of the published implementations, and parameters for other programs.

This module does the input and output; formats are in `interop/`. A data set is needed only for the shape of data that
are given by a path.
"""

import functools
import logging
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from builders import data
from builders.network import example_inputs, make_network
from builders.optimizer import make_averages, make_mask, make_optimizer
from builders.sampler import describe
from builders.splits import Splits, spec_without_data
from configs import default
from core.files import writing
from core.outputs import check_file, check_folder
from data.spec import DataSpec
from interop import export
from interop.base import Imported, nest
from interop.load import load
from interop.names.order import outline
from programs import restore_run
from programs.flags import path_of, source_of
from reports.model_card import PICTURE, model_card
from reports.records import REPORT, read_checkpoint
from training import model_folder
from training.checkpoint import CheckpointError, Checkpoints
from training.frozen import FROZEN
from training.optim import WITH_ADAMS_MOMENTS
from training.state import TrainState, with_averages

SEVERAL = ("tokenizer", "causal_diffae", "mmar", "resgen")  # systems whose parameters are not those of one network


class ToImport(NamedTuple):
    """What `import_checkpoint` writes: the state, its notes, and the number of its checkpoint."""

    state: TrainState
    notes: dict[str, Any]
    number: int


def import_checkpoint(config: ConfigDict, workdir: pathlib.Path, path: pathlib.Path) -> int:
    """Creates a workdir from a published checkpoint or exported parameters; returns the number of its checkpoint.

    Sampling, evaluation and training continue from there, with the step, parameters, average, and Adam's moments and
    count of the file. Hyperparameters are those of `config`; a warning is logged if the file contains others. The
    number is that of a file named `checkpoint_<number>`, otherwise the number of snapshots of a run at this step, at
    least 1.

    Errors: see `prepare_import`; nothing is written then.
    """
    found = prepare_import(config, workdir, path)
    _write_import(config, workdir, found)
    return found.number


def prepare_import(config: ConfigDict, workdir: pathlib.Path, path: pathlib.Path) -> ToImport:
    """Reads what is to be imported, and checks where to; writes nothing.

    Errors: ValueError for the config and the workdir, CheckpointFormatError for the file, CheckpointError for a workdir
    that has checkpoints.
    """
    default.validate(config)
    if config.system in SEVERAL:
        raise ValueError(
            f"--mode=import reads the parameters of one network, but config.system = {config.system!r} has others "
            "beside it; export to a folder NAME.model instead, which --model=NAME.model uses."
        )
    data.resolve(config)
    for folder in restore_run.FOLDERS:
        if (workdir / folder).exists() and any((workdir / folder).iterdir()):
            raise CheckpointError(f"{workdir / folder} already has checkpoints; import into another --workdir.")
    check_folder(workdir, f"--workdir={workdir}")
    shapes, order = outline_of(config)
    imported = load(path, shapes, order)
    state = _state(config, imported)
    _log_contents(config, imported, path)
    spec = spec_without_data(config) or DataSpec.of(Splits(config).train)
    number = checkpoint_number(path, imported.step, config.training.snapshot_freq)
    return ToImport(state, {"step": imported.step, "data": spec.to_json()}, number)


def _write_import(config: ConfigDict, workdir: pathlib.Path, found: ToImport) -> None:
    for folder, name in zip(restore_run.FOLDERS, (found.number, found.notes["step"]), strict=True):
        store = Checkpoints(workdir / folder)
        store.save(name, found.state, default.to_json(config), found.notes)
        store.close()


def export_checkpoint(
    config: ConfigDict,
    workdir: pathlib.Path,
    path: pathlib.Path,
    number: int | None = None,
    sigma_rel: float | None = None,
    eval_folder: str = "eval",
) -> int:
    """Writes the averaged parameters of a checkpoint, by default the latest, to a `.npz` or `.safetensors`.

    A path that ends in `.model` is a folder with all that the model needs, see `training.model_folder`, and a card with
    the figures that its report below `eval_folder` has. Returns the number of the checkpoint.
    sigma_rel: the relative width of the power-function average to write, instead of that of `model.ema_rate`.
    Errors: ValueError for the config, another suffix, or a place that cannot be written to; FileExistsError;
    CheckpointError.
    """
    config, stored = prepare_export(config, workdir, path, number)
    restored = restore_run.restore(workdir, stored.number)
    if sigma_rel is not None:
        average = restore_run.average_of_width(config, workdir, sigma_rel, stored.number)
        restored = restored._replace(variables={**restored.variables, "params": average})
    with writing(path):
        if path.suffix == model_folder.SUFFIX:
            _write_folder(path, workdir, config, stored, restored, workdir / eval_folder / f"ckpt_{stored.number}")
        else:
            export.write(path, jax.device_get(restored.variables["params"]))
    logging.info("the averaged parameters of checkpoint %d (step %d) -> %s", stored.number, restored.step, path)
    return stored.number


def prepare_export(
    config: ConfigDict, workdir: pathlib.Path, path: pathlib.Path, number: int | None = None
) -> tuple[ConfigDict, restore_run.About]:
    """Checks what is to be exported, and where to; the config to export, and the checkpoint.

    Errors: ValueError, FileExistsError, CheckpointError, see `export_checkpoint`.
    """
    if path.suffix != model_folder.SUFFIX:
        export.choose(path)
    check_file(path, f"--checkpoint={path}", new=True)
    default.name_imports(config)
    default.validate(config)
    stored = restore_run.about(workdir, number)
    return restore_run.config_to_use(config, stored.config, stored.spec, workdir), stored


def _write_folder(
    path: pathlib.Path,
    workdir: pathlib.Path,
    config: ConfigDict,
    stored: restore_run.About,
    restored: restore_run.Restored,
    report: pathlib.Path,
) -> None:
    """A model that stands alone, with its card; `report`: the folder of the checkpoint's evaluation, if it exists."""
    spec = stored.spec or spec_without_data(config) or DataSpec.of(Splits(config).train)
    about = {
        "checkpoint": restored.number,
        "step": restored.step,
        "data": spec.to_json(),
        FROZEN: restore_run.frozen_notes(workdir, stored.number),
    }
    measured = read_checkpoint(report / REPORT) if (report / REPORT).is_file() else None
    num_params = sum(leaf.size for leaf in jax.tree.leaves(restored.variables["params"]))
    sampler = describe(config) if config.system == "diffusion" else ""
    card = model_card(path.name, about, num_params, default.to_json(config), sampler, measured)
    extra = {model_folder.CARD: card.encode()}
    if measured is not None and measured.grid:
        extra[PICTURE] = measured.grid
    stored_config, write_guide = config.copy_and_resolve_references(), None
    if config.sampling.guide_workdir:
        stored_config.sampling.guide_workdir = model_folder.GUIDE
        write_guide = functools.partial(_write_guide, config)
    variables = jax.device_get(restored.variables)
    model_folder.write(path, variables, default.to_json(stored_config), about, workdir, extra, write_guide)


def _write_guide(config: ConfigDict, path: pathlib.Path) -> None:
    """The network that guides the samples, which comes with the model."""
    workdir = pathlib.Path(config.sampling.guide_workdir)
    stored = restore_run.about(workdir, config.sampling.guide_checkpoint)
    restored = restore_run.restore(workdir, stored.number)
    _write_folder(path, workdir, stored.config, stored, restored, workdir / "eval" / f"ckpt_{stored.number}")


def outline_of(config: ConfigDict) -> tuple[dict, list[str]]:
    """(shapes of the parameters, modules in the order of the published networks); see `outline`."""
    return outline(make_network(config), *example_inputs(config))


def _state(config: ConfigDict, imported: Imported) -> TrainState:
    """The training state; without moments in the file, Adam's are zero, as at the start."""
    tx, _ = make_optimizer(config)
    params = jax.tree.map(jnp.asarray, nest(imported.params))
    opt_state = optax.tree_utils.tree_set(jax.jit(tx.init)(params), _counts_steps, count=jnp.int32(imported.step))
    if imported.adam is not None and config.optim.optimizer in WITH_ADAMS_MOMENTS:
        adam = imported.adam
        opt_state = optax.tree_utils.tree_set(opt_state, _counts_moments, count=jnp.int32(adam.count))
        mu, nu = (_trained(config, nest(moments)) for moments in (adam.mu, adam.nu))
        opt_state = optax.tree_utils.tree_set(opt_state, mu=mu, nu=nu)
    state = TrainState(jnp.int32(imported.step), params, nest(imported.ema_params), opt_state)
    return with_averages(jax.tree.map(jnp.asarray, state), make_averages(config))


def _trained(config: ConfigDict, moments: dict[str, Any]) -> Any:
    """The moments of the parameters that `optim.frozen` leaves to be trained, as the optimizer's state has them."""
    mask = make_mask(config)
    if mask is None:
        return moments
    return jax.tree.map(lambda trained, leaf: leaf if trained else optax.MaskedNode(), mask(moments), moments)


def _counts_moments(path: tuple, leaf: object) -> bool:
    return getattr(path[-1], "tuple_name", "") == "ScaleByAdamState"


def _counts_steps(path: tuple, leaf: object) -> bool:
    return getattr(path[-1], "tuple_name", "") == "ScaleByScheduleState"


def _log_contents(config: ConfigDict, imported: Imported, path: pathlib.Path) -> None:
    """Logs the contents of the file, and which of its settings are not used."""
    size = sum(value.size for value in imported.params.values())
    logging.info("%s: %s, %s parameters, step %d", path, imported.kind, f"{size:,}", imported.step)
    if imported.adam is None:
        logging.warning("the file has no optimizer state; Adam's moments start at zero")
    elif config.optim.optimizer not in WITH_ADAMS_MOMENTS:
        logging.warning("the file has Adam's moments, which the optimizer %r does not use", config.optim.optimizer)
    settings = dict(default.flatten(config))
    for key, value in imported.settings.items():
        if not np.isclose(value, settings[key], rtol=1e-6):  # the file may store float32
            logging.warning("the file has %s = %g, but the config's %g is used", key, value, settings[key])


def checkpoint_number(path: pathlib.Path, step: int, snapshot_freq: int) -> int:
    """The number of the checkpoint; a warning is logged if a continued run would reach the same number again."""
    named = re.fullmatch(r"checkpoint_(\d{1,9})", path.stem)
    number = int(named[1]) if named else max(1, step // snapshot_freq)
    if number > step // snapshot_freq:
        logging.warning(
            "checkpoint %d is from step %d, but with config.training.snapshot_freq = %d the checkpoint of step %d "
            "would have the same number and will not be saved: remove checkpoint %d first, or train in a "
            "copy of the workdir",
            number, step, snapshot_freq, number * snapshot_freq, number,
        )  # fmt: skip
    return number


def import_command(given: Any) -> Callable[[], None]:
    """--mode=import. Errors: ValueError, OSError, CheckpointError for the config, the file and the workdir."""
    workdir = pathlib.Path(given.workdir)
    found = prepare_import(given.config, workdir, path_of(given, "checkpoint"))
    return lambda: _write_import(given.config, workdir, found)


def export_command(given: Any) -> Callable[[], None]:
    """--mode=export. Errors: ValueError, OSError, RunError for the config, the file and the checkpoint."""
    source, path = source_of(given), path_of(given, "checkpoint")
    if given.dry_run:
        prepare_export(given.config, source, path, given.number)
        return lambda: None
    export_checkpoint(given.config, source, path, given.number, given.sigma_rel, given.eval_folder)
    return lambda: print(f"-> {path}")
