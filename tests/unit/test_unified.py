"""What the comparison of families says of its tables."""

from benchmarks.comparison import page


def test_conclusions_follow_from_the_numbers():
    def results(a, b):
        return {"raster": [{"bits/dim": x} for x in a], "absorbing": [{"bits/dim": x} for x in b]}

    column = next(column for column in page.COLUMNS if column.name == "bits/dim")
    one = page.best(results([2.0], [2.5]), column)
    assert one == (
        "bits/dim: raster autoregressive is the best with 2.000, of one seed, before absorbing diffusion with 2.500; a "
        "bound can only be too large."
    )
    assert "absorbing diffusion is the best" in page.best(results([3.0], [2.5]), column)
    assert ", more than two standard errors from absorbing" in page.best(results([2.0, 2.1], [2.5, 2.6]), column)
    assert ", not more than two standard errors from absorbing" in page.best(results([2.0, 3.0], [2.5, 3.4]), column)
