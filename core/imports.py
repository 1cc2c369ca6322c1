"""A user's own classes and functions, named by an import path `package.module:name`.

Only what the user names is imported: on the command line, in a config file, or in a config made in Python. A path that
a checkpoint names and the user does not is refused, since its author could name any function there is, such as
`os:system`. What was named, and by whom, is kept for the life of the process.
"""

import importlib
import re
from typing import Any

_FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_named: set[str] = set()  # by the user
_stored: set[str] = set()  # by a file, and not by the user


def named_by_user(path: Any) -> None:
    """Says that a user names a path, which may then be imported; of other values nothing is kept."""
    if isinstance(path, str) and _FORM.fullmatch(path):
        _named.add(path)
        _stored.discard(path)


def named_by_file(path: Any) -> None:
    """Says that a file names a path, which is then only imported if the user names it, too."""
    if isinstance(path, str) and _FORM.fullmatch(path) and path not in _named:
        _stored.add(path)


def is_from_file(path: Any) -> bool:
    """Whether a file names a path and the user does not."""
    return path in _stored


def is_import_path(name: str) -> bool:
    """Whether `name` is an import path, and not a row of a table."""
    return ":" in name


def import_object(what: str, path: str, kind: str) -> Any:
    """The class or function with the import path `package.module:name`.

    `what` says what needs it and begins the errors; `kind` says what it is, such as "class". Errors: ValueError, one
    sentence, for a path of another form, a module that cannot be imported, a name that it does not have, or a path
    that only a file names.
    """
    if is_from_file(path):
        raise ValueError(
            f"{what} {path!r} is code that a checkpoint names, which is not run unasked; if you trust it, give the "
            f"same setting on the command line, or --allow_code={path}."
        )
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
