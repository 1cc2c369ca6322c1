"""Batches that fit, compiled programs that are kept, and figures that do not depend on either."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

import run_lib
from core.keys import example_keys
from programs.run import Run
from runtime.compile_cache import use_compile_cache
from runtime.memory import MemoryBoundedSampler, largest_batch
from tests.support.configs import load
from tests.support.paths import ROOT


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
    assert largest_batch(1024, 8, needed, 1) == 8  # the least there is
    tried.clear()
    assert largest_batch(1024, 8, needed, 0) == 1024 and not tried  # the device does not tell


@pytest.mark.parametrize("num", [16, 13])
def test_examples_drawn_in_parts_are_those_drawn_at_once(num):
    def draw(params, other, keys, labels):
        x = params * jax.vmap(lambda key: jax.random.normal(key, (64,)))(keys) + labels[:, None]
        return {"samples": x, "num_evals": jnp.asarray(7)}

    keys, labels = example_keys(jax.random.key(0), num), jnp.arange(num)
    function = jax.jit(draw)
    bytes_of_six = function.lower(2.0, None, keys[:6], labels[:6]).compile().memory_analysis()
    free = bytes_of_six.output_size_in_bytes + bytes_of_six.temp_size_in_bytes
    whole = MemoryBoundedSampler(function, 1, lambda: 0)(2.0, None, keys, labels)
    fitted = MemoryBoundedSampler(function, 1, lambda: free + bytes_of_six.generated_code_size_in_bytes)
    for _ in range(2):
        given = fitted(2.0, None, keys, labels)
        np.testing.assert_array_equal(given["samples"], whole["samples"])
        assert int(given["num_evals"]) == 7 and 0 < fitted._size < num


@pytest.mark.parametrize(
    ("flag", "environment", "expected"),
    [
        (None, None, "/home/of/score_sde_jax"),
        (None, "/from/environment", "/from/environment"),
        ("/from/flag", "/from/environment", "/from/flag"),
        ("off", "/from/environment", None),
    ],
)
def test_compiled_programs_are_kept_unless_told_otherwise(flag, environment, expected, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/of")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    if environment:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", environment)
    try:
        use_compile_cache(flag)
        assert jax.config.jax_compilation_cache_dir == expected
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


class flagged:  # noqa: N801  a context
    """The flag of the cache as a command would set it."""

    def __init__(self, arguments):
        self.value = arguments[0].split("=")[1] if arguments else None

    def __enter__(self):
        self.was_parsed = flags.FLAGS.is_parsed()
        if not self.was_parsed:
            flags.FLAGS.mark_as_parsed()
        self.before, flags.FLAGS.compilation_cache = flags.FLAGS.compilation_cache, self.value

    def __exit__(self, *_):
        flags.FLAGS.compilation_cache = self.before
        if not self.was_parsed:
            flags.FLAGS.unparse_flags()


# Whole programs ---------------------------------------------------------------------------------------------------


def report_of(run, folder):
    (path,) = run_lib.evaluate(run, folder)
    return json.loads(path.read_text())["results"], np.load(path.parent / "samples.npz")["arr_0"]


def test_a_run_with_a_divided_state_and_accumulated_gradients_has_the_figures_of_a_plain_one(data_dir, tmp_path):
    """Training with a test loss and a grid of samples, then loss, bits/dim and samples of its checkpoint."""
    found = {}
    for name, settings in {"plain": {}, "divided": {"fsdp": 4, "grad_accumulation": 2}}.items():
        config = load("configs/vp/smoke.py")
        config.data.data_dir = data_dir
        config.model.nf = 32
        config.training.update(**settings)
        run = Run(config, str(tmp_path / name))
        run_lib.train(run)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses = [line[key] for line in lines for key in ("loss", "test_loss") if key in line]
        found[name] = losses, *report_of(run, "eval")
    losses, results, samples = found["divided"]
    np.testing.assert_allclose(losses, found["plain"][0], rtol=1e-5)  # sums in another order
    for task in ("loss", "bits_per_dim"):
        # The parameters of ten steps of Adam differ by some 1e-5 where a gradient is near 0; bits/dim to the tolerance.
        assert results[task]["mean"] == pytest.approx(found["plain"][1][task]["mean"], rel=1e-3)
    assert np.mean(samples != found["plain"][2]) < 0.02  # grey levels at the border of two


def test_bits_per_dim_of_one_model_in_float32_and_bfloat16_agree(data_dir, tmp_path):
    config = load("configs/vp/digits_ddpmpp_continuous.py")
    config.data.data_dir = data_dir
    config.model.update(nf=16, ch_mult=(1, 2))
    config.training.update(n_iters=200, snapshot_freq=200, snapshot_freq_for_preemption=200, eval_freq=0)
    config.training.snapshot_sampling = False
    config.eval.update(begin_ckpt=1, end_ckpt=1, enable_loss=False, enable_sampling=False)
    run_lib.train(Run(config, str(tmp_path), jax.devices()[:1]))
    means = {}
    for dtype in ("float32", "bfloat16"):
        config.eval.bpd_dtype = dtype
        (path,) = run_lib.evaluate(Run(config, str(tmp_path), jax.devices()[:1]), f"eval_{dtype}")
        means[dtype] = json.loads(path.read_text())["results"]["bits_per_dim"]["mean"]
    assert means["float32"] < 4.0  # it has learned: uniform pixels have log2 17 = 4.09
    assert abs(means["bfloat16"] - means["float32"]) < 0.01


FAULTS = """
import resource
import sys
from runtime import malloc
if sys.argv[1] == "keep":
    assert malloc.keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26  # 16,384 pages, written and given back
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_memory_that_is_given_back_is_not_taken_from_the_system_again():
    def faults(how):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], cwd=ROOT, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("default") >= 2**14
    assert faults("keep") < 100
