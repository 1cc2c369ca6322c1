"""Lines in the log about what a reader leaves out."""

import functools
import logging


@functools.lru_cache(maxsize=10_000)
def warn_once(message: str) -> None:
    """A warning in the log, the first time that it is given."""
    logging.warning("%s", message)
