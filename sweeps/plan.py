"""From a sweep file to runs, all of them checked before any starts."""

import hashlib
import importlib.util
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from configs import default, parsers
from configs.files import describe, make_importable
from configs.keys import unknown_key
from core.files import damaged_file, read_json, write_json
from sweeps.overrides import Overrides, Sweep
from sweeps.runs import Run

parsers.register()
PLAN = "sweep.json"  # in the root: the runs of the sweep, for --status and --report
# Without these, the state of a run could not be told.
_COUNTS = ("training.snapshot_freq", "training.n_iters", "training.batch_size", "eval.begin_ckpt", "eval.end_ckpt")
_READABLE = 60  # characters of a folder's name beside its hash


def read_sweep(path: pathlib.Path) -> Sweep:
    """The overrides that `get_sweep()` in the file at `path` returns.

    Errors: ValueError, one sentence, if the file or the function is missing, or returns no runs.
    """
    found = importlib.util.spec_from_file_location("sweep_file", path)
    if found is None or found.loader is None or not path.is_file():
        raise ValueError(f"--sweep={path} is not a Python file; give one such as configs/sweeps/digits.py.")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
        sweep = module.get_sweep()
    except Exception as error:  # any error of the user's code
        raise ValueError(f"--sweep={path} cannot be read: {type(error).__name__}: {_one_line(error)}") from error
    if not isinstance(sweep, list | tuple) or not sweep or not all(isinstance(run, Mapping) for run in sweep):
        raise ValueError(
            f"get_sweep() of {path} returned {str(sweep)[:80]!r}, but it must return a list of at least one dict "
            "from config keys to values."
        )
    return [dict(run) for run in sweep]


def plan(
    config: str, given: Sequence[str], sweep: Sweep, root: pathlib.Path, model: pathlib.Path | None = None
) -> list[Run]:
    """A run for each of the overrides, with the config `config` and the flags `given` (--config.KEY=VALUE).

    `model`: a model that stands alone, which every run evaluates instead of training its own.
    Every run's config goes through the same parser and checks as in `main.py`. Errors: ValueError, one sentence, for
    any error in a run, and for two equal runs.
    """
    if not pathlib.Path(config).is_file():
        raise ValueError(f"--config={config} is not a file; give one of configs/.")
    start = (f"--config={pathlib.Path(config).resolve()}", *given)
    configured(start)  # an error of all runs is none of the first
    runs: dict[str, Run] = {}
    for number, overrides in enumerate(sweep):
        try:
            run = _planned(start, overrides, root, model)
        except ValueError as error:
            raise ValueError(f"Run {number} of the sweep, {overrides}: {error}") from error
        whole = json.dumps(run.config, sort_keys=True)
        if whole in runs:
            raise ValueError(f"Run {number} of the sweep, {overrides}, equals another one, {runs[whole].overrides}.")
        runs[whole] = run
    return list(runs.values())


def _planned(start: Sequence[str], overrides: Overrides, root: pathlib.Path, model: pathlib.Path | None) -> Run:
    arguments = (*start, *(f"--config.{key}={value}" for key, value in overrides.items()))
    config = dict(default.flatten(default.to_json(configured(arguments))))
    for key, value in overrides.items():
        if json.loads(json.dumps(value)) != config[key]:
            raise ValueError(f"config.{key} cannot be {value!r} on a command line, where it would be {config[key]!r}.")
    typed = {key: config[key] for key in overrides}
    given = None if model is None else str(model.absolute())
    return Run(root.absolute(), name_of(typed), typed, arguments, config, given)


def configured(arguments: Sequence[str]) -> ConfigDict:
    """The config of `main.py` with these flags. Errors: ValueError, one sentence."""
    known = dict(default.flatten(default.get_config()))
    for argument in arguments:
        key = argument.removeprefix("--config.").split("=")[0].removesuffix("!")
        if argument.startswith("--config.") and key not in known:
            raise unknown_key(key, known)
        if argument.startswith("--config="):
            make_importable(argument.partition("=")[2])
    values, argv = flags.FlagValues(), ["main.py", *arguments]
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True, sys_argv=argv)
    try:
        values(argv)
        config: ConfigDict = values["config"].value
        default.validate(config.lock())  # a file that could not be read is only told when it is used
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(describe(error)) from error
    return config


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def name_of(overrides: Mapping[str, Any]) -> str:
    """The folder of a run: its overrides, abbreviated, and a hash of them: `lr=0.001,seed=3-5f2a09c1`.

    It depends only on the overrides, so that runs can be added to a sweep.
    """
    last = [key.rpartition(".")[2] for key in overrides]
    short = {key: name if last.count(name) == 1 else key for key, name in zip(overrides, last, strict=True)}
    shown = ",".join(f"{short[key]}={_shown(value)}" for key, value in overrides.items()) or "base"
    whole = hashlib.sha256(json.dumps(dict(overrides), sort_keys=True).encode()).hexdigest()
    return f"{shown[:_READABLE].rstrip(',.-=')}-{whole[:8]}"


def _shown(value: Any) -> str:
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-")


def save(root: pathlib.Path, config: str, runs: Sequence[Run], with_eval: bool) -> None:
    """Writes the runs of the sweep to `root`.

    Errors: ValueError if `root` holds a sweep of another config, or cannot be written.
    """
    path, begun = root / PLAN, str(pathlib.Path(config).resolve())
    before = str(_stored(root).get("config", begun)) if path.exists() else begun
    if pathlib.Path(before).name != pathlib.Path(begun).name:
        raise ValueError(f"--root={root} holds a sweep of {before}, not of {begun}; give another --root.")
    listed = [
        {"name": r.name, "overrides": r.overrides, "arguments": r.arguments, "config": r.config, "model": r.model}
        for r in runs
    ]
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_json(path, {"config": begun, "eval": with_eval, "runs": listed})
    except OSError as error:
        raise ValueError(f"--root={root} cannot be written ({error.strerror}); give another --root.") from error


def load(root: pathlib.Path) -> tuple[list[Run], bool]:
    """The runs of the sweep in `root`, and whether they are evaluated. Errors: ValueError, one sentence."""
    stored = _stored(root)
    try:
        return [_run(root.absolute(), **run) for run in stored["runs"]], bool(stored["eval"])
    except (LookupError, TypeError, ValueError) as error:
        raise damaged_file(root / PLAN, "holds no sweep") from error


def _run(root: pathlib.Path, name: str, overrides: Any, arguments: Any, config: Any, model: Any = None) -> Run:
    """A run as it is stored. Errors: LookupError, TypeError, ValueError for other contents."""
    is_folder = name not in ("", "..") and pathlib.PurePath(name).name == name
    if not is_folder or not arguments or not all(isinstance(given, str) for given in arguments):
        raise ValueError("a run is a folder in the root, with arguments")
    if any(type(config[key]) is not int or config[key] < 0 for key in _COUNTS) or not config[_COUNTS[0]]:
        raise ValueError("a run has numbers of steps and checkpoints")
    if not isinstance(model, str | None):
        raise ValueError("a model is a path")
    return Run(root, name, dict(overrides), tuple(arguments), {str(key): value for key, value in config.items()}, model)


def _stored(root: pathlib.Path) -> dict[str, Any]:
    try:
        return read_json(root / PLAN)
    except FileNotFoundError:
        raise ValueError(f"--root={root} holds no sweep; give the --root of one that was started.") from None
