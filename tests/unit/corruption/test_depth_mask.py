"""Masks of the deepest tokens: how many of each position, what a step of a sampler costs, and the bound."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from corruption import mixture, residual
from corruption.depth_mask import DepthMask, IndependentTokens, SummedTokens, chosen_counts, masked_counts
from corruption.predictions import Categorical, Mixture
from corruption.schedules import Polynomial
from corruption.terms import discrete

POSITIONS, DEPTH, K = 3, 2, 4
SLOTS = [(i, j) for i in range(POSITIONS) for j in range(DEPTH)]


def of_subsets(n):
    """The probability of each count [POSITIONS] if n of the slots are chosen at random, by enumeration."""
    found = {}
    for chosen in itertools.combinations(SLOTS, n):
        counts = tuple(sum(i == position for i, _ in chosen) for position in range(POSITIONS))
        found[counts] = found.get(counts, 0) + 1 / math.comb(len(SLOTS), n)
    return found


def process(tokens=None):
    return DepthMask(K, Polynomial(1.0), tokens or IndependentTokens(K))


@functools.cache
def corrupted(num=3000):
    """For each n of 1 ... 6, `num` corruptions of an example."""
    n = np.repeat(np.arange(1, 7), num)
    x0 = jnp.broadcast_to(jnp.arange(6).reshape(1, POSITIONS, DEPTH) % K, (len(n), POSITIONS, DEPTH))
    keys = example_keys(jax.random.key(0), len(n))
    x, _ = jax.jit(process().corrupt)(keys, x0, jnp.asarray(n / 6, jnp.float32))
    return np.asarray(x).reshape(6, num, POSITIONS, DEPTH), np.asarray(x0[0])


def test_counts_of_all_orders_of_the_tokens_are_hypergeometric():
    """Every permutation of scores once, so that the distribution is exact."""
    scores = jnp.asarray(list(itertools.permutations(range(6))), jnp.float32).reshape(-1, POSITIONS, DEPTH)
    choose = jax.jit(chosen_counts)
    for n in range(7):
        counts = choose(scores, jnp.full((len(scores), POSITIONS), DEPTH), jnp.full(len(scores), n))
        values, times = np.unique(counts, axis=0, return_counts=True)
        expected = of_subsets(n)
        assert {tuple(map(int, value)) for value in values} == expected.keys()
        for value, number in zip(values, times, strict=True):
            assert number / 720 == pytest.approx(expected[tuple(map(int, value))], abs=1e-12)


def test_corrupted_examples_have_these_counts():
    x, _ = corrupted()
    for n in range(1, 7):
        counts = (x[n - 1] == K).sum(axis=-1)
        for value, share in of_subsets(n).items():
            found = np.mean((counts == value).all(axis=-1))
            assert found == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / len(counts)) + 1e-9)  # 5 errors


def test_deeper_tokens_are_always_masked_before_shallower_ones():
    x, x0 = corrupted()
    masked = x == K
    assert (masked[..., 1:] >= masked[..., :-1]).all()
    np.testing.assert_array_equal(np.where(masked, x0, x), np.broadcast_to(x0, x.shape))
    np.testing.assert_array_equal(masked.sum(axis=(2, 3)), np.broadcast_to(np.arange(1, 7)[:, None], masked.shape[:2]))


def test_the_number_of_masked_tokens_is_rounded_up_but_not_by_rounding_errors():
    t = jnp.asarray([0.0, 1e-3, 1 / 3, 0.34, 1.0])
    np.testing.assert_array_equal(process().num_masked(t, 6), [0, 1, 2, 3, 6])


class GivenNats:
    """Tokens with the costs `nats` [B, L, D]."""

    def __init__(self, nats):
        self.given = nats

    def nats(self, prediction, x0, x):
        return self.given


@pytest.mark.parametrize("counts", [(2, 1, 0), (2, 2, 2), (1, 1, 1), (0, 2, 0)])
def test_a_step_costs_what_it_shows_on_average_over_which_tokens_it_shows(counts):
    nats = np.random.default_rng(0).uniform(1, 2, size=(1, POSITIONS, DEPTH)).astype(np.float32)
    own = process(GivenNats(jnp.asarray(nats)))
    x = own.hidden(jnp.zeros((1, POSITIONS, DEPTH), jnp.int32), jnp.asarray([counts]))
    slots = [(i, j) for i, k in enumerate(counts) for j in range(k)]
    for n_next in range(len(slots)):
        expected, subsets = 0.0, list(itertools.combinations(slots, len(slots) - n_next))
        for shown in subsets:
            for i, k in enumerate(counts):
                m = sum(position == i for position, _ in shown)
                expected += nats[0, i, DEPTH - k : DEPTH - k + m].sum() / len(subsets)
        found = own.step_nats(None, None, x, jnp.ones(1), jnp.full(1, n_next / 6))
        assert float(found[0]) == pytest.approx(expected, rel=1e-4)  # of logarithms of factorials in float32


VECTORS = jnp.asarray([[[-1.0], [1.2]], [[-0.4], [0.3]]])  # two levels of two codes in one dimension
STATES = list(itertools.product(range(2), repeat=4))  # of two positions


def mixture_of(x):
    """A prediction that depends on what is known: two components around what the other position has."""
    known = residual.total(VECTORS, x)[:, ::-1]
    mean = jnp.stack([0.3 * known - 0.8, 0.2 * known + 0.9], axis=-2)
    return Mixture(jnp.stack([known[..., 0], -known[..., 0]], axis=-1), mean, jnp.full(mean.shape, -0.7))


def probabilities(x):
    """P(masked tokens of each position | x) by integration over a fine grid: [2 positions, 2, 2] for one state x."""
    grid = jnp.linspace(-8, 8, 40_001)
    found, counts = mixture_of(jnp.asarray([x])), masked_counts(jnp.asarray([x]), 2)
    z = jnp.broadcast_to(grid[:, None, None], (len(grid), 2, 1))
    density = np.exp(mixture.log_density(Mixture(*(jnp.broadcast_to(a, (len(grid), *a.shape[1:])) for a in found)), z))
    tokens = residual.quantized(VECTORS, z, jnp.broadcast_to(2 - counts, (len(grid), 2)))
    table = np.zeros((2, 2, 2))
    for i in range(2):
        np.add.at(table[i], tuple(np.asarray(tokens[:, i]).T), density[:, i] * (16 / 40_000))
    return table


def exact_nats(tokens, times):
    """-ln p of a sample in rounds at these times, by all paths of the numbers of masked tokens: tokens (2, 2)."""
    n = [math.ceil(4 * t - 1e-6) for t in reversed(times)]

    def hidden(counts):
        return tuple(tuple(2 if j >= 2 - counts[i] else tokens[i][j] for j in range(2)) for i in range(2))

    paths = {(2, 2): 1.0}
    for after in n[1:]:
        following = {}
        for counts, weight in paths.items():
            table = probabilities(hidden(counts))
            slots = [i for i in range(2) for _ in range(counts[i])]
            stays = list(itertools.combinations(range(len(slots)), after))
            for stay in stays:
                left = tuple(sum(slots[s] == i for s in stay) for i in range(2))
                p = weight / len(stays)
                for i in range(2):
                    first, last = 2 - counts[i], 2 - left[i]
                    shown = [slice(None)] * 2
                    for j in range(first, last):
                        shown[j] = tokens[i][j]
                    shown = [0 if j < first else index for j, index in enumerate(shown)]
                    p *= table[i][tuple(shown)].sum() if last > first else 1.0
                following[left] = following.get(left, 0.0) + p
        paths = following
    return -math.log(paths[0, 0])


def test_the_bound_of_a_mixture_is_above_what_its_samples_cost():
    own = DepthMask(2, Polynomial(1.0), SummedTokens(VECTORS))
    times, states = (0.0, 0.5, 1.0), [(0, 0, 0, 1), (1, 0, 0, 1), (1, 1, 0, 0)]
    num = 1000
    x0 = jnp.repeat(jnp.asarray(states).reshape(-1, 2, 2), num, axis=0)
    term = jax.jit(lambda keys, x0, u: discrete(own, times)(lambda x, t: mixture_of(x), keys, x0, u))
    nats = term(example_keys(jax.random.key(3), len(x0)), x0, (jnp.arange(len(x0)) + 0.5) / num % 1.0)
    for state, bound in zip(states, np.asarray(nats).reshape(-1, num).mean(axis=1), strict=True):
        exact = exact_nats((state[:2], state[2:]), times)
        assert exact < bound < exact + 6


@pytest.mark.parametrize("radius", [1e-3, 0.2, 0.6])
def test_the_probability_of_a_ball_is_bounded_and_nearly_that_of_a_small_one(radius):
    """In one dimension the ball is an interval, whose probability is a difference of distribution functions."""
    weights, mean, std, z = np.array([0.3, 0.7]), np.array([-0.5, 0.8]), np.array([0.4, 0.9]), 0.2
    given = Mixture(
        *(jnp.asarray(a, jnp.float32)[None] for a in (np.log(weights), mean[:, None], np.log(std)[:, None]))
    )
    parts = list(zip(weights, mean, std, strict=True))

    def cdf(y):
        return sum(w * 0.5 * (1 + math.erf((y - m) / s / 2**0.5)) for w, m, s in parts)

    exact = -math.log(cdf(z + radius) - cdf(z - radius))
    found = float(mixture.ball_nats(given, jnp.full((1, 1), z), jnp.full(1, radius))[0])
    assert exact - 1e-3 <= found <= exact + radius**2  # rounding of a difference of 1e-3 in float64 and float32
    density = sum(w / s * math.exp(-0.5 * ((z - m) / s) ** 2) for w, m, s in parts)
    value = float(mixture.log_density(given, jnp.full((1, 1), z))[0])
    assert value == pytest.approx(math.log(density / (2 * math.pi) ** 0.5), rel=1e-5)


def test_samples_of_a_mixture_have_its_moments():
    num = 4000
    given = (np.log([0.25, 0.75]), np.array([[-1.0, 0.0], [1.0, 2.0]]), np.log([[0.5, 0.1], [0.2, 0.3]]))
    stacked = Mixture(*(jnp.broadcast_to(jnp.asarray(a, jnp.float32), (num, *a.shape)) for a in given))
    z = np.asarray(jax.jit(mixture.draw)(example_keys(jax.random.key(4), num), stacked))
    mean = np.exp(given[0]) @ given[1]
    second = np.exp(given[0]) @ (given[1] ** 2 + np.exp(2 * given[2]))
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=5 * np.sqrt((second - mean**2).max() / num))
    np.testing.assert_allclose((z**2).mean(axis=0), second, rtol=0.1)


def test_independent_tokens_cost_their_own_log_probability_where_they_are_masked():
    log_probs = jax.nn.log_softmax(jax.random.normal(jax.random.key(5), (1, POSITIONS, DEPTH, K)))
    x0 = jnp.asarray([[[0, 1], [2, 3], [1, 1]]])
    x = process().hidden(x0, jnp.asarray([[0, 1, 2]]))
    found = np.asarray(IndependentTokens(K).nats(Categorical(log_probs), x0, x))[0]
    assert found[0].tolist() == [0, 0] and found[1, 0] == 0
    assert found[2, 1] == pytest.approx(-float(log_probs[0, 2, 1, 1]), rel=1e-6)
