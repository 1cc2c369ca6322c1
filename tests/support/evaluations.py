"""The folder of an evaluated checkpoint, as the program eval leaves it, with made-up results."""

import numpy as np

from evaluation.metrics import table
from reports.records import Column, write_report
from reports.sheets import grid, write_png

METRICS = ("fid", "kid", "inception_score", "precision", "recall")
LOSS = Column("loss.mean", "test loss", "lower", error="loss.standard_error", digits=".4f", rank=1)
BITS = Column("bits_per_dim.mean", "bits/dim", "lower", error="bits_per_dim.standard_error", digits=".4f", rank=2)
EVALUATIONS = Column("samples.num_evals", "NFE")


def figure(value, error=0.05, **more):
    """An estimate, as a report holds it."""
    return {"value": value, "error": error, "error_from": "a test", "num_samples": 600, "num_real": 1497, **more}


def results_of(number, metrics=True, bits=True):
    """Results that fall with the checkpoints up to the third, and rise after it."""
    height = 0.4 + 0.3 * abs(number - 3)
    results = {
        "loss": {"mean": 0.1 * height, "standard_error": 0.01, "num_examples": 300, "num_nonfinite": 0},
        "samples": {"num_samples": 600, "num_evals": 201.0},
    }
    if bits:
        results["bits_per_dim"] = {"mean": 2 + height, "standard_error": 0.0142, "num_examples": 300}
    if metrics:
        results["metrics"] = {
            "features": "classifier",
            "features_hash": "ab" * 32,
            "samples": {
                "fid": figure(height, 0.094, warning="FID compares <few> samples"),
                "kid": figure(-0.00089, 0.0037, standard_deviation=0.0037, error_from="standard deviation over parts"),
                "inception_score": figure(6.021, 0.33, num_real=0),
                "precision": figure(0.76, 0.017),
                "recall": figure(0.93, None),
            },
            "data_against_data": {
                "fid": figure(0.4231, 0.03),
                "kid": figure(0.0015, 0.002),
                "inception_score": figure(7.249, 0.2),
                "precision": figure(0.9, 0.01, warning="750 <halves> are few"),
                "recall": figure(0.9, 0.01, warning="750 <halves> are few"),
            },
        }
    return results


def columns_of(metrics=True, bits=True):
    """The columns of these results."""
    measured = [column.below("metrics") for column in table.columns(METRICS)] if metrics else []
    return [LOSS, *([BITS] if bits else []), EVALUATIONS, *measured]


def evaluated(folder, number, results=None, columns=None, **kwargs):
    """Writes the report and the grid of samples of checkpoint `number`."""
    directory = folder / f"ckpt_{number}"
    images = np.random.default_rng(number).integers(0, 256, (100, 8, 8, 1), np.uint8)
    write_png(directory / "samples.png", grid(images, scale=4))
    content = {
        "checkpoint": number,
        "step": 50_000 * number,
        "seed": 42,
        "results": results_of(number, **kwargs) if results is None else results,
        "columns": [column.to_dict() for column in (columns_of(**kwargs) if columns is None else columns)],
        "grid": "samples.png",
        "subject": ["digits", "ncsnpp", "subvpsde"],
        "config": {
            "data": {"dataset": "digits"},
            "model": {"name": "ncsnpp"},
            "training": {"sde": "subvpsde"},
            "eval": {"note": "</pre><script src='http://somewhere/a.js'></script>"},
        },
        "versions": {"jax": "0.10.2", "numpy": "2.4.6", "python": "3.11.2"},
        "backend": "cpu",
        "device_kind": "cpu",
        "num_devices": 1,
        "num_processes": 1,
    }
    return write_report(directory, content)
