"""The kinds of model, and which one a config describes."""

from ml_collections import ConfigDict

from core.imports import import_object, is_import_path
from core.tables import choose
from systems.adaptive_noise import AdaptiveNoiseDiffusion
from systems.autoregressive import AutoregressiveSystem
from systems.base import Context, System
from systems.categorical import CategoricalDiffusion
from systems.causal_diffae import CausalDiffAE
from systems.classifier import Classifier
from systems.diffusion import Diffusion
from systems.latent import Latent, is_latent
from systems.mmar import MMAR
from systems.resgen import ResGen
from systems.tokenizer import TokenizerSystem

SYSTEMS: dict[str, type[System]] = {
    "diffusion": Diffusion,
    "classifier": Classifier,
    "categorical": CategoricalDiffusion,
    "tokenizer": TokenizerSystem,
    "causal_diffae": CausalDiffAE,
    "mmar": MMAR,
    "resgen": ResGen,
    "adaptive_noise": AdaptiveNoiseDiffusion,
    "autoregressive": AutoregressiveSystem,
}


def system_class(config: ConfigDict) -> type[System]:
    """The class that `config.system` names: a row of `SYSTEMS`, or a user's own by its import path.

    Errors: ValueError, one sentence, where there is no such class.
    """
    name = config.system
    if not is_import_path(name):
        return choose("system", name, SYSTEMS)
    found = import_object("config.system =", name, "Class")
    if not (isinstance(found, type) and issubclass(found, System)):
        raise ValueError(f"config.system = {name!r} is not a class that inherits from systems.base.System.")
    return found


def make_system(context: Context) -> System:
    """The system of a config, on the codes of a tokenizer where it names one; see `systems.latent`.

    Errors: ValueError, one sentence, for a setting that does not fit.
    """
    kind = system_class(context.config)
    system = Latent(context, kind) if is_latent(context.config, kind) else kind(context)
    system.check()
    return system
