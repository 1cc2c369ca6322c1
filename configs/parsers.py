"""How the value of a setting is read from a command line: as its type says, and `None` unsets it."""

from typing import Any

from absl import flags
from ml_collections import config_flags

UNSET = "None"


class OrUnset(flags.ArgumentParser):
    """A parser that also reads `None`; which settings may be unset is up to `configs.validation`."""

    def __init__(self, parser: flags.ArgumentParser):
        self._parser = parser
        self.syntactic_help = parser.syntactic_help

    def parse(self, argument: Any) -> Any:
        """The value of an argument. Errors: ValueError for one of another type."""
        return None if argument == UNSET else self._parser.parse(argument)

    def flag_type(self) -> str:
        """The name of the type."""
        return self._parser.flag_type()


def register() -> None:
    """Makes `--config.KEY=None` unset numbers and texts, in every program that has flags of a config."""
    for kind, parser in (
        (int, flags.IntegerParser()),
        (float, flags.FloatParser()),
        (str, flags.ArgumentParser()),
        (bool, flags.BooleanParser()),
    ):
        config_flags.register_flag_parser_for_type(kind, OrUnset(parser))
