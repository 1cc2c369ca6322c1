"""How evenly a codebook is used."""

import numpy as np

from evaluation.metrics.base import Codes, Inputs, Metric, column
from reports.records import Estimate


def usage(codes: Codes) -> Estimate:
    """The share of the codebook that occurs in tokens [N, ...]; without an error bar."""
    share = len(np.unique(codes.tokens)) / codes.num_codes
    return Estimate(share, float("nan"), "none", 0, 0, details={"num_tokens": codes.tokens.size})


def perplexity(codes: Codes) -> Estimate:
    """exp(-sum_k p_k ln p_k) of the shares p_k of the codes: the number of codes, if all were used equally often.

    Details: the entropy of the marginal distributions of each position, in bits per token, which a model of the tokens
    has to be better than. The error bar is that of the plug-in entropy, by the delta method.
    """
    tokens = codes.tokens.reshape(len(codes.tokens), -1)
    p = np.bincount(tokens.ravel(), minlength=codes.num_codes) / tokens.size
    entropy, variance = _entropy(p)
    each = [_entropy(np.bincount(column, minlength=codes.num_codes) / len(tokens))[0] for column in tokens.T]
    value = float(np.exp(entropy))
    error = value * float(np.sqrt(variance / tokens.size))
    details = {"bits_per_token": entropy / np.log(2), "marginal_bits_per_token": float(np.mean(each) / np.log(2))}
    return Estimate(value, error, "delta method", 0, 0, details=details)


def _entropy(p: np.ndarray) -> tuple[float, float]:
    """The entropy in nats of a distribution [K], and the variance of ln p."""
    logs = np.log(np.where(p > 0, p, 1.0))
    entropy = -float(np.sum(p * logs))
    return entropy, max(float(np.sum(p * logs**2)) - entropy**2, 0.0)


def _usage(given: Inputs) -> dict[str, Estimate]:
    assert given.codes is not None
    return {"usage": usage(given.codes)}


def _perplexity(given: Inputs) -> dict[str, Estimate]:
    assert given.codes is not None
    return {"perplexity": perplexity(given.codes)}


USAGE = Metric(_usage, ("codes",), 1, column("codes in use", "higher"))
PERPLEXITY = Metric(_perplexity, ("codes",), 1, column("perplexity", "higher"))
