"""Streamed moments are those of all examples at once, and statistics files refuse what does not belong to them."""

import tracemalloc

import numpy as np
import pytest

from evaluation.metrics import moments, reference
from evaluation.metrics.moments import GroupedMoments, Moments


def cloud(num=700, num_features=5, offset=0.0):
    rng = np.random.default_rng(1)
    return rng.standard_normal((num, num_features)) @ rng.standard_normal((num_features, num_features)) + offset


# Sums of 700 numbers of order 1 in double precision: 700 * 1e-16 at worst.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def assert_moments_of(result, x, **tolerance):
    assert result.num == len(x)
    np.testing.assert_allclose(result.mean, x.mean(0), **tolerance)
    np.testing.assert_allclose(result.covariance, np.cov(x, rowvar=False), **tolerance)


@pytest.mark.parametrize("sizes", [[700], [1] * 700, [699, 1], [300, 0, 350, 50]])
def test_moments_do_not_depend_on_how_examples_are_batched(sizes):
    x = cloud()
    parts = np.split(x, np.cumsum(sizes)[:-1])
    assert_moments_of(moments.merge_all(moments.of(part) for part in parts), x, **EXACT)


def test_a_large_offset_costs_no_digits_of_the_covariance():
    x = cloud(offset=1e6)
    parts = [moments.of(part) for part in np.split(x, 7)]
    # 1e6 has 1e-10 left after the comma; the covariance of sums of squares would keep 1e-4.
    np.testing.assert_allclose(moments.merge_all(parts).covariance, np.cov(x - 1e6, rowvar=False), rtol=1e-9, atol=1e-9)


def test_merging_is_associative_and_has_a_neutral_element():
    a, b, c = (moments.of(part) for part in np.split(cloud(600), 3))
    left, right = moments.merge(moments.merge(a, b), c), moments.merge(a, moments.merge(b, c))
    np.testing.assert_allclose(left.scatter, right.scatter, **EXACT)
    assert moments.merge(moments.empty(5), a) is a and moments.merge(a, moments.empty(5)) is a


def test_rows_of_more_than_one_chunk_are_taken_once_each():
    x = cloud(2 * moments.CHUNK + 3)
    assert_moments_of(moments.of(x), x, **EXACT)
    rows = np.random.default_rng(0).permutation(len(x))[: moments.CHUNK + 5]
    assert_moments_of(moments.of(x, rows), x[rows], **EXACT)


def test_grouped_moments_are_the_same_to_the_last_bit_however_the_stream_is_cut():
    x = cloud().astype(np.float32)
    results = []
    for batch_size in (1, 64, 700):
        grouped = GroupedMoments(5, num_groups=3, block=50)
        for start in range(0, len(x), batch_size):
            grouped.add(x[start : start + batch_size])
        results.append(grouped.groups())
    for groups in results:
        for group, first in zip(groups, results[0], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(group, first, strict=True))
    assert_moments_of(results[0][1], x[1::3].astype(np.float64), **EXACT)
    assert_moments_of(grouped.total(), x.astype(np.float64), **EXACT)
    again = GroupedMoments(5, num_groups=3, block=50)
    again.add(x)
    assert np.array_equal(again.groups()[2].scatter, again.groups()[2].scatter)  # looking does not change them


def test_grouped_moments_go_on_after_they_were_looked_at():
    x = cloud()
    grouped = GroupedMoments(5, num_groups=2, block=64)
    grouped.add(x[:333])
    assert_moments_of(grouped.total(), x[:333], **EXACT)
    grouped.add(x[333:])
    assert_moments_of(grouped.total(), x, **EXACT)


def test_a_stream_is_never_held_as_a_whole():
    grouped = GroupedMoments(64, num_groups=2, block=64)
    rng = np.random.default_rng(0)
    tracemalloc.start()
    try:
        for _ in range(50):
            grouped.add(rng.standard_normal((200, 64), np.float32))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grouped.num == 10_000 and peak_bytes < 10_000 * 64 * 4 / 4  # a quarter of the features in single precision


def test_moments_survive_a_file_to_the_last_bit(tmp_path):
    parts = moments.in_groups(cloud(), 3)
    np.savez(tmp_path / "round.npz", **moments.to_arrays(parts))
    with np.load(tmp_path / "round.npz") as file:
        read = moments.from_arrays(file)
    for a, b in zip(parts, read, strict=True):
        assert isinstance(b, Moments) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_what_are_no_features_is_refused():
    with pytest.raises(ValueError, match=r"expected \[N, D\]"):
        moments.of(np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        moments.of(np.array([[1.0], [np.inf]]))
    with pytest.raises(ValueError, match="not finite"):
        GroupedMoments(1).add(np.array([[np.nan]]))
    with pytest.raises(ValueError, match=r"these moments take \[B, 2\]"):
        GroupedMoments(2).add(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="of 2 and of 3 features"):
        moments.merge(moments.empty(2), moments.empty(3))
    with pytest.raises(ValueError, match="it takes two"):
        _ = moments.of(np.zeros((1, 2))).covariance
    with pytest.raises(ValueError, match="no moments"):
        moments.merge_all([])
    with pytest.raises(ValueError, match="0 groups"):
        GroupedMoments(2, num_groups=0)


PROVENANCE = {"features": "pixels", "features_hash": "ab", "image_size": 32, "shape": [32, 32, 3]}


def test_statistics_are_read_back_as_written_and_equal_ones_are_equal_files(tmp_path):
    given = reference.statistics(moments.of(cloud()), PROVENANCE)
    for name in ("a.npz", "b.npz"):
        reference.save(tmp_path / name, given)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = reference.load(tmp_path / "a.npz", {"features": "pixels", "shape": (32, 32, 3)})
    assert read.num == 700 and read.provenance == PROVENANCE
    np.testing.assert_array_equal(read.mu, given.mu)
    np.testing.assert_array_equal(read.sigma, given.sigma)


def test_statistics_made_in_another_way_are_refused_by_name(tmp_path):
    path = tmp_path / "stats.npz"
    reference.save(path, reference.statistics(moments.of(cloud()), PROVENANCE))
    with pytest.raises(ValueError, match="made with features_hash = 'ab', but here it is 'cd'; give the statistics"):
        reference.load(path, {"features": "pixels", "features_hash": "cd"})
    with pytest.raises(ValueError, match="does not record its dataset, which is 'cifar10' here"):
        reference.load(path, {"dataset": "cifar10"})


def test_statistics_of_other_programs_are_read_with_a_warning(tmp_path, caplog):
    path = tmp_path / "theirs.npz"
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2))
    read = reference.load(path, {"features": "pixels"})
    assert read.num is None and "has no provenance" in caplog.text
    reference.save(tmp_path / "again.npz", read)
    assert reference.load(tmp_path / "again.npz").num is None


def test_files_that_are_no_statistics_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "stats.npz"
    with pytest.raises(ValueError, match="is not a file; make the statistics"):
        reference.load(path)
    bad = [{"mu": np.zeros(2)}, {"mu": np.zeros(2), "sigma": np.eye(3)}, {"mu": np.full(2, np.nan), "sigma": np.eye(2)}]
    for arrays in bad:
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match="stats.npz"):
            reference.load(path)
    reference.save(path, reference.statistics(moments.of(cloud())))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cannot be read as statistics"):
        reference.load(path)
