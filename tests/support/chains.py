"""The SDE of published samplers."""

import dataclasses

from sde.base import SDE


@dataclasses.dataclass(frozen=True)
class Published(SDE):
    """The mixture that published samplers use: marginals of the continuous SDE, transitions of its chain."""

    limit: SDE
    chain: SDE

    def drift_coeff(self, t):
        return self.limit.drift_coeff(t)

    def diffusion(self, t):
        return self.limit.diffusion(t)

    def mean_coeff(self, t):
        return self.limit.mean_coeff(t)

    def std(self, t):
        return self.limit.std(t)

    @property
    def prior_std(self):
        return self.limit.prior_std

    def transition(self, s, t):
        return self.chain.transition(s, t)
