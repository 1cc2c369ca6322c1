"""NCSN: the RefineNet of NCSNv2 with instance normalization conditioned on the noise level."""

from models.networks.ncsnv2 import NCSNv2


class NCSN(NCSNv2):
    """Score network for a short sequence of noise levels: NCSNv2 with every normalization conditioned on the level.

    time: int [B], the level, from 0, the most noise, to `num_classes` - 1. Norms also precede the activations in the
    RCUs, the (mean) pooling in the CRPs and the convolutions in the MSFs, and by default the output is not divided by
    sigma.

    Source: Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", 2019, appendix A.
    Errors: ValueError for an unknown choice or an invalid shape.
    Notes: the published JAX version stops in its first down block, where the second norm is not given the labels.
    """

    num_classes: int = 10
    scale_by_sigma: bool = False
