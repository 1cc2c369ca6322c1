"""Conditions of a config: what they say, what is refused, and which are dropped in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders.condition import example_condition, make_condition, resolved
from builders.network import make_network
from configs import default
from configs.conditions import Condition, parse
from data.fields import Field, labeled
from data.spec import DataSpec
from tests.support.configs import load
from tests.support.flags import flags_of_main
from tests.support.paths import ROOT

FIELDS = DataSpec(
    labeled(Field((5,)))
    | {"attributes": Field((4,)), "digit": Field((), "int32", num_classes=10), "shades": Field((2,), "uint8", 256)}
)


def config_of(*conditions, name="mlp", shape=(5,)):
    config = load("configs/vp/vectors_mlp_continuous.py")
    config.model.update(name=name, conditions=conditions, nf=4, num_res_blocks=1, ch_mult=(1,), attn_resolutions=())
    config.data.shape = shape
    return config


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("attributes:add:0.1", Condition("attributes", "add", 0.1)),
        ("mask[8,8,1]/2:concat", Condition("mask", "concat", 0.0, (8, 8, 1), 2)),
        ("digit[]/10:norm:.5", Condition("digit", "norm", 0.5, (), 10)),
    ],
)
def test_a_setting_says_which_field_enters_where_and_how_often_it_is_dropped(text, condition):
    assert parse(text) == condition and parse(str(condition)) == condition


@pytest.mark.parametrize("text", ["attributes", "attributes:sum", "attributes:add:2", "a b:add", "x[3:add", 3])
def test_a_setting_of_another_form_is_refused_before_anything_is_built(text):
    config = config_of(text)
    with pytest.raises(ValueError, match=r"config.model.conditions has .* a condition must be of the form NAME:ENTRY"):
        default.validate(config)


# ml_collections reads a config file in a way that Python 3.12 will not have.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("conditions", [("attributes:add:0.1",), ("attributes:add:0.1", "mask[8,8,1]/2:concat"), ()])
def test_a_command_line_sets_them_as_a_sweep_writes_them(conditions, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ["--mode=train", "--config=configs/vp/smoke.py", f"--config.model.conditions={conditions}"]
    own = flags_of_main(words)
    own(["main.py", *words])
    assert own.config.model.conditions == conditions
    default.validate(own.config)


def test_the_shapes_are_those_of_the_data():
    config = config_of("attributes:add:0.1", "digit[]/10:norm", "shades:concat")
    found = resolved(config, FIELDS)
    assert found == ("attributes[4]:add:0.1", "digit[]/10:norm", "shades[2]/256:concat")
    config.model.conditions = found
    assert resolved(config, FIELDS) == found
    example = example_condition(config)
    assert {name: given.values.shape for name, given in example.items()} == {
        "attributes": (1, 4), "digit": (1,), "shades": (1, 2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("height:add", "'height:add', but .* has attributes, digit, shades; name one of its fields"),
        ("attributes[3]:add", r"but the field of .* is 'attributes\[4\]:add'; write attributes:add"),
        ("digit[]/9:add", r"but the field of .* is 'digit\[\]/10:add'"),
    ],
)
def test_fields_that_the_data_do_not_have_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        resolved(config_of(text), FIELDS)


@pytest.mark.parametrize(
    ("conditions", "options", "message"),
    [
        (
            ("attributes:add",),
            {},
            r"shape is not known before the data are read; write it, as in 'attributes\[40\]:add'",
        ),
        (("label[]/10:add",), {}, "has 'label', but use model.num_labels"),
        (("a[4]:add", "a[4]:norm"), {}, "has 'a' twice"),
        (("a[4,2]:add",), {}, r"add takes a number, a class or a vector, .* \(4, 2\); use cross for it"),
        (("a[4]:cross",), {}, "cross takes a sequence .* use add or norm or concat for it"),
        (("a[8,8,1]:concat",), {}, r"concat takes an array with as many axes as the data, .* use cross for it"),
        (("a[4,2]:cross",), {}, "network 'mlp' has no 'cross'; use add or norm or concat, or the network ncsnpp"),
        (
            ("a[4]:add",),
            {"name": "ddpm", "shape": (8, 8, 1)},
            "'ddpm' has no 'add'; use the network ncsnpp or mlp or s4_residual",
        ),
    ],
)
def test_conditions_that_do_not_fit_are_refused_in_a_sentence(conditions, options, message):
    with pytest.raises(ValueError, match=message):
        make_network(config_of(*conditions, **options))


def test_the_drop_rate_is_that_of_each_condition_and_depends_on_its_name_only():
    B, key = 4000, jax.random.key(0)
    batch = {"attributes": np.ones((B, 4), np.float32), "digit": np.arange(B, dtype=np.int32) % 10}
    texts = ("attributes[4]:add:0.25", "digit[]/10:norm")
    given = make_condition(config_of(*texts))(jnp.zeros((B, 5)), batch, key)
    assert bool(given["digit"].given.all())
    kept = np.asarray(given["attributes"].given)
    # Five standard deviations of a fraction of 4000.
    assert 1 - kept.mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / B))
    again = make_condition(config_of(texts[1].replace(":norm", ":norm:0.5"), texts[0]))(jnp.zeros((B, 5)), batch, key)
    np.testing.assert_array_equal(again["attributes"].given, kept)
    both = kept & np.asarray(again["digit"].given)
    assert both.mean() == pytest.approx(0.375, abs=5 * np.sqrt(0.375 * 0.625 / B))  # independent
    np.testing.assert_array_equal(given["digit"].values, batch["digit"])


def test_without_a_dropout_key_all_are_given_and_without_the_field_none():
    condition = make_condition(config_of("attributes[4]:add:0.25", "shades[2]/256:norm"))
    x = jnp.zeros((3, 5))
    batch = {"attributes": np.ones((3, 4), np.float32), "shades": np.full((3, 2), 255, np.uint8)}
    found = condition(x, batch, None)
    assert bool(found["attributes"].given.all()) and bool(found["shades"].given.all())
    np.testing.assert_array_equal(found["shades"].values, 1)  # levels are scaled to [0, 1]
    missing = condition(x, {}, jax.random.key(0))["attributes"]
    assert missing.values.shape == (3, 4) and not missing.given.any()


def test_labels_are_dropped_as_ever_beside_other_conditions():
    config = config_of("attributes[4]:add:0.25")
    batch, key, x = (
        {"label": jnp.arange(100) % 10, "attributes": jnp.ones((100, 4))},
        jax.random.key(3),
        jnp.zeros((100, 5)),
    )
    config.model.num_labels = 10
    with_others = make_condition(config)(x, batch, key)["labels"]
    config.model.conditions = ()
    np.testing.assert_array_equal(with_others, make_condition(config)(x, batch, key)["labels"])
