"""Names of devices that are not here."""

import importlib.util

import pytest

from runtime import topology
from runtime.chips import GPUS, TPUS


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("v5e:2x2", "v5e:2x2"), ("v5e-16", "v5e:4x4"), ("v5litepod-256", "v5e:16x16"), ("v6e:16x16", "v6e:16x16"),
        ("v5p-256", "v5p:4x4x8"), ("v5p-8", "v5p:2x2x1"), ("v4-512", "v4:4x8x8"), ("V5P:4x4x8", "v5p:4x4x8"),
        ("v5e-1", "v5e:1x1"), ("v3-8", "v3:2x2"), ("v2-32", "v2:4x4"), ("tpu7x-8", "tpu7x:2x2x1"),
        ("v5p:2x2", "v5p:2x2x1"), ("h100x8", "h100x8"), ("h200", "h200x1"), ("nvidia-a100x64", "a100x64"),
    ],
)  # fmt: skip
def test_common_names_are_understood(given, name):
    assert topology.canonical(given) == name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("v5x:2x2", "nearest: v5"), ("v5p-100", "v5p-8, v5p-16"), ("v5e:2x2x2", "no slice of v5e"),
        ("h100x12", "h100x8"),        ("h10", "nearest: h100"),
        ("v5e:", "v5e:2x2"), ("", "v5e:2x2"), ("4x4", "is not known"),
        ("h100x0", "h100x8"),
        ("v5p-9", "no slice of v5p"), ("v5e:0x2", "no slice of v5e"),
    ],
)  # fmt: skip
def test_other_names_are_one_sentence_with_names_that_exist(given, said):
    with pytest.raises(ValueError, match=said) as found:
        topology.canonical(given)
    assert f"--topology={given}" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(("given", "file"), [("v5e:2x2", "requirements-plan.txt"), ("h100x8", "requirements-plan-gpu")])
def test_a_compiler_that_is_not_installed_is_one_sentence_with_what_to_install(given, file, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=file):
        topology.find(given)


def test_the_figures_of_a_device_are_of_plausible_size():
    for name, chip in {**TPUS, **GPUS}.items():
        assert 2**32 < chip.memory < 2**38 and 1e13 < chip.bf16_flops < 2e15, name
        # A product of large matrices is bound by operations, a sum by memory, and the network is slower than both.
        assert 30 < chip.bf16_flops / chip.memory_bandwidth < 700 and chip.network < chip.memory_bandwidth, name
        assert bool(chip.description) == bool(chip.beyond) == (name in GPUS)
