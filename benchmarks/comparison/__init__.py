"""The parts of `benchmarks.unified`: families, what is measured of them, tables."""
