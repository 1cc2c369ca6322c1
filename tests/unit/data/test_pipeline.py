"""The order of examples is a pure function of (seed, step), whatever the number of processes and threads."""

import itertools

import numpy as np
import pytest

from data.fields import Field, labeled
from data.pipeline import eval_batch, examples_of_step, num_rounds, train_batches
from data.source import Source

N = 30


def counted(num_examples=N):
    """A source whose images contain their index (left pixel; the right one is 255), and the list of indices read."""
    read = []

    def fetch(indices):
        read.extend(np.asarray(indices).tolist())
        x = np.full((len(indices), 1, 2, 1), 255, np.uint8)
        x[:, 0, 0, 0] = indices
        return {"x": x, "label": np.asarray(indices, np.int32)}

    return Source("counted", num_examples, labeled(Field((1, 2, 1), "uint8", 256)), fetch), read


def take(count, num_examples=N, **options):
    """The first `count` batches as one pair of arrays: x [count, b, 1, 2, 1] and label [count, b]."""
    options = {"seed": 5, "batch_size": 8, **options}
    with train_batches(counted(num_examples)[0], **options) as batches:
        taken = list(itertools.islice(batches, count))
    return np.stack([batch["x"] for batch in taken]), np.stack([batch["label"] for batch in taken])


@pytest.mark.parametrize("num_threads", [1, 3])
def test_starting_at_a_step_equals_skipping_to_it(num_threads):
    x, label = take(12, random_flip=True)
    for start in [0, 1, 7]:
        later = take(12 - start, start_step=start, random_flip=True, num_threads=num_threads)
        np.testing.assert_array_equal(later[0], x[start:])
        np.testing.assert_array_equal(later[1], label[start:])


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_divide_the_batch_of_a_single_process(process_count):
    x, label = take(9, random_flip=True)
    parts = [take(9, random_flip=True, process_index=p, process_count=process_count) for p in range(process_count)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts], axis=1), x)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts], axis=1), label)


def test_every_epoch_has_each_example_once_in_its_own_order():
    epochs = take(15)[1].reshape(4, N)  # 15 batches of 8 are 4 epochs of 30
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(N))
    for a, b in itertools.combinations([np.arange(N), *epochs], 2):
        assert (a != b).any()


def test_another_seed_gives_another_order_and_other_flips():
    (x, label), (other_x, other_label) = take(6, random_flip=True), take(6, random_flip=True, seed=6)
    assert (label != other_label).any()
    assert ((x[:, :, 0, 0] == 255) != (other_x[:, :, 0, 0] == 255)).any()
    np.testing.assert_array_equal(take(6)[1], take(6, random_flip=True)[1])  # flips leave the order alone


def test_flips_are_a_fair_coin_for_each_example_and_step():
    x, label = take(200, random_flip=True)
    flipped = x[..., 0, 0, 0] == 255
    np.testing.assert_array_equal(np.where(flipped, x[..., 0, 1, 0], x[..., 0, 0, 0]), label)
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / np.sqrt(flipped.size)  # four standard deviations
    assert abs(flipped[:, 0].mean() - 0.5) < 4 * 0.5 / np.sqrt(200)
    assert not (take(20)[0][..., 0, 0, 0] == 255).any()


def test_resuming_reads_nothing_of_earlier_steps():
    order = take(60)[1]
    source, read = counted()
    with train_batches(source, seed=5, batch_size=8, start_step=40) as batches:
        next(batches)
    # Reading ahead may go further, in order; it never goes back.
    np.testing.assert_array_equal(read, order[40:].ravel()[: len(read)])
    assert 8 <= len(read) <= 8 * 5


def test_the_examples_of_a_step_are_known_without_reading_them():
    source, read = counted()
    for step, labels in enumerate(take(10)[1]):
        np.testing.assert_array_equal(examples_of_step(source, seed=5, batch_size=8, step=step), labels)
    assert read == []


def test_a_process_reads_only_its_own_rows():
    order = take(20)[1]
    source, read = counted()
    with train_batches(source, seed=5, batch_size=8, process_index=1, process_count=2) as batches:
        next(batches)
    np.testing.assert_array_equal(read, order[:, 4:].ravel()[: len(read)])


def test_a_batch_may_be_larger_than_the_data_set():
    label = take(3, num_examples=3, batch_size=6)[1]
    np.testing.assert_array_equal(np.sort(label.reshape(6, 3), axis=1), np.tile(np.arange(3), (6, 1)))


def test_a_failing_read_reaches_the_caller():
    def fetch(indices):
        raise OSError("the disk is gone")

    source = Source("broken", 4, labeled(Field((1, 1, 1), "uint8", 256)), fetch)
    with train_batches(source, seed=0, batch_size=2) as batches, pytest.raises(OSError, match="the disk is gone"):
        next(batches)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 24])
def test_evaluation_rounds_contain_each_example_once(size):
    source, _ = counted(size)
    rounds = [eval_batch(source, i, 8) for i in range(num_rounds(size, 8))]
    assert len(rounds) == -(-size // 8)
    seen = []
    for batch in rounds:
        assert batch["x"].shape == (8, 1, 2, 1) and batch["counted"].dtype == np.float32
        assert batch["index"].dtype == np.int32
        np.testing.assert_array_equal(batch["label"], batch["index"])
        np.testing.assert_array_equal(batch["index"][batch["counted"] == 0], size - 1)  # padding repeats the last
        seen.extend(batch["index"][batch["counted"] == 1])
    np.testing.assert_array_equal(seen, np.arange(size))
    with pytest.raises(ValueError, match=f"round {len(rounds)} was requested, but there are {size} examples"):
        eval_batch(source, len(rounds), 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 6, "process_count": 4}, "batch_size 6 cannot be divided among 4 processes"),
        ({"batch_size": 0}, "batch_size 0 cannot be divided among 1 processes"),
        ({"seed": -1}, "seed -1 is not in 0"),
        ({"start_step": -1}, "start_step -1 and num_threads 1"),
    ],
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        train_batches(counted()[0], **{"seed": 0, "batch_size": 8, **options})
