"""The SDE or chain that a config describes."""

from collections.abc import Callable

from ml_collections import ConfigDict

from core.tables import choose
from sde.base import SDE
from sde.chain import ddpm_chain, smld_chain
from sde.cosine import Cosine
from sde.edm import EDM
from sde.subvp import SubVP
from sde.ve import VE
from sde.vp import VP


def make_sde(config: ConfigDict) -> SDE:
    """The SDE of the experiment; with `training.continuous = False` the chain of `model.num_scales` levels."""
    model = config.model
    table = SDES if config.training.continuous else CHAINS
    if not config.training.continuous and config.training.sde == "subvpsde":
        raise ValueError("config.training.continuous = False has no meaning for subvpsde; use vpsde or vesde, or True.")
    return choose("training.sde", config.training.sde, table)(model)


SDES: dict[str, Callable[[ConfigDict], SDE]] = {
    "vpsde": lambda model: VP(model.beta_min, model.beta_max),
    "subvpsde": lambda model: SubVP(model.beta_min, model.beta_max),
    "vesde": lambda model: VE(model.sigma_min, model.sigma_max),
    "edm": lambda model: EDM(model.sigma_max),
    "cosine": lambda model: Cosine(model.log_snr_min, model.log_snr_max),
}


NOISE_LEVEL_AS_TIME = ("vesde", "edm")  # their networks are told sigma


CHAINS: dict[str, Callable[[ConfigDict], SDE]] = {
    "vpsde": lambda model: ddpm_chain(model.beta_min, model.beta_max, model.num_scales),
    "vesde": lambda model: smld_chain(model.sigma_min, model.sigma_max, model.num_scales),
}
