"""Which system a config describes, and the errors of one that cannot be had."""

import sys

import pytest

from configs import default, presets
from configs.files import make_importable
from systems.classifier import Classifier
from systems.diffusion import Diffusion
from systems.table import SYSTEMS, make_system, system_class
from tests.support.runs import tiny
from tests.support.systems import context

OWN = """
from systems.base import System

class Own(System):
    evaluations = {}

def function():
    pass
"""


def named(system):
    config = tiny()
    config.system = system
    return config


def test_rows_are_found_by_name_and_the_nearest_is_named():
    assert [system_class(named(name)) for name in ("diffusion", "classifier")] == [Diffusion, Classifier]
    assert all(system_class(named(name)) is kind for name, kind in SYSTEMS.items())
    with pytest.raises(ValueError, match="config.system = 'difusion' is not known; .*nearest: diffusion"):
        system_class(named("difusion"))


def test_a_class_of_a_user_is_found_beside_the_config_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_systems.py").write_text(OWN)
    with pytest.raises(ValueError, match=r"own_systems cannot be imported .*put the folder of the package on PYTHON"):
        system_class(named("own_systems:Own"))
    make_importable(tmp_path / "config.py")
    assert system_class(named("own_systems:Own")).__name__ == "Own"
    with pytest.raises(ValueError, match="own_systems has no Class Other"):
        system_class(named("own_systems:Other"))
    with pytest.raises(ValueError, match="'own_systems:function' is not a class that inherits from systems.base.Sys"):
        system_class(named("own_systems:function"))


def test_a_network_of_the_other_kind_is_refused():
    config = tiny(name="wideresnet", num_labels=10)
    with pytest.raises(ValueError, match="'wideresnet', whose output is logits.* 'diffusion' needs a prediction"):
        make_system(context(config))
    config = tiny(num_labels=10)
    presets.classifier(config)
    config.model.name = "mlp"
    with pytest.raises(ValueError, match="'mlp', whose output is a prediction.* 'classifier' needs logits; use wide"):
        make_system(context(config))


def test_a_config_stored_before_systems_were_named_is_a_classifier_by_its_network():
    config = tiny()
    presets.classifier(config)
    for name, system in (("wideresnet", "classifier"), ("ncsnpp", "diffusion")):
        config.model.name = name
        stored = default.to_json(config)
        del stored["system"]
        assert default.from_json(stored).system == default.complete(stored)["system"] == system
        assert default.from_json(stored | {"system": "own:Own"}).system == "own:Own"


def test_the_evaluations_are_those_of_the_switches_or_those_that_are_named():
    config = tiny()
    config.eval.update(enable_loss=True, enable_bpd=False, enable_sampling=True)
    assert make_system(context(config)).enabled == ("loss", "samples")
    config.eval.tasks = ("bits_per_dim",)
    assert make_system(context(config)).enabled == ("bits_per_dim",)
    config.eval.tasks = ("bits_per_dims",)
    with pytest.raises(ValueError, match="config.eval.tasks = 'bits_per_dims' is not .*nearest: bits_per_dim"):
        make_system(context(config))
    config.eval.update(tasks=("loss",), enable_metrics=True)
    with pytest.raises(ValueError, match="compares samples with data, but the evaluations are loss; set"):
        make_system(context(config))
    config = tiny(num_labels=10)
    presets.classifier(config)
    assert make_system(context(config)).enabled == ("loss",)
    config.eval.enable_loss = False
    assert make_system(context(config)).enabled == ()
