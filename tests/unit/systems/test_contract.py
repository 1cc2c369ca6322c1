"""What every system keeps: one contract over the table of systems, and over one of a user's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import presets
from core.keys import example_keys
from data.pipeline import eval_batch
from evaluation.rounds import run_task
from programs import train
from programs.run import Run
from reports import console, overview
from reports.provenance import provenance
from reports.records import columns_of, read_checkpoint, write_report
from systems.table import SYSTEMS
from tests.support import absorbing, perceptron
from tests.support.configs import load
from tests.support.latents import residual_tokens
from tests.support.runs import tiny
from tests.support.tracing import CountingJit
from training.checkpoint import Checkpoints
from training.frozen import FROZEN


def diffusion():
    config = tiny()
    config.eval.update(bpd_method="bound", num_samples=8, batch_size=64, enable_bpd=True, enable_sampling=True)
    config.eval.update(num_examples=8, posterior_samples=2, baselines=("pca_lmmse",))
    config.eval.anomaly_dataset = "tests.support.lesions:source"
    config.restore.method = "ddnm"
    return config


def classifier():
    config = tiny(num_labels=10)
    presets.classifier(config)
    config.model.name = perceptron.CLASSIFIER
    config.eval.batch_size = 64
    return config


def tokenizer(**settings):
    config = tiny()
    presets.tokenizer(config, num_codes=8, factor=2)
    config.tokenizer.update(encoder="patch", decoder="patch", dim=3, codebook="average", restart_below=0.5)
    config.tokenizer.update(reservoir=512, **settings)
    config.training.loss_weights = () if "quantizer" in settings else config.training.loss_weights
    config.eval.update(batch_size=64, features="pixels")
    return config


def categorical():
    config = load("configs/vqddm/digits_absorbing.py")
    config.model.update(nf=4, num_heads=2, num_res_blocks=1, num_labels=10)
    config.sampling.num_steps = 6
    config.eval.update(num_samples=8, batch_size=64, num_probes=2, enable_bpd=True, enable_sampling=True)
    return config


def causal_diffae():
    config = tiny()
    presets.pendulum(config)
    config.causal.update(encoder_nf=4, mechanism_width=4)
    config.sampling.update(rtol=1e-2, atol=1e-2)
    config.eval.update(num_samples=8, num_examples=8, batch_size=64, strengths=(1.0,), tasks=())
    return config


def adaptive_noise():
    config = tiny()
    presets.variational(config, schedule="learned")
    config.system = "adaptive_noise"
    config.adaptive.update(dim=2, encoder_nf=2, width=4)
    config.sampling.update(method="pc", predictor="ancestral_sampling", eta=0.0, grid="uniform", num_steps=3)
    config.eval.update(num_samples=8, batch_size=64, num_probes=2, enable_bpd=True, enable_sampling=True)
    return config


def mmar(**settings):
    config = load("configs/mmar/digits.py")
    config.model.update(nf=2, num_heads=2, num_res_blocks=1)
    config.mmar.update(head_nf=2, head_blocks=1, rounds=3, evaluated_shares=(0.5,), **settings)
    config.sampling.num_steps = 3
    config.eval.update(num_samples=8, num_examples=8, batch_size=150, rtol=1e-2, atol=1e-2, tasks=())
    return config


def autoregressive(num_experts=1):
    config = load("configs/autoregressive/digits.py")
    presets.autoregressive(config, num_experts)
    config.model.update(nf=2, num_heads=1, num_res_blocks=1)
    config.eval.update(num_samples=8, num_examples=8, batch_size=150, tasks=())
    return config


def resgen(head):
    """On tokens of depth 2; `Subject` gives the stage and the data."""
    config = tiny(num_labels=10)
    presets.resgen(config)
    config.data.random_flip = False
    config.resgen.head = head
    config.model.update(nf=2, num_heads=1, num_res_blocks=1, num_scales=3)
    config.eval.update(num_samples=8, batch_size=64, num_probes=2, enable_bpd=True, enable_sampling=True)
    return config


CONFIGS = {
    "diffusion": diffusion,
    "adaptive_noise": adaptive_noise,
    "causal_diffae": causal_diffae,
    "classifier": classifier,
    "categorical": categorical,
    "absorbing": absorbing.get_config,
    "mmar": mmar,
    "autoregressive": functools.partial(autoregressive, 2),
    "resgen": functools.partial(resgen, "mixture"),
    "independent residual tokens": functools.partial(resgen, "independent"),
    "residual tokens one by one": functools.partial(resgen, "autoregressive"),
    "tokenizer": tokenizer,
    "tokenizer by gradient": functools.partial(tokenizer, codebook="gradient", restart_below=0.0, encoder="conv"),
    "residual tokenizer": functools.partial(
        tokenizer, quantizer="rvq", depth=2, encoder="raw", decoder="raw", dim=12, quantizer_dropout=0.5
    ),
    "continuous auto-encoder": functools.partial(tokenizer, quantizer="kl", decoder="conv"),
    "principal components": functools.partial(tokenizer, quantizer="pca"),
}


class Subject:
    """A system with its run, its variables at step 0, and its compiled training step."""

    def __init__(self, name, workdir, residual):
        self.config = CONFIGS[name]()
        if self.config.system == "resgen":
            self.config.update_from_flattened_dict(residual)
        self.config.training.update(batch_size=16, n_iters=10)
        self.run = Run(self.config, workdir, jax.devices()[:1])
        self.system = self.run.system

    @functools.cached_property
    def state(self):
        return self.run.state()

    @functools.cached_property
    def step(self):
        return CountingJit(train.make_step(self.run, train.settings_of(self.config.training)))

    def with_stages(self, variables):
        """The variables, and those of earlier stages."""
        frozen = {name: stage.variables for name, stage in self.system.frozen.items()}
        return {**variables, **({FROZEN: frozen} if frozen else {})}

    @property
    def variables(self):
        """Those at step 0."""
        return self.with_stages(self.state.variables)

    def batch(self, turn=0):
        return self.system.on_devices(eval_batch(self.run.train, turn, 16))

    def after(self, state, first, last):
        """The state after the steps `first` to `last`, each with a batch of its own."""
        for turn in range(first, last + 1):
            state, _ = self.step(state, self.batch(turn % 4), self.with_stages({}))
        return state


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    """Settings of models of residual tokens: the run of a tokenizer, and tokens as data."""
    return residual_tokens(tmp_path_factory)


@pytest.fixture(scope="module", params=CONFIGS)
def subject(request, tmp_path_factory, residual):
    return Subject(request.param, tmp_path_factory.mktemp(request.param), residual)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_every_row_has_a_config():
    assert CONFIGS.keys() >= SYSTEMS.keys()


def test_the_objective_is_one_finite_loss_per_example(subject):
    keys = example_keys(jax.random.key(0), 16)
    objective = jax.jit(lambda *given: subject.system.objective(*given, None, jnp.int32(0)).losses)
    losses = objective(subject.variables, keys, subject.batch())
    assert losses
    for loss in losses.values():
        assert loss.shape == (16,) and np.isfinite(loss).all()


def test_a_step_keeps_all_shapes_and_is_compiled_once(subject):
    after = subject.after(subject.state, 0, 1)
    form = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), subject.run.abstract_state())
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == form
    assert subject.step.num_traces == 1


def test_five_steps_and_five_more_are_ten(subject, tmp_path):
    ten = subject.after(subject.state, 1, 10)
    store = Checkpoints(tmp_path)
    store.save(1, subject.after(subject.state, 1, 5), {})
    equal(subject.after(store.restore(1, subject.run.abstract_state()), 6, 10), ten)
    store.close()


def test_a_sample_depends_on_its_own_key_only(subject):
    system = subject.system
    if system.generate is None:
        assert "unconditional" not in system.requests and "samples" not in system.evaluations
        return
    assert "unconditional" in system.requests
    keys, order = system.sample_keys(1, 0, 4), np.array([3, 0, 2, 1])
    found = np.asarray(system.generate(subject.variables, keys, None)["samples"])
    moved = np.asarray(system.generate(subject.variables, keys[order], None)["samples"])
    assert found.shape == (4, *system.spec.shape) and len(np.unique(found, axis=0)) > 1
    # One level where a value of float32 lies at the border of two.
    assert np.abs(moved.astype(int) - found[order]).max() <= 1
    assert system.picture(found).dtype == np.uint8


def test_values_come_back_from_the_units_of_the_model(subject):
    values, variables = subject.run.test.fetch(np.arange(4))["x"], subject.variables
    back = subject.system.decode(variables, subject.system.encode(variables, jnp.asarray(values)))
    np.testing.assert_array_equal(back, values)


def test_every_evaluation_summarizes_and_every_column_is_shown(subject, tmp_path):
    system, results, columns = subject.system, {}, []
    assert system.enabled and set(system.enabled) <= set(system.evaluations)
    for name, evaluation in system.evaluations.items():
        evaluation(0, None)  # making a task computes nothing
        task = evaluation(1, subject.with_stages(subject.state.averaged_variables))
        assert task.name == name and task.columns
        results[name] = run_task(task, tmp_path / "ckpt_1")
        columns += [column.below(name) for column in task.columns]
    content = {
        "checkpoint": 1, "step": 10, "seed": 42, "results": results, "subject": system.subject, "grid": None,
        "columns": [column.to_dict() for column in columns], "config": {}, **provenance(),
    }  # fmt: skip
    path = write_report(tmp_path / "ckpt_1", content)
    overview.rebuild(tmp_path)
    page, shown = (tmp_path / "report.html").read_text(), console.summary(path)
    read = read_checkpoint(path)
    assert len(columns_of(read.report)) == len(columns)
    for column in columns:
        assert column.path in read.numbers and column.heading in page and column.heading in shown
