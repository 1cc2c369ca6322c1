"""The log of metrics."""

from training.log import MetricsLog


def test_metrics_after_the_checkpoint_and_truncated_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5, "loss": 1.0}\n{"step": 10, "loss": 2.0}\n{"step": 15, "lo')
    with MetricsLog(tmp_path, first_step=5) as log:
        log.write(10, {"loss": 3.0}, "")
        log.sync()
        assert path.read_text() == '{"step": 5, "loss": 1.0}\n{"step": 10, "loss": 3.0}\n'
        log.write(15, {"loss": 4.0}, "")
    boards = list((tmp_path / "tensorboard").iterdir())
    assert len(boards) == 2 and all(board.stat().st_size > 0 for board in boards)
    assert [path.name for path in tmp_path.glob(".*")] == []
