"""A run that is killed, wherever that is, ends as one that nobody touched; `benchmarks/kill.py` has the harness."""

import pytest

from benchmarks import kill
from tests.support.configs import QUICK

# ml_collections reads a config file in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

EXPERIMENT = kill.Experiment(changes=QUICK)


def test_killed_runs_end_like_one_that_was_left_alone_to_the_last_bit(tmp_path):
    results = list(kill.measure(kills=5, folder=tmp_path, seed=0, steps=40, experiment=EXPERIMENT))
    assert sum(sum(result["kills"].values()) for result in results) == 5
    for result in results:
        assert (
            result["exit_code"] == 0
            and result["different"] == []
            and result["orphans"] == 0
            and result["compared"] >= 15
        )
