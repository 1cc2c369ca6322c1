"""Data of known causal models: what is measured is what was drawn, and counterfactuals are exact."""

import numpy as np
import pytest

from data import stock
from data.sets import pendulum

# The largest errors of what is measured, in the units of each field: a few hundredths of a pixel, and 8 bits.
ERRORS = {
    "pendulum": {"pendulum_angle": 0.6, "light_angle": 0.5, "shadow_length": 0.025, "shadow_position": 0.008,
                 "background": 0.003, "bob_radius": 0.004},
    "digits_thickness": {"thickness": 0.03, "intensity": 0.003, "slant": 1e-6},
}  # fmt: skip
NUM = 100


@pytest.fixture(scope="module", params=ERRORS)
def examples(request):
    source = stock.load(request.param, "test")
    return request.param, source.structure, source.fetch(np.arange(NUM))


def test_fields_are_measured_from_the_values_alone(examples):
    name, structure, batch = examples
    found = structure.measure(batch["x"])
    assert found.keys() == ERRORS[name].keys()
    for field, error in ERRORS[name].items():
        assert np.abs(found[field] - batch[field]).max() < error
        assert batch[field].std() > 3 * error or field == "slant"


def test_a_counterfactual_of_the_facts_is_the_example_and_one_is_undone_by_another(examples):
    _, structure, batch = examples
    for cause in {cause for cause, _ in structure.edges}:
        same = structure.counterfactual(batch, {cause: batch[cause]})
        assert np.abs(same["x"].astype(int) - batch["x"]).max() <= 1
        middle = np.full(NUM, batch[cause].mean())
        changed = structure.counterfactual(batch, {cause: middle})
        assert (changed["x"] != batch["x"]).any(axis=(1, 2, 3)).mean() > 0.95
        back = structure.counterfactual({**batch, **changed}, {cause: batch[cause]})
        assert np.abs(back["x"].astype(int) - batch["x"]).max() <= 1


def test_an_intervention_changes_effects_and_neither_causes_nor_nuisances(examples):
    name, structure, batch = examples
    for cause, effect in structure.edges:
        do = np.full(NUM, np.quantile(batch[cause], 0.8))
        changed, measured = (structure.counterfactual(batch, {cause: do}) for _ in range(2))
        found = structure.measure(measured["x"])
        assert np.quantile(np.abs(found[cause] - do), 0.9) < ERRORS[name][cause]
        assert np.abs(found[effect] - batch[effect]).mean() > 0.3 * batch[effect].std()
        assert np.quantile(np.abs(found[effect] - changed[effect]), 0.9) < ERRORS[name][effect]
        for nuisance in structure.nuisances:  # slant is measured, and depends a little on thickness
            assert np.abs(found[nuisance] - batch[nuisance]).mean() < 0.2 * batch[nuisance].std()
        set_effect = structure.counterfactual(batch, {effect: batch[effect][::-1]})
        assert np.abs(structure.measure(set_effect["x"])[cause] - batch[cause]).max() < ERRORS[name][cause]


def test_shadows_follow_the_light():
    """An upright rod under light from above has the shadow of its bob; light from the left moves it to the right."""
    found = pendulum.shadow(np.zeros(3), np.array([-20.0, 0.0, 20.0]))
    assert found["shadow_length"][1] == pytest.approx(0.1) and found["shadow_position"][1] == pytest.approx(0.5)
    assert found["shadow_position"][0] > 0.55 and found["shadow_position"][2] < 0.45
    np.testing.assert_allclose(found["shadow_length"][0], found["shadow_length"][2])


def test_a_fifth_of_the_examples_has_labels_and_the_others_zeros():
    few, all_of_them = (stock.load(name, "train").fetch(np.arange(NUM)) for name in ("pendulum_few_labels", "pendulum"))
    known = few["light_angle_mask"] > 0
    assert 0.1 < known.mean() < 0.3
    np.testing.assert_array_equal(few["light_angle"], np.where(known, all_of_them["light_angle"], 0))
    np.testing.assert_array_equal(few["x"], all_of_them["x"])
    assert stock.load("pendulum_few_labels", "test").fetch(np.arange(NUM))["light_angle_mask"].all()
