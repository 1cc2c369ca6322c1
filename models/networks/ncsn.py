"""NCSN: the RefineNet of NCSNv2 with instance normalisation conditional on the noise level."""

from models.networks.ncsnv2 import NCSNv2


class NCSN(NCSNv2):
    """Score network for a short ladder of noise levels: as NCSNv2, but every normalisation knows the level.

    time: int [B], the level, 0 the most noise, below `num_classes`, the number of noise levels. Norms also precede the
    activations in the RCUs, the (mean) pooling in the CRPs and the convolutions in the MSFs, and the output is not
    divided by sigma unless asked.

    Source: Song and Ermon, "Generative Modeling by Estimating Gradients of the Data Distribution", 2019, appendix A.
    Errors: ValueError for a choice or a shape that the network does not have.
    Notes: the published JAX version stops in its first down block, where the second norm is not given the labels.
    """

    num_classes: int = 10
    scale_by_sigma: bool = False
