"""Data given by a path, read by worker processes."""

import absl.flags
import numpy as np

from tests.support.own_data import PIXELS, batches_of, forms, save


def test_worker_processes_and_threads_give_the_same_batches(tmp_path):
    for i, pixels in enumerate(PIXELS):
        save(tmp_path / "own" / ("ant", "bee", "cow")[i // 4] / f"{i:02d}.png", pixels)
    absl.flags.FLAGS.mark_as_parsed()  # grain's processes read absl's flags
    for open_source in forms(tmp_path, tmp_path / "own").values():
        expected = batches_of(open_source(), 3)
        for options in ({"num_workers": 2}, {"num_threads": 3}):
            for ours, one in zip(batches_of(open_source(), 3, **options), expected, strict=True):
                for name in one:
                    np.testing.assert_array_equal(ours[name], one[name])
