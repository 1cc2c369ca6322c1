"""A user's own classes and functions, named by an import path `package.module:name`."""

import importlib
from typing import Any


def is_import_path(name: str) -> bool:
    """Whether `name` is an import path, and not a row of a table."""
    return ":" in name


def import_object(what: str, path: str, kind: str) -> Any:
    """The class or function with the import path `package.module:name`.

    `what` says what needs it and begins the errors; `kind` says what it is, such as "class". Errors: ValueError, one
    sentence, for a path of another form, a module that cannot be imported, or a name that it does not have.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ValueError(f"{what} {path!r} is not of the form package.module:{kind}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"{what} {path!r}: {module_name} cannot be imported ({error}); put the folder of the package on PYTHONPATH"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"{what} {path!r}: {module_name} has no {kind} {name}")
    return found
