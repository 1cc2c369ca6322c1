"""A report whose parts are of another kind is left out of an overview, by its name; the others are shown."""

import json
import logging

import pytest

from core.errors import DamagedFileError
from core.files import read_json, write_text
from reports import console, overview
from reports.plots import points
from reports.records import read, read_checkpoint
from tests.support import evaluations

HALF = "\ud800"  # of a character: JSON can say it, UTF-8 cannot
ODD = {
    "step": ["10", 0.5, None, 2**70, True],
    "checkpoint": ["1", 1.5, None],
    "config": [None, [], 3],
    "results": [None, [], {"loss": {"mean": 2**5000}}, {"loss": {"mean": 1, "warning": ["a"]}}],
    "columns": [
        3, [3], [{}], [{"path": "a"}],
        *([{"path": "loss.mean", "heading": "a", name: value}] for name, values in {
            "path": [["a"], None], "heading": [7], "better": ["best", ["lower"]], "error": [{}], "rank": ["1", 2**70],
            "digits": ["9999999999f", "s", 3], "variant": [None], "unknown": [1],
        }.items() for value in values),
    ],
    "versions": [None, 3],
    "subject": [[3], 7],
    "grid": ["../../elsewhere.png", 3],
    "device_kind": [None],
    "seed": ["one"],
}  # fmt: skip
CASES = [(name, value) for name, values in ODD.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{name} {str(value)[:40]}" for name, value in CASES])
def test_a_report_with_a_part_of_another_kind_is_left_out_by_name(name, value, tmp_path, caplog):
    for number in (1, 2):
        path = evaluations.evaluated(tmp_path, number)
    path.write_text(json.dumps(read_json(path) | {name: value}))
    with pytest.raises(DamagedFileError, match=f"^{path} is no report of an evaluation; restore it .*\\.$"):
        read_checkpoint(path)
    with caplog.at_level(logging.WARNING):
        assert [checkpoint.report["checkpoint"] for checkpoint in read(tmp_path)] == [1]
    assert f"It is left out of the overview: {path}" in caplog.text


@pytest.mark.parametrize("name", ["step", "checkpoint", "results", "config", "versions", "device_kind"])
def test_a_report_without_a_part_is_left_out(name, tmp_path):
    path = evaluations.evaluated(tmp_path, 1)
    content = read_json(path)
    del content[name]
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match="is no report of an evaluation"):
        read_checkpoint(path)


def test_lines_of_logs_that_are_none_are_not_drawn(tmp_path):
    path = evaluations.evaluated(tmp_path / "eval", 1)
    (path.parent / "wall_seconds.jsonl").write_text(
        '{"task": 3, "seconds": 1}\n{"task": "loss", "seconds": "1"}\n{"task": "loss", "seconds": 2, "time": "then"}\n'
    )
    lines = [{"step": {}, "loss": 1}, {"step": "1", "loss": 1}, {"step": 0.5, "loss": 1}, {"step": 2**70, "loss": 1}]
    lines += [{"step": 1, "loss": {}}, {"step": 1, "loss": 2**5000}, {"step": 1, "loss": True}, {"step": 2, "loss": 3}]
    assert points(lines, "loss") == ([2], [3])
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (*lines, *lines)))
    overview.rebuild(tmp_path / "eval")
    assert "then" in (tmp_path / "eval" / "report.html").read_text()
    assert "2.0 s" in (tmp_path / "eval" / "report.html").read_text()


def test_half_a_character_is_an_escape_in_what_is_written(tmp_path):
    path = evaluations.evaluated(tmp_path, 1)
    path.write_text(json.dumps(read_json(path) | {"sampler": HALF}))
    overview.rebuild(tmp_path)
    assert "\\ud800" in (tmp_path / "report.html").read_text()
    write_text(tmp_path / "a.json", json.dumps({"a": HALF}, ensure_ascii=False))
    assert read_json(tmp_path / "a.json") == {"a": HALF}


def test_a_deviation_without_its_kind_is_shown_without(tmp_path):
    results = {"a": {"b": 2.0, "standard_deviation": 0.5}}
    path = evaluations.evaluated(tmp_path, 1, results, [evaluations.Column("a.b", "some")])
    assert "some" in console.summary(path)
