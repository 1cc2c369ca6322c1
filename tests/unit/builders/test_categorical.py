"""Diffusion of categories from a config: its predictions, and the errors of settings that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import categorical
from configs import default
from core.keys import example_keys
from systems.table import make_system
from tests.support.configs import load
from tests.support.runs import tiny
from tests.support.systems import context

ABSORBING, UNIFORM = (f"configs/vqddm/digits_{name}.py" for name in ("absorbing", "uniform"))


def small(path=ABSORBING, **model):
    config = load(path)
    config.model.update({"nf": 4, "num_heads": 2, "num_res_blocks": 1, "num_labels": 0} | model)
    config.sampling.num_steps = 4
    return config


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"num_categories": 16}, "num_categories = 16, but digits has 17 levels; set it to 17"),
        ("model", {"corruption": "absorbin"}, "config.model.corruption = 'absorbin' .*nearest: absorbing"),
        ("model", {"schedule": "cosin"}, "config.model.schedule = 'cosin' .*nearest: cosine"),
        (
            "model",
            {"name": "ncsnpp"},
            "output is a prediction, .* 'categorical' needs logits of categories; use token_t",
        ),
        ("model", {"num_heads": 3}, "num_heads = 3 does not divide the width, 4 config.model.nf = 16; use a divisor"),
        ("model", {"corruption": "uniform"}, "remasking = 0.5 is for masks, but .*'uniform' has none"),
        ("data", {"uniform_dequantization": True}, "uniform_dequantization = True changes levels .*; set it to False"),
        ("data", {"augment": 0.1}, "config.data.augment = 0.1 changes levels .*; set it to 0.0"),
        ("sampling", {"method": "pc"}, "config.sampling.method = 'pc' .*choose one of ancestral, confidence"),
        ("sampling", {"grid": "log_snr"}, "config.sampling.grid = 'log_snr' .*choose one of uniform"),
        ("sampling", {"guidance": "classifier"}, "config.sampling.guidance = 'classifier' .*classifier_free, none"),
        ("sampling", {"guidance": "classifier_free"}, "needs a network that was trained with and without classes"),
        ("sampling", {"guidance_min_sigma": 0.1}, "are noise levels, which config.system = 'categorical' does not"),
        ("sampling", {"temperature": -1.0}, "config.sampling.temperature = -1.0, but it must not be negative"),
        ("sampling", {"top_p": 1.5}, r"config.sampling.top_p = 1.5, but it must be in \[0, 1\]"),
        ("training", {"time_sampling": "log_snr"}, "time_sampling = 'log_snr' .*choose one of importance, uniform"),
        ("eval", {"bpd_method": "ode"}, "config.eval.bpd_method = 'ode' .*choose one of bound"),
        ("eval", {"dequantization": "variational"}, "categories are not dequantized; use 'uniform' and 1"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_sentence(section, values, message):
    config = small()
    if values.get("corruption") == "uniform":
        config.sampling.remasking = 0.5
    config[section].update(values)
    with pytest.raises(ValueError, match=message) as error:
        default.validate(config)
        make_system(context(config))
    assert "\n" not in str(error.value)


def test_data_without_levels_and_networks_of_categories_elsewhere_are_refused():
    config = small()
    config.data.update(dataset="tumors", shape=(30,))
    with pytest.raises(ValueError, match="models levels, but tumors has float32 values without levels; give integers"):
        make_system(context(config))
    config = tiny("token_transformer", num_categories=256)
    with pytest.raises(
        ValueError, match="logits of categories, .*'diffusion' needs a prediction; .*system = 'categori"
    ):
        make_system(context(config))
    config = small(num_categories=None)
    with pytest.raises(ValueError, match="num_categories = None, but digits has 17 levels; set it to 17"):
        make_system(context(config))


@pytest.mark.parametrize("path", [ABSORBING, UNIFORM])
def test_the_prediction_of_a_new_network_is_uniform_but_for_what_a_site_tells_itself(path):
    config = small(path)
    system = make_system(context(config))
    variables = jax.jit(system.init)(jax.random.key(0))
    predict = categorical.make_predict_of(config)(variables["params"], {}, None)
    t, process = jnp.array([0.2, 0.9]), system.process
    z = process.corrupt(example_keys(jax.random.key(1), 2), jnp.full((2, 8, 8, 1), 3), t)[0]
    found = np.exp(jax.jit(predict)(z, t).log_probs)
    expected = np.exp(process.posterior(jnp.zeros((2, 8, 8, 1, 17)), z, t).log_probs)
    np.testing.assert_allclose(found, expected, atol=1e-4)  # the output layer starts near zero
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_guidance_is_linear_in_the_logarithms_and_keeps_what_is_known():
    config = small(num_labels=10, label_dropout=0.5)
    config.sampling.update(guidance="classifier_free", guidance_scale=3.0)
    system = make_system(context(config))
    shapes, rng = jax.eval_shape(system.init, jax.random.key(0)), np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(scale=0.3, size=a.shape).astype(a.dtype), shapes["params"])
    z = jnp.asarray(rng.integers(0, 18, (2, 8, 8, 1)))
    t, labels = jnp.array([0.4, 0.6]), jnp.array([3, 4])

    @jax.jit
    def predictions(params):
        of = categorical.make_predict_of(config)
        guided = system.guide.predict_of(params, None, labels)
        return [p(z, t).log_probs for p in (guided, of(params, {"label": labels}, None), of(params, {}, None))]

    guided, conditional, unconditional = predictions(params)
    masked = np.asarray(z == 17)
    expected = jax.nn.log_softmax(unconditional + 3 * (conditional - unconditional))
    np.testing.assert_allclose(guided[masked], expected[masked], atol=1e-4)
    assert np.abs(guided - conditional)[masked].max() > 0.1
    np.testing.assert_allclose(np.exp(guided)[~masked], np.eye(17)[np.asarray(z)[~masked]], atol=1e-6)
