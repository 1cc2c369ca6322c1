"""The causal latent of a config: errors of one sentence, scales and ranges of labels, missing labels."""

import numpy as np
import pytest

from builders.causal import make_causal, make_graph, with_latent
from configs import default, presets
from data import stock
from data.fields import Field, labeled
from data.source import Source
from data.spec import DataSpec

EDGES = ("pendulum_angle->shadow_length",)


def config_of(**causal):
    config = default.get_config()
    presets.pendulum(config)
    config.causal.update(**causal)
    return config


def spec_of(config):
    return DataSpec.of(stock.load(config.data.dataset, "train"))


def test_a_graph_keeps_the_order_in_which_parents_are_given():
    graph = make_graph(("c", "a", "b"), ("b->c", " a -> c "))
    assert graph.parents == ((2, 1), (), ()) and graph.order == (1, 2, 0)


@pytest.mark.parametrize(
    ("variables", "edges", "expected"),
    [
        (("a", "b"), ("a->b", "b->a"), r"graph = \('a->b', 'b->a'\): the graph has the cycle [ab] -> [ab] -> [ab]"),
        (("a", "b"), ("a->a",), "the cycle a -> a; remove"),
        (("thickness", "b"), ("thicknes->b",), r"'thicknes' is none of .*variables, thickness, b \(nearest: thickness"),
        (("a", "b"), ("a->b", "a->b"), "'a->b' twice"),
        (("a", "a"), (), "has 'a' twice"),
        ((), (), "is empty; name fields"),
    ],
)  # fmt: skip
def test_a_graph_that_is_none_is_refused(variables, edges, expected):
    with pytest.raises(ValueError, match=expected):
        make_graph(variables, edges)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"variables": ("angle",), "graph": ()}, "'angle', which .*for each example are pendulum_angle, light"),
        ({"variables": ("x",), "graph": ()}, "'x', which is a class or an array of .*a number for each example"),
        ({"encoder_factor": 5}, r"encoder_factor = 5 does not divide the sides of examples of the shape \(24, 24, 1\)"),
        ({"encoder": "conv", "encoder_factor": 3}, "not a power of 2"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_data_are_refused(settings, expected):
    config = config_of(**settings)
    with pytest.raises(ValueError, match=expected):
        make_causal(config, spec_of(config))


def test_a_variable_of_whole_numbers_is_refused_with_what_to_write():
    config = config_of(variables=("age",), graph=())
    fields = labeled(Field((24, 24, 1))) | {"age": Field((), "int32", num_classes=90), "volume": Field(())}
    with pytest.raises(ValueError, match="'age', which is a class of .*a decimal point.* example are volume"):
        make_causal(config, DataSpec(fields))


def test_the_network_is_conditioned_on_the_latent_alone():
    config = config_of(dim=2, entry="add", drop_rate=0.2)
    assert with_latent(config).model.conditions == ("z[8]:add:0.2",) and config.model.conditions == ()
    config.model.num_labels = 3
    with pytest.raises(ValueError, match="on the causal latent alone; leave"):
        with_latent(config)


def source_of(values, known):
    fields = labeled(Field((2,))) | {"a": Field(()), "a_mask": Field((), "int32", num_classes=2)}
    arrays = {"x": np.zeros((4, 2), np.float32), "label": np.zeros(4, np.int32), "a": values, "a_mask": known}
    return Source("four", 4, fields, lambda indices: {name: array[indices] for name, array in arrays.items()})


def test_labels_are_scaled_by_those_that_are_known():
    config = config_of(variables=("a",), graph=())
    config.data.shape = (2,)
    values, known = np.array([1.0, 5.0, 0.0, 3.0], np.float32), np.array([1, 1, 0, 1])
    source = source_of(values, known)
    causal = make_causal(config, DataSpec.of(source))
    labels = causal.statistics(source)
    assert [float(labels[name][0]) for name in ("mean", "low", "high")] == [3.0, 1.0, 5.0]
    np.testing.assert_allclose(labels["std"][0], np.std([1, 3, 5]), rtol=1e-6)
    found, given = causal.standardized(labels, source.fetch(np.arange(4)))
    np.testing.assert_allclose(found[:, 0] * labels["std"][0] + 3, values, atol=1e-6)
    np.testing.assert_array_equal(given[:, 0], known > 0)
    for wrong, what in ((source_of(values, 0 * known), "no example"), (source_of(0 * values, known), "it is always 0")):
        with pytest.raises(ValueError, match=f"'a', but {what}.*leave it out"):
            causal.statistics(wrong)


def test_labels_are_scaled_by_examples_of_all_of_the_data(monkeypatch):
    """Data that are sorted, as tables of patients are, have their largest label last."""
    monkeypatch.setattr("builders.causal.MOST_EXAMPLES", 5)
    config = config_of(variables=("a",), graph=())
    config.data.shape = (2,)
    fields = labeled(Field((2,))) | {"a": Field(())}
    source = Source("sorted", 41, fields, lambda i: {"x": np.zeros((len(i), 2), np.float32), "a": np.float32(i)})
    labels = make_causal(config, DataSpec.of(source)).statistics(source)
    assert [float(labels[name][0]) for name in ("mean", "low", "high")] == [20.0, 0.0, 40.0]
