"""The log of metrics."""

import errno
import json
import os
import struct

import pytest
from tensorboardX.proto import event_pb2

from core.errors import DiskError
from reports import records
from tests.support.evaluations import evaluated
from training import log as training_log
from training.log import Board, MetricsLog, write_evaluation


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


STRANGE = [
    b"\xff\xfe\x00",
    b"[5]",
    b"5",
    b'"step"',
    b'{"loss": 1.0}',
    b'{"step": "5"}',
    b'{"step": null}',
    b"[" * 10_000,
]


def test_lines_of_strangers_are_left_out_and_kept_beside(tmp_path, caplog):
    path, good = tmp_path / "metrics.jsonl", [b'{"step": 5, "loss": 1.0}', b'{"step": 10, "loss": 2.0}']
    content = b"\n".join([good[0], *STRANGE, good[1], b'{"step": 15, "lo'])
    path.write_bytes(content)
    with MetricsLog(tmp_path, first_step=10):
        assert path.read_bytes() == b"\n".join([*good, b""])
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == content and "no metrics" in caplog.text


def test_event_files_are_in_order_whatever_the_clock_says(tmp_path, monkeypatch):
    """TensorBoard reads them by name."""
    created = []
    for now in (2_000_000_000.0, 2_000_000_000.5, 1_900_000_000.0, 1_000.0, 2_100_000_000.0):
        monkeypatch.setattr(training_log.time, "time", lambda now=now: now)
        Board(tmp_path, purge_step=3).close()
        (new,) = {path.name for path in tmp_path.iterdir()} - set(created)
        created.append(new)
    assert created == sorted(created) and created[-1].startswith("events.out.tfevents.2100000000.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EIO])
def test_a_full_disk_is_one_sentence_also_where_only_tensorboard_notices_it(tmp_path, monkeypatch, number):
    def full(self):
        raise OSError(number, "as the system says")

    message = rf"^{tmp_path}/tensorboard cannot be written \({os.strerror(number)}\); .*\.$"
    with pytest.raises(DiskError, match=message), MetricsLog(tmp_path, first_step=0) as log:
        log.write(5, {"loss": 1.0}, "")
        monkeypatch.setattr(training_log.RecordWriter, "flush", full)
        log.sync()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 5, "loss": 1.0}


def test_the_error_that_ended_a_run_is_the_one_that_it_ends_with(tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(KeyError, match="the reason"), MetricsLog(tmp_path, first_step=0):
        monkeypatch.setattr(training_log.RecordWriter, "flush", full)
        raise KeyError("the reason")


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_path_of_another_kind_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_text("") if name == "tensorboard" else (tmp_path / name).mkdir()
    with pytest.raises(DiskError, match=rf"^{tmp_path / name} cannot be written \("):
        MetricsLog(tmp_path, first_step=0)


def test_tensorboard_has_every_column_and_the_samples_once_however_often_it_is_written(tmp_path):
    for number in (1, 2):
        evaluated(tmp_path / "eval", number)
        write_evaluation(tmp_path / "eval", records.read(tmp_path / "eval"))
    (path,) = (tmp_path / "tensorboard" / "eval").iterdir()
    values = [(event.step, value) for event in events(path) for value in event.summary.value]
    scalars = {(value.tag, step): value.simple_value for step, value in values}
    columns = records.read(tmp_path / "eval")[0].columns
    assert {tag for tag, _ in scalars} == {column.heading for column in columns} | {"samples"}
    assert scalars["FID", 100_000] == pytest.approx(0.7)
    assert sum(value.tag == "samples" for _, value in values) == 2


def events(path):
    """The events in a file: each is its length, a checksum, the event, and a checksum."""
    content = path.read_bytes()
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        yield event_pb2.Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]
