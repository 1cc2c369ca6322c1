"""A user's function as features, named by its import path."""

import hashlib
import inspect
import sys
from types import ModuleType

from core.imports import import_object
from evaluation.features.base import Extractor


def imported(path: str) -> Extractor:
    """The function with the import path `package.module:function`.

    It takes images [B, H, W, C] uint8 and returns {"features": [B, D]}, optionally with "logits": [B, K]. Its hash is
    its attribute `hash`, a string, if it has one, and otherwise that of the source file that defines it; a function
    that reads weights should include their hash. Errors: ValueError, one sentence, if the path does not resolve.
    """
    function, module = import_object("feature function", path, "function"), sys.modules[path.partition(":")[0]]
    own_hash = getattr(function, "hash", None)
    return Extractor(path, own_hash if isinstance(own_hash, str) else _source_hash(path, module), function)


def _source_hash(path: str, module: ModuleType) -> str:
    """SHA-256 of the source of `module`."""
    try:
        return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()
    except (OSError, TypeError) as error:
        raise ValueError(f"feature function {path!r} has neither a source file nor an attribute hash") from error
