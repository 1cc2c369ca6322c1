"""Which devices a config is trained and sampled on, and which it refuses."""

import jax
import pytest

from builders import devices
from configs import default, presets


def config_of(**training):
    config = default.get_config()
    presets.smoke(config)
    config.training.update(training)
    return config


@pytest.mark.parametrize(
    ("training", "count", "message"),
    [
        (
            {"fsdp": 3},
            8,
            r"config.training.fsdp = 3 does not divide the number of devices, 8; use 1, .* or a divisor\.",
        ),
        ({"grad_accumulation": 4}, 8, r"= 4 makes parts of 4 images, which 8 devices cannot share; use .* of 32, or "),
        ({"batch_size": 12}, 8, "config.training.batch_size = 12 is not divisible by the number of devices, 8"),
    ],
)
def test_what_devices_cannot_share_is_one_sentence(training, count, message):
    with pytest.raises(ValueError, match=message):
        devices.make_devices(config_of(**training), jax.devices()[:count])


def test_fsdp_is_the_number_of_devices_that_share_one_state():
    for num_shards in (1, 4):
        mesh = devices.make_devices(config_of(fsdp=num_shards)).mesh
        assert dict(mesh.shape) == {"data": 8 // num_shards, "fsdp": num_shards}


@pytest.mark.parametrize(
    ("cores", "sizes", "expected"),
    [
        (1, {}, 1),
        (2, {}, 2),
        (3, {}, 2),  # divides the batches
        (64, {}, devices.MAX_CPU_DEVICES),
        (8, {"batch_size": 16}, 4),  # with four images each
        (8, {"batch_size": 6}, 1),
        (8, {"grad_accumulation": 64}, 2),
        (8, {"batch_size": 24, "fsdp": 3}, 6),
    ],
)
def test_a_cpu_is_split_so_that_batches_divide_and_every_device_has_enough_to_do(monkeypatch, cores, sizes, expected):
    config = default.get_config()
    config.training.update(sizes)
    config.eval.batch_size = config.training.batch_size
    assert devices.num_cpu_devices(config, cores) == expected
    settings = {}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.setattr("runtime.devices.num_cores", lambda: cores)
    devices.set_num_cpu_devices(config, None, training=False)
    assert not settings  # XLA_FLAGS of the tests set a number
    monkeypatch.delenv("XLA_FLAGS")
    for requested, training, number in ((None, False, expected), (None, True, 1), (5, True, 5), (5, False, 5)):
        devices.set_num_cpu_devices(config, requested, training=training)
        assert settings == {"jax_num_cpu_devices": number}
