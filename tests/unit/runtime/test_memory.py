"""Batches that fit into the memory of a device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from core.keys import example_keys
from runtime.memory import MemoryBoundedSampler, largest_batch


def test_a_batch_is_halved_until_it_fits():
    """A program of 10 bytes and 3 for each example."""
    tried = []

    def needed(size):
        tried.append(size)
        return 10 + 3 * size

    assert largest_batch(1024, 1, needed, 10 + 3 * 1024) == 1024 and tried == [1024]
    assert largest_batch(1024, 1, needed, 10 + 3 * 1023) == 512
    assert largest_batch(1024, 1, needed, 500) == 128
    assert largest_batch(1000, 8, needed, 500) == 128  # 1000, 504, 256, 128: multiples of 8
    assert largest_batch(1024, 8, needed, 1) == 8  # the smallest multiple
    tried.clear()
    assert largest_batch(1024, 8, needed, 0) == 1024 and not tried  # the limit is unknown


@pytest.mark.parametrize("num", [16, 13])
def test_samples_generated_in_parts_are_those_generated_at_once(num):
    def sample(params, other, keys, labels):
        x = params * jax.vmap(lambda key: jax.random.normal(key, (64,)))(keys) + labels[:, None]
        return {"samples": x, "num_evals": jnp.asarray(7)}

    sizes = []

    def compiled(params, other, keys, labels):
        sizes.append(len(keys))
        return function(params, other, keys, labels)

    keys, labels = example_keys(jax.random.key(0), num), jnp.arange(num)
    function = jax.jit(sample)
    compiled.lower = function.lower
    bytes_of_six = function.lower(2.0, None, keys[:6], labels[:6]).compile().memory_analysis()
    free = bytes_of_six.output_size_in_bytes + bytes_of_six.temp_size_in_bytes
    whole = MemoryBoundedSampler(function, 1, lambda: 0)(2.0, None, keys, labels)
    bounded = MemoryBoundedSampler(compiled, 1, lambda: free + bytes_of_six.generated_code_size_in_bytes)
    for _ in range(2):
        found = bounded(2.0, None, keys, labels)
        np.testing.assert_array_equal(found["samples"], whole["samples"])
        assert int(found["num_evals"]) == 7 and len(set(sizes)) == 1 and 0 < sizes[0] < num
