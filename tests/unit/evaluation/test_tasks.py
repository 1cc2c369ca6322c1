"""Every example counts exactly once, and every sample is made once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.rounds import Rounds, run_task
from evaluation.tasks.per_example import loss_task, per_example_task
from evaluation.tasks.samples import samples_task
from reports.records import flatten


def fetcher(values, batch_size):
    """Batches of `values` [N]; padding holds a number that would spoil every mean."""

    def fetch(round_number):
        position = np.arange(round_number * batch_size, (round_number + 1) * batch_size)
        mask = (position < len(values)).astype(np.float32)
        index = np.minimum(position, len(values) - 1).astype(np.int32)
        return {"x": np.where(mask > 0, values[index], 1e9), "index": index, "counted": mask}

    return fetch


@pytest.mark.parametrize("size", [2, 7, 8, 9])
def test_mean_and_standard_error_are_those_of_the_whole_data_set(tmp_path, size):
    values = np.random.default_rng(1).normal(3, 2, size)
    task = loss_task(size, 4, fetcher(values, 4), lambda batch: {"loss": batch["x"]})
    summary = run_task(task, tmp_path)
    assert summary["num_examples"] == size and summary["num_nonfinite"] == 0
    np.testing.assert_allclose(summary["mean"], np.mean(values), rtol=1e-14)  # float64 sums in another order
    np.testing.assert_allclose(summary["standard_error"], np.std(values, ddof=1) / np.sqrt(size), rtol=1e-13)
    np.testing.assert_array_equal(np.concatenate([r["index"] for r in Rounds(task, tmp_path)]), np.arange(size))
    np.testing.assert_array_equal(np.concatenate([r["loss"] for r in Rounds(task, tmp_path)]), values)


def test_the_batch_size_does_not_change_the_result(tmp_path):
    values = np.random.default_rng(2).normal(size=11)
    summaries = [
        run_task(loss_task(11, size, fetcher(values, size), lambda batch: {"loss": batch["x"]}), tmp_path / str(size))
        for size in (3, 11, 16)
    ]
    assert summaries[0] == summaries[1] == summaries[2]


def test_repeats_are_averaged_per_example_with_noise_of_their_own(tmp_path):
    """Noise addressed by (example, repetition): the mean over repeats, not over examples, is what the error sees."""
    values = np.arange(7.0)

    traced = []

    @jax.jit
    def evaluate(batch):
        traced.append(batch)

        def noise(i):
            return jax.random.normal(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), i), batch["repeat"]))

        return {"bits_per_dim": batch["x"] + jax.vmap(noise)(batch["index"]), "num_evals": jnp.int32(50)}

    of = {"quantity": "bits_per_dim", "repeats": 3}
    summary = run_task(per_example_task("bits_per_dim", 7, 4, fetcher(values, 4), evaluate, **of), tmp_path)
    assert len(traced) == 1  # the repetition is an argument: nothing is compiled again
    keys = [[jax.random.fold_in(jax.random.fold_in(jax.random.key(0), i), r) for r in range(3)] for i in range(7)]
    draws = np.array([[float(jax.random.normal(key)) for key in row] for row in keys], np.float64)
    expected = values + draws.mean(axis=1)
    np.testing.assert_allclose(summary["mean"], expected.mean(), rtol=1e-6)  # the sum x + noise is float32
    np.testing.assert_allclose(summary["standard_error"], expected.std(ddof=1) / np.sqrt(7), rtol=1e-6)
    assert summary["num_evals_mean"] == 50


def test_what_is_not_finite_is_counted(tmp_path):
    values = np.array([1.0, np.nan, 2.0])
    summary = run_task(loss_task(3, 2, fetcher(values, 2), lambda batch: {"loss": batch["x"]}), tmp_path)
    assert summary["num_nonfinite"] == 1 and np.isnan(summary["mean"])


def test_a_single_example_has_no_standard_error(tmp_path):
    summary = run_task(loss_task(1, 2, fetcher(np.ones(1), 2), lambda batch: {"loss": batch["x"]}), tmp_path)
    assert summary["mean"] == 1 and np.isnan(summary["standard_error"])


def test_quantities_of_another_shape_are_refused():
    task = loss_task(3, 2, fetcher(np.ones(3), 2), lambda batch: {"loss": np.ones((2, 5))})
    with pytest.raises(ValueError, match="quantity loss has shape \\(2, 5\\); expected one value for each of 2"):
        task.run(0)
    with pytest.raises(ValueError, match="got 3 examples, batches of 2 and 0 repeats; each must be at least 1"):
        per_example_task("t", 3, 2, fetcher(np.ones(3), 2), lambda batch: {}, quantity="loss", repeats=0)


def test_rounds_of_another_batch_size_are_not_mixed_in(tmp_path):
    values = np.arange(8.0)
    run_task(loss_task(8, 2, fetcher(values, 2), lambda batch: {"loss": batch["x"]}), tmp_path)
    with pytest.raises(ValueError, match="written with another batch size or another number of examples"):
        run_task(loss_task(8, 4, fetcher(values, 4), lambda batch: {"loss": batch["x"]}), tmp_path)


def generate(start, count):
    """Sample i is an image full of i."""
    index = np.arange(start, start + count)
    return {
        "samples": np.broadcast_to(index[:, None, None, None], (count, 2, 2, 1)).astype(np.uint8),
        "label": index % 3,
        "num_evals": 10 + start,
    }


@pytest.mark.parametrize("batch_size", [3, 4, 10, 16])
def test_samples_are_numbered_and_the_surplus_is_cut_off(tmp_path, batch_size):
    asked = []

    def count_and_generate(start, count):
        asked.append((start, count))
        return generate(start, count)

    task = samples_task(10, batch_size, count_and_generate)
    summary = run_task(task, tmp_path)
    assert asked == [(start, batch_size) for start in range(0, 10, batch_size)]  # one shape: nothing recompiles
    rounds = Rounds(task, tmp_path)
    samples = np.concatenate([arrays["samples"] for arrays in rounds])
    assert samples.shape == (10, 2, 2, 1) and samples.dtype == np.uint8
    np.testing.assert_array_equal(samples[:, 0, 0, 0], np.arange(10))
    np.testing.assert_array_equal(np.concatenate([arrays["label"] for arrays in rounds]), np.arange(10) % 3)
    assert summary == {"num_samples": 10, "num_evals": np.mean([10 + start for start, _ in asked])}


def test_samples_of_another_number_are_refused(tmp_path):
    task = samples_task(10, 4, lambda start, count: generate(start, 3))
    with pytest.raises(ValueError, match="generate returned 3 samples instead of 4"):
        task.run(0)
    run_task(samples_task(10, 4, generate), tmp_path)
    with pytest.raises(ValueError, match="another batch size or another number"):
        run_task(samples_task(12, 4, generate), tmp_path)
    with pytest.raises(ValueError, match="got 0 samples in batches of 4"):
        samples_task(0, 4, generate)


def test_the_columns_of_a_task_are_numbers_of_its_summary(tmp_path):
    values = np.arange(1.0, 7.0)
    bits = per_example_task(
        "bits_per_dim", 6, 4, fetcher(values, 4), lambda batch: {"nats_per_dim": batch["x"]}, quantity="nats_per_dim"
    )
    tasks = (
        loss_task(6, 4, fetcher(values, 4), lambda batch: {"loss": batch["x"]}),
        bits,
        samples_task(10, 4, generate),
    )
    headings = []
    for task in tasks:
        numbers = dict(flatten(run_task(task, tmp_path)))
        headings += [column.heading for column in task.columns]
        for column in task.columns:
            assert {column.path, column.error or column.path} <= numbers.keys()
    assert headings == ["test loss", "nats/dim", "NFE"]
    assert [column.rank for task in tasks for column in task.columns] == [1, 0, 0]
