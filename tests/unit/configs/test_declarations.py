"""Settings are declared once: what is derived from the declarations, and that nothing is missing from them."""

import ml_collections
import pytest

from builders.likelihood import bits_per_dim, fit_dequantization
from builders.objective import make_objective
from builders.process import make_sde
from builders.sampler import make_sampler
from builders.score import make_predict_of
from configs import default, reference
from configs.vp import smoke


def test_the_reference_page_is_up_to_date():
    written = reference.PAGE.read_text(encoding="utf-8")
    assert written == reference.page(), "run `python -m configs.reference`"


@pytest.mark.parametrize("key", default.KEYS)
def test_a_declaration_explains_the_setting_and_its_default_is_valid(key):
    declared = default.KEYS[key]
    assert declared.help.endswith(".") and "|" not in declared.help
    assert declared.changes in reference.EFFECTS and declared.mismatch in reference.USES
    assert declared.mismatch == "error" or declared.changes == "model"
    if declared.check and not isinstance(declared.default, type):
        declared.check.run(key, declared.default)


@pytest.mark.parametrize(
    ("key", "resume_may_change", "rounds_carry_over"),
    [
        ("seed", False, False),
        ("model.nf", False, False),
        ("model.dtype", True, False),
        ("model.remat", True, True),
        ("data.centered", False, False),
        ("data.data_dir", True, True),
        ("data.num_workers", True, True),
        ("training.sde", False, False),
        ("training.n_iters", True, True),
        ("training.fsdp", True, True),
        ("sampling.num_steps", True, False),
        ("eval.batch_size", True, False),
        ("eval.enable_bpd", True, True),
        ("eval.end_ckpt", True, True),
        ("optim.lr", True, True),
        ("model.of_another_version", False, False),
    ],
)
def test_what_a_resume_may_change_and_what_rounds_depend_on(key, resume_may_change, rounds_carry_over):
    assert default.is_fixed(key) != resume_may_change
    assert default.changes_evaluation(key) != rounds_carry_over


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.nf", "error"),
        ("training.sde", "error"),
        ("data.centered", "error"),
        ("model.of_another_version", "error"),
        ("model.dropout", "stored"),
        ("model.ema_rate", "stored"),
        ("optim.optimizer", "stored"),
        ("seed", "given"),
        ("data.dataset", "given"),
        ("training.batch_size", "given"),
        ("sampling.num_steps", "given"),
    ],
)
def test_what_is_used_if_a_config_differs_from_that_of_a_checkpoint(key, expected):
    assert default.mismatch(key) == expected


def test_the_batch_size_invalidates_rounds_because_the_dequantization_is_fitted_on_batches_of_it():
    """It used not to, so that an evaluation could combine rounds of two different dequantizations."""
    assert default.changes_evaluation("training.batch_size")


@pytest.mark.parametrize(
    "key", ["likelihood_weighting", "weighting", "time_sampling", "stratified", "p_mean", "p_std", "reduce_mean", "eps"]
)
def test_settings_of_the_loss_invalidate_rounds_because_the_loss_is_evaluated(key):
    assert default.changes_evaluation(f"training.{key}") and not default.is_fixed(f"training.{key}")


class Recorder:
    """A config, or a section of one, that adds the dotted keys that are read to a set."""

    def __init__(self, values, read, prefix=""):
        self.values, self.read, self.prefix = values, read, prefix

    def __getitem__(self, name):
        value = self.values[name]
        if isinstance(value, ml_collections.ConfigDict):
            return Recorder(value, self.read, f"{self.prefix}{name}.")
        self.read.add(self.prefix + name)
        return value

    def __getattr__(self, name):
        return self[name]

    def __contains__(self, name):
        return name in self.values

    def get(self, name, otherwise=None):
        return self[name] if name in self.values else otherwise


@pytest.mark.parametrize("time_sampling", ["uniform", "log_normal"])
def test_every_setting_that_an_evaluation_is_built_from_invalidates_rounds(time_sampling):
    """What loss, likelihood and samples read, except what does not change their results."""
    config, read = smoke.get_config(), set()
    config.training.time_sampling = time_sampling
    recorded = Recorder(config, read)
    sde = make_sde(recorded)
    make_objective(recorded, 17), make_predict_of(recorded, "float32"), make_sampler(recorded)
    bits_per_dim(recorded, sde, 17), fit_dequantization(recorded, sde, 17)
    assert {"training.sde", "training.eps", "sampling.method", "eval.bpd_eps", "data.centered", "model.nf"} <= read
    assert {key for key in read if not default.changes_evaluation(key)} == {"model.remat", "model.remat_policy"}
