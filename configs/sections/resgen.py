"""Settings of models of residual tokens (`config.system = "resgen"`)."""

from configs.checks import POSITIVE, one_of
from configs.keys import Key

NEEDS = "system=resgen"

KEYS = {
    "head": Key(
        "mixture",
        "What is predicted: the sum of the masked codes of a position by a `mixture` of normal distributions, each "
        "masked token by itself (`independent`), or one token after the other (`autoregressive`).",
        one_of("mixture", "independent", "autoregressive"),
        changes="model",
        needs=NEEDS,
    ),
    "num_components": Key(
        16, "`mixture`: normal distributions of a position.", POSITIVE, changes="model", needs="resgen.head=mixture"
    ),
    "rank": Key(
        16,
        "`mixture`: size of the projection that means and deviations of all components are linear functions of.",
        POSITIVE,
        changes="model",
        needs="resgen.head=mixture",
    ),
}
