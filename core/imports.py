"""Objects named by their import path, `package.module:name`, by which users bring code of their own."""

import importlib
from types import ModuleType
from typing import Any


def is_path(name: str) -> bool:
    """Whether a name is an import path instead of a row of a table."""
    return ":" in name


def imported(path: str, what: str, kind: str = "function") -> tuple[ModuleType, Any]:
    """The module and the object that `path` names; the module is imported.

    what: what the object is to be, and `kind`, a function or a class, for the errors.
    Errors: ValueError, one sentence, if the path does not resolve to something that can be called.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ValueError(f"{what} {path!r} is not of the form package.module:{kind}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{what} {path!r}: {module_name} cannot be imported ({error})") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"{what} {path!r}: {module_name} has no {kind} {name}")
    return module, found
