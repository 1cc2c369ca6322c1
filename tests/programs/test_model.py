"""A trained model in Python gives what the programs give."""

import numpy as np
import pytest

import run_lib
from configs import presets
from programs import sample
from programs.run import Run
from sampling.inverse.operators.mask import mask
from tests.support import perceptron
from tests.support.runs import asked, tiny, untrained


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config = tiny()
    config.eval.update(enable_loss=False, enable_sampling=False, enable_bpd=True, batch_size=8)
    untrained(config, folder)
    return folder


@pytest.fixture(scope="module")
def model(workdir):
    return run_lib.load(workdir)


def test_samples_are_those_of_the_program(model, workdir):
    run = Run.of_checkpoint(model.config, workdir, 1)
    request = asked(run, "unconditional", num_samples=5)
    folder = sample.execute(run, request, sample.prepare(run, request))
    with np.load(folder / "samples.npz") as written:
        np.testing.assert_array_equal(model.sample(5), written["arr_0"])


def test_a_sample_depends_on_its_index_and_the_seed(model):
    first = model.sample(9)
    np.testing.assert_array_equal(model.sample(3), first[:3])
    assert (model.sample(3, seed=7) != first[:3]).any()
    assert (model.sample(3, sampler="unipc_2", steps=4) != first[:3]).any()


def test_a_sampler_that_does_not_exist_is_one_sentence(model):
    with pytest.raises(ValueError, match=r"sampler = 'unipc2' is not known; .*\(nearest: unipc_2\)"):
        model.sample(1, sampler="unipc2")


def test_likelihoods_are_those_of_the_program(model, workdir):
    (report,) = run_lib.evaluate(model.config, workdir)
    (folder,) = {path.parent for path in report.parent.rglob("*.npz") if "bits" in str(path)}
    written = np.concatenate([np.load(path)["logp_nats"] for path in sorted(folder.glob("*.npz"))])
    test = Run.of_checkpoint(model.config, workdir, 1).test
    x = test.fetch(np.arange(len(test)))["x"]
    found = model.log_likelihood(x)
    assert found.shape == (len(x),)
    np.testing.assert_allclose(found, written[: len(x)], rtol=1e-5)


def test_decoding_inverts_encoding(model, workdir):
    x = Run.of_checkpoint(model.config, workdir, 1).test.fetch(np.arange(3))["x"]
    codes = model.encode(x)
    assert codes.shape == x.shape and codes.dtype == np.float32
    np.testing.assert_allclose(model.decode(codes).astype(int), x.astype(int), atol=1)


def test_restored_examples_agree_with_what_was_measured(model, workdir):
    run = Run.of_checkpoint(model.config, workdir, 1)
    x = run.test.fetch(np.arange(2))["x"]
    known = np.zeros((1, *x.shape[1:3], 1), bool)
    known[:, :4] = True
    operator = mask(x.shape[1:], known)
    y = np.asarray(operator.measure(run.system.encode({}, x)))
    restored = model.restore(operator, y, num=3, prior_variance=0.3)
    assert restored.shape == (2, 3, *x.shape[1:])
    np.testing.assert_array_equal(restored[:, :, :4], np.repeat(x[:, None, :4], 3, 1))
    with pytest.raises(ValueError, match="prior_variance is not given"):
        model.restore(operator, y)


def test_another_shape_is_one_sentence(model):
    with pytest.raises(ValueError, match=r"x has the shape \(2, 5\), but the model takes \[N, 8, 8, 3\]"):
        model.encode(np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.sample(0), "num = 0 was given, but it must be at least 1"),
        (lambda m: m.sample(1, steps=0), "steps = 0 was given, but it must be at least 1"),
        (lambda m: m.sample(1, [3]), "labels has the class 3, but this model is not class-conditional"),
        (lambda m: m.sample(1, []), "labels has no class"),
        (lambda m: m.log_likelihood(np.zeros((1, 8, 8, 3), np.uint8), [1]), "labels has the class 1, but this model"),
        (lambda m: m.log_likelihood(np.full((1, 8, 8, 3), 0.5)), "x has float64 .* takes levels from 0 to 255"),
        (lambda m: m.encode(np.full((1, 8, 8, 3), -1)), "x has int64 from -1 to -1, but the model takes levels"),
        (lambda m: m.encode(np.full((1, 8, 8, 3), 256)), "x has int64 from 256 to 256, but the model takes levels"),
        (lambda m: m.decode(np.zeros((1, 8, 8, 1))), r"x has the shape \(1, 8, 8, 1\), but the model takes \[N, 8"),
        (lambda m: m.encode(np.zeros((0, 8, 8, 3), np.uint8)), r"x has the shape \(0, 8, 8, 3\)"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(model, ask, message):
    with pytest.raises(ValueError, match=message) as error:
        ask(model)
    assert "\n" not in str(error.value)


def test_measurements_of_another_shape_are_one_sentence(model):
    operator = mask((8, 8, 3), np.ones((1, 8, 8, 1), bool))
    with pytest.raises(ValueError, match=r"y has the shape \(2, 4\), but the operator measures \[N, 8, 8, 3\]"):
        model.restore(operator, np.zeros((2, 4)), prior_variance=0.3)


def test_a_system_without_a_density_says_so(tmp_path):
    config = tiny(num_labels=10)
    presets.classifier(config)
    config.model.name = perceptron.CLASSIFIER
    untrained(config, tmp_path)
    classifier = run_lib.load(tmp_path)
    with pytest.raises(ValueError, match="config.system = 'classifier' has no density of this kind"):
        classifier.encode(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="config.system = 'classifier' generates no samples"):
        classifier.sample(1)


def test_settings_of_how_it_is_used_may_be_others(model, workdir):
    others = {"restore.method": "projection", "sampling.num_steps": 3}
    found = run_lib.load(workdir, settings=others)
    assert (found.config.restore.method, found.config.sampling.num_steps) == ("projection", 3)
    assert found.checkpoint == model.checkpoint and (found.sample(2) != model.sample(2)).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restore.methd": "ddnm"}, "config.restore.methd is not a setting; the nearest is config.restore.method"),
        ({"model.nf": 99}, "config.model.nf = 99 was given, but the model was trained with .*; leave it out"),
        ({"restore.zeta": -1.0}, "config.restore.zeta = -1.0, but it must be positive"),
    ],
)
def test_settings_that_it_cannot_have_are_one_sentence(workdir, settings, message):
    with pytest.raises(ValueError, match=message):
        run_lib.load(workdir, settings=settings)
