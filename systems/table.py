"""The kinds of model, and which one a config describes."""

from ml_collections import ConfigDict

from builders.network import is_classifier
from systems.base import Context, System
from systems.classifier import Classifier
from systems.diffusion import Diffusion

SYSTEMS: dict[str, type[System]] = {"diffusion": Diffusion, "classifier": Classifier}


def system_name(config: ConfigDict) -> str:
    """The entry of `SYSTEMS` that a config describes."""
    return "classifier" if is_classifier(config) else "diffusion"


def make_system(context: Context) -> System:
    """The system of a config. Errors: ValueError, one sentence, for a setting that does not fit."""
    return SYSTEMS[system_name(context.config)](context)
