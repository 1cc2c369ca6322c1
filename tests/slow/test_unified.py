"""The comparison of families of generative models, at toy size."""

import numpy as np
import pytest

from benchmarks.comparison.families import Size
from benchmarks.unified import compare


def test_the_comparison_of_families_writes_tables_and_what_they_show(tmp_path):
    size = Size(nf=4, blocks=1, batch_size=8, num_times=2, num_times_of_words=2, num_samples=10, num_read=10, steps=2)
    only = ("raster", "flow", "top2")
    results = compare(tmp_path, size, 6.5e7, 1, only)
    assert list(results) == list(only)
    for name, (found,) in results.items():
        assert all(np.isfinite(value) for value in found.values()), name
        assert found["training operations"] == pytest.approx(6.5e7, rel=0.1) or name == "top2"
    raster, mixture = results["raster"][0], results["top2"][0]
    assert mixture["steps"] == raster["steps"] < results["flow"][0]["steps"]
    more = 4 * 4 * size.nf + 4 * size.nf  # the router, and one more bias of the output
    assert mixture["active parameters"] - raster["parameters"] == more
    text, shown = ((tmp_path / f"unified.{kind}").read_text() for kind in ("md", "html"))
    assert text.count("\n| ") == 8  # the heading, a line, and two rows of each table
    assert "bits/dim: " in text and "4 experts, top-2: the held-out loss is" in text
    assert "raster autoregressive is the best" in text or "flow matching is the best" in text
    assert "<td>flow matching</td>" in shown
    before = (tmp_path / "unified.md").read_bytes()
    assert compare(tmp_path, size, 6.5e7, 1, only) == results  # nothing is trained again
    assert (tmp_path / "unified.md").read_bytes() == before
