"""Settings that another one disables: their conditions name settings, and say when there is no effect."""

import pytest

from configs import default, needs
from configs.default import KEYS
from configs.keys import flatten

DECLARED = {key: declared.needs for key, declared in KEYS.items() if declared.needs}


@pytest.mark.parametrize("key", DECLARED)
def test_every_condition_names_a_setting_and_ends(key):
    seen, waiting = set(), [key]
    while waiting:
        current = waiting.pop()
        assert current not in seen or current != key, f"{key} needs itself"
        seen.add(current)
        for condition in filter(None, KEYS[current].needs.split(" or ")):
            found = needs.CONDITION.fullmatch(condition)
            assert found and found["key"] in KEYS, condition
            assert bool(found["how"]) == bool(found["values"])
            waiting.append(found["key"])


@pytest.mark.parametrize(
    ("key", "settings", "reason"),
    [
        ("sampling.solver", {}, "config.sampling.method = 'pc'; it is used with solver"),
        ("sampling.solver", {"sampling.method": "solver"}, ""),
        ("sampling.rtol", {"sampling.method": "solver"}, "config.sampling.method = 'solver'; it is used with ode"),
        # A corrector that is itself not used.
        (
            "sampling.snr",
            {"sampling.method": "ode", "sampling.corrector": "langevin"},
            "config.sampling.method = 'ode'; it is used with pc",
        ),
        ("sampling.snr", {"sampling.corrector": "ald"}, ""),
        ("sampling.num_steps", {"sampling.method": "ode"}, "config.sampling.method = 'ode'"),
        ("eval.features", {}, "config.eval.enable_metrics = False"),
        ("eval.features", {"eval.enable_metrics": True}, ""),
        ("eval.num_samples", {}, "config.eval.enable_sampling = False"),
        ("eval.num_samples", {"eval.tasks": ("samples",)}, ""),
        ("eval.num_samples", {"system": "mine:System"}, ""),
        ("eval.rtol", {"eval.enable_bpd": True, "eval.bpd_method": "bound"}, "config.eval.bpd_method = 'bound'; it is "
         "used with ode"),
        ("model.beta_max", {"training.sde": "vesde"}, "config.training.sde = 'vesde'"),
        ("model.beta_max", {"training.sde": "ousde"}, ""),  # of one's own, which may use it
        ("optim.lr", {}, ""),
    ],
)  # fmt: skip
def test_what_disables_a_setting(key, settings, reason):
    values = {**dict(flatten(default.get_config())), **settings}
    assert needs.disabled_by(key, values, KEYS) == reason


def test_only_settings_of_the_command_line_are_looked_at():
    config = default.get_config()
    config.sampling.solver = "unipc_3"
    assert not list(needs.without_effect(config, (), KEYS, ("sampling",)))
    assert not list(needs.without_effect(config, ("sampling.solver",), KEYS, ("eval",)))
    (line,) = needs.without_effect(config, ("sampling.solver",), KEYS, ("sampling", "eval"))
    assert line.startswith("config.sampling.solver = 'unipc_3' has no effect, because config.sampling.method = 'pc'")
