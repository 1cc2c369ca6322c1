"""How evenly a codebook is used."""

import numpy as np
import pytest

from evaluation.metrics.base import Codes
from evaluation.metrics.table import measure


def test_codes_that_are_used_equally_often_have_the_perplexity_of_their_number():
    tokens = np.tile(np.arange(6), 20).reshape(-1, 3, 1)
    found = measure(codes=Codes(tokens, 8), names=("usage", "perplexity"))
    assert found["usage"].value == 6 / 8
    assert found["perplexity"].value == pytest.approx(6)
    assert found["perplexity"].error == pytest.approx(0, abs=1e-6)


def test_the_marginal_entropy_is_that_of_each_position():
    tokens = np.stack([np.zeros(40, int), np.arange(40) % 4], axis=1)
    details = measure(codes=Codes(tokens, 4), names=("perplexity",))["perplexity"].details
    assert details["marginal_bits_per_token"] == pytest.approx((0 + 2) / 2)
    p = np.array([5, 1, 1, 1]) / 8
    assert details["bits_per_token"] == pytest.approx(-np.sum(p * np.log2(p)))


def test_the_error_bar_is_the_spread_over_samples():
    p, rng = np.array([0.6, 0.3, 0.1]), np.random.default_rng(0)
    each = [measure(codes=Codes(rng.choice(3, (500, 1), p=p), 3), names=("perplexity",)) for _ in range(200)]
    values = np.array([found["perplexity"].value for found in each])
    error = np.mean([found["perplexity"].error for found in each])
    assert error == pytest.approx(values.std(), rel=0.2)  # the deviation of 200 values is known to 5 %


def test_without_tokens_the_metric_says_what_is_missing():
    with pytest.raises(ValueError, match="metric usage needs tokens of examples"):
        measure(names=("usage",))
