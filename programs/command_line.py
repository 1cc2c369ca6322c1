"""What `main.py` says about itself, and about a command line that it cannot use."""

import importlib.metadata
import pathlib
import platform
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from absl import flags

from configs.default import KEYS
from configs.files import located
from configs.keys import unknown_key
from configs.sections import SECTIONS
from core.tables import nearest_path
from programs.flags import value_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
USAGE = """\
usage: python main.py --mode=MODE --config=FILE --workdir=DIR [--config.SECTION.KEY=VALUE ...]

  python main.py --mode=train --config=configs/subvp/digits_ddpmpp_continuous.py --workdir=runs/digits
  python main.py --mode=sample --workdir=runs/digits
  python main.py --mode=inspect --config=configs/subvp/photos_ddpmpp_continuous.py --config.data.dataset=folder:PATH
"""
HELP = """
Every setting of a config is a flag, such as --config.optim.lr=1e-4; docs/reference/configs.md lists them.
--mode=config shows those of a command, --dry_run checks a command without computing anything.
README.md has a tour, docs/ everything else. --helpshort lists all flags.
"""


class Program(NamedTuple):
    """A program of `main.py`: from flags to a function that runs it, and what it does, in a few words."""

    command: Callable[[flags.FlagValues], Callable[[], object]]
    help: str


def usage(programs: Mapping[str, Program]) -> str:
    """What is said where no flags are given."""
    return f"{USAGE}\nMODE is one of {', '.join(programs)}; --help says more."


def help_text(programs: Mapping[str, Program]) -> str:
    """What --help says."""
    modes = "\n".join(f"  {name:<9}{program.help}" for name, program in programs.items())
    return f"{USAGE}\nmodes:\n{modes}\n{HELP}"


def version() -> str:
    """Our version, and those of JAX and Python."""
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    jax = importlib.metadata.version("jax")
    return f"{ours['name']} {ours['version']} (JAX {jax}, Python {platform.python_version()}, {sys.platform})"


def with_located_config(argv: Sequence[str]) -> list[str]:
    """The command line, in which the path of --config is one that exists. Errors: ValueError."""
    given = value_of(argv, "config")
    if given is None:
        return list(argv)
    rest = [arg for k, arg in enumerate(argv) if not _is_config(arg) and not (k and argv[k - 1] in _BARE)]
    return [rest[0], f"--config={located(given)}", *rest[1:]]


_BARE = ("--config", "-config")


def _is_config(arg: str) -> bool:
    return arg.partition("=")[0] in _BARE


def check_settings(argv: Sequence[str]) -> None:
    """Errors: ValueError for a --config.KEY that does not exist, with the nearest one."""
    sections = {section for section in SECTIONS if section}
    for arg in argv[1:]:
        name = arg.lstrip("-").partition("=")[0].removesuffix("!")
        key = name.removeprefix("noconfig.").removeprefix("config.")
        if arg.startswith("-") and name != key and key not in KEYS and key not in sections:
            raise unknown_key(key, KEYS)


def check_mode(argv: Sequence[str], programs: Collection[str]) -> None:
    """Errors: ValueError where no --mode is given."""
    if value_of(argv, "mode") is None:
        meant = next((arg for arg in argv[1:] if arg in programs), "train")
        raise ValueError(f"--mode is missing; give one of {', '.join(programs)}, such as --mode={meant}.")


def unknown_flag(error: flags.UnrecognizedFlagError, known: Collection[str]) -> str:
    """The sentence for a flag that does not exist, with the nearest flag or setting."""
    name = error.flagname.lstrip("-")
    found = nearest_path(name, [*known, *(f"config.{key}" for key in KEYS)], ".")
    what = "setting" if found.startswith("config.") else "flag"
    return f"{error.flagvalue or '--' + name} is not a flag; the nearest {what} is --{found}."
