"""Every published experiment is lowered and sampled from; tests/slow/test_experiments.py runs one of each family."""

import json

import jax
import numpy as np
import pytest

from configs import default
from core.keys import example_keys
from corruption.predictions import from_score
from programs import plan
from programs.run import Run
from runtime.chips import Chip
from runtime.topology import Topology
from tests.support.configs import PUBLISHED, load
from tests.support.experiments import expected_calls, shallow, shrunken

DEVICES = Topology("cpux1", "cpu", Chip("CPU", 2**40, 1e12, 1e11, 1e10), jax.devices()[:1])


@pytest.fixture(autouse=True, scope="module")
def _random_bits_that_compile_quickly():
    with jax.default_prng_impl("unsafe_rbg"):
        yield


def groups(shrink):
    """{a smaller config as JSON: the experiments that become it}."""
    found = {}
    for path in PUBLISHED:
        found.setdefault(json.dumps(default.to_json(shrink(path)), sort_keys=True), []).append(path)
    return list(found.values())


def variety(config):
    """What must not be lost in shrinking."""
    model, sampling = config.model, config.sampling
    networks = (model.name, model.progressive, model.progressive_input, model.fir, model.conditional)
    return *networks, config.training.sde, config.training.continuous, sampling.predictor, sampling.corrector


@pytest.mark.parametrize("shrink", [shrunken, shallow])
def test_the_smaller_experiments_are_as_various_as_the_published_ones(shrink):
    found = groups(shrink)
    assert sorted(path for paths in found for path in paths) == PUBLISHED and len(PUBLISHED) == 39
    assert {variety(load(path)) for path in PUBLISHED} == {variety(shrink(paths[0])) for paths in found}


@pytest.mark.parametrize("path", [paths[0] for paths in groups(shallow)])
def test_the_training_step_is_lowered_by_a_plan(path):
    """From the shapes of the state and of a batch, for the network with all its levels and pixels."""
    config = shallow(path)
    config.training.batch_size = 8
    shapes = plan.shapes_of(config, DEVICES, plan.spec_of(config))
    lowered = plan.lowered(shapes, DEVICES)
    after, metrics = lowered.out_info
    assert metrics["loss"].shape == metrics["grad_norm"].shape == ()
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), shapes.state)
    assert lowered.cost_analysis()["flops"] > 1e6


@pytest.mark.parametrize("path", [paths[0] for paths in groups(shrunken)])
def test_the_sampler_makes_the_calls_that_its_settings_say(path, tmp_path):
    """With the score of a standard normal instead of the network."""
    run = Run(shrunken(path), str(tmp_path), jax.devices()[:1])
    keys = example_keys(jax.random.key(0), 4)
    predict = from_score(lambda x, t: -x, run.system.sde)
    found = jax.jit(lambda keys: run.system.sampler(keys, predict, (4, *run.spec.shape)))(keys)
    assert found.x.shape == (4, 8, 8, 3) and np.isfinite(found.x).all()
    assert expected_calls(run.config) <= found.num_evals <= expected_calls(run.config) + 1
