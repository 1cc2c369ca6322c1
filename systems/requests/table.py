"""What can be asked of a score model by `--mode=sample`, by the name of the task."""

from builders import inverse
from systems.requests.anomaly import Anomaly, anomaly
from systems.requests.base import Input, RequestTask
from systems.requests.conditioned import Conditioned, conditioned
from systems.requests.edit import Edit, edit
from systems.requests.generate import UNCONDITIONAL, ByClass, by_class
from systems.requests.latent import Decoding, Interpolation, decoding, encoding, interpolation
from systems.requests.measurements import MaskedRestoration, Restoration
from systems.requests.refine import Refinement, refinement
from systems.requests.restore import restoration
from systems.requests.segment import Segment, segment
from systems.requests.series import Filling, forecast, impute
from systems.requests.synthesize import Synthesis, synthesis
from systems.requests.translate import Translation, translation

REQUESTS: dict[str, RequestTask] = {
    "unconditional": UNCONDITIONAL,
    "class": RequestTask(ByClass, by_class),
    "conditioned": RequestTask(Conditioned, conditioned),
    **{
        task: RequestTask(MaskedRestoration if task in inverse.MASKED else Restoration, restoration)
        for task in inverse.OPERATORS
    },
    "edit": RequestTask(Edit, edit),
    "anomaly": RequestTask(Anomaly, anomaly),
    "segment": RequestTask(Segment, segment),
    "forecast": RequestTask(Filling, forecast),
    "impute": RequestTask(Filling, impute),
    "refine": RequestTask(Refinement, refinement),
    "synthesize": RequestTask(Synthesis, synthesis),
    "interpolate": RequestTask(Interpolation, interpolation),
    "encode": RequestTask(Input, encoding),
    "translate": RequestTask(Translation, translation),
    "decode": RequestTask(Decoding, decoding),
}
