"""The overview of an evaluation: its table, its best checkpoint, its curves, and a page that needs nothing else."""

import csv
import fcntl
import io
import json
import re
import threading
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from evaluation.metrics import table
from reports import console, html, overview, plots, records
from reports.records import Column
from reports.sheets import write_png
from tests.support.evaluations import evaluated, results_of


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    for number in (1, 2, 3, 4, 10):
        evaluated(folder, number)
    best = overview.rebuild(folder)
    return folder, best


FILES = ("report.csv", "report.png", "report.html", "best.json")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def test_the_table_has_every_number_of_every_report(evaluation):
    rows = list(csv.DictReader(io.StringIO((evaluation[0] / "report.csv").read_text())))
    assert [row["checkpoint"] for row in rows] == ["1", "2", "3", "4", "10"]  # by number, not by name
    expected = dict(records.flatten(results_of(2)))
    assert len(expected) > 40 and rows[1].keys() == expected.keys() | {"checkpoint", "step"}
    assert {name: float(rows[1][name]) for name in expected if rows[1][name]} == expected
    assert rows[1]["step"] == "100000" and float(rows[1]["metrics.data_against_data.fid.error"]) == 0.03
    assert "metrics.samples.recall.error" not in rows[1]  # not a number anywhere


def test_the_best_checkpoint_is_that_of_the_least_fid_else_of_bits_per_dim_else_of_the_loss(evaluation, tmp_path):
    assert evaluation[1] == records.Best(3, 150_000, "FID", 0.4)
    assert json.loads((evaluation[0] / "best.json").read_text()) == evaluation[1]._asdict()

    def best():
        return records.best_of(records.read(tmp_path))

    evaluated(tmp_path, 2, metrics=False, bits=False)
    assert best() == records.Best(2, 100_000, "test loss", pytest.approx(0.07))
    evaluated(tmp_path, 4, metrics=False)
    assert best()[:3] == (4, 200_000, "bits/dim")  # the first has none
    evaluated(tmp_path, 1)
    assert best()[:3] == (1, 50_000, "FID")
    assert str(best()) == "checkpoint 1, after 50,000 steps, by FID: 1"


def by(variant, value, identity=""):
    """Results and columns with an FID by some features."""
    results = {"samples": {"fid": {"value": value, "error": 0.1, "slope": 3.0}}}
    columns = [column.below("metrics") for column in table.columns(["fid"], variant, identity)]
    return {"metrics": results}, columns


def test_fid_by_other_features_has_their_name_everywhere_and_is_never_compared_with_inceptions(tmp_path):
    cases = (("thumbnails", 0.01), ("", 5.0), ("", 4.0), ("classifier", 0.02))
    for number, (variant, value) in enumerate(cases, start=1):
        path = evaluated(tmp_path, number, *by(variant, value))
    assert overview.rebuild(tmp_path) == records.Best(3, 150_000, "FID", 4.0)
    header, *rows = csv.reader((tmp_path / "report.csv").read_text().splitlines())
    names = [f"metrics.samples.fid.{name}" for name in ("error", "slope", "value")]
    expected = [f"{name}{kind}" for name in names for kind in ("", " (classifier)", " (thumbnails)")]
    assert header == ["checkpoint", "step", *expected]
    value = header.index("metrics.samples.fid.value (thumbnails)")
    assert [row[value] for row in rows] == ["0.01", "", "", ""]
    page = (tmp_path / "report.html").read_text()
    headings = "<th>FID (thumbnails) ↓</th><th>FID ↓</th><th>FID (classifier) ↓</th>"
    assert headings in page and "<td></td><td>5.00<small>± 0.10</small></td><td></td>" in page
    assert console.summary(path).splitlines()[1].split()[:2] == ["FID", "(classifier)"]


def test_two_classifiers_are_not_one(tmp_path):
    for number, (value, identity) in enumerate(((5.0, "a"), (1.0, "b"), (4.0, "a")), start=1):
        evaluated(tmp_path, number, *by("classifier", value, identity))
    assert overview.rebuild(tmp_path).checkpoint == 3  # of the first classifier's


def test_of_equal_checkpoints_the_first_is_best_and_what_is_not_finite_is_none():
    def checkpoint(number, loss):
        numbers = {"loss.mean": loss} if loss else {}
        return records.Checkpoint({"checkpoint": number, "step": number}, numbers, (column,), None)

    column = Column("loss.mean", "loss", "lower")
    assert records.best_of([checkpoint(2, 0.5), checkpoint(1, 0.5), checkpoint(3, 0.6)]).checkpoint == 1
    column = Column("loss.mean", "loss", "higher")
    assert records.best_of([checkpoint(2, 0.6), checkpoint(1, 0.5), checkpoint(3, 0.6)]).checkpoint == 2
    column = Column("loss.mean", "loss")
    assert records.best_of([checkpoint(2, 0.6), checkpoint(1, 0.5)]) is None
    assert records.best_of([checkpoint(1, None)]) is None and records.best_of([]) is None
    assert dict(records.flatten({"loss": {"mean": None, "n": 3, "of": "words"}})) == {"loss.n": 3}


def test_the_overview_is_the_same_to_the_last_byte_whoever_makes_it_last(tmp_path):
    few = {"metrics": False, "bits": False}
    for number in (10, 3, 1):
        evaluated(tmp_path / "pieces", number, **few)
    overview.rebuild(tmp_path / "pieces")
    for number in (4, 2):
        evaluated(tmp_path / "pieces", number, **few)
    overview.rebuild(tmp_path / "pieces")
    for number in (1, 2, 3, 4, 10):
        evaluated(tmp_path / "at once", number, **few)
    overview.rebuild(tmp_path / "at once")
    assert contents(tmp_path / "pieces") == contents(tmp_path / "at once")
    found = sorted(path.name for path in (tmp_path / "pieces").iterdir() if path.is_file())
    assert found == sorted((*FILES, overview.LOCK))


def test_a_slow_worker_waits_and_then_sees_what_the_others_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "draw", lambda panels, *forms: [b"<svg></svg>"] * len(forms))
    evaluated(tmp_path, 1)
    with (tmp_path / overview.LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        slow = threading.Thread(target=overview.rebuild, args=(tmp_path,))
        slow.start()
        slow.join(0.3)
        assert slow.is_alive() and not (tmp_path / "report.csv").exists()
        evaluated(tmp_path, 2)
    slow.join(60)
    assert [line.split(",")[0] for line in (tmp_path / "report.csv").read_text().splitlines()] == [
        "checkpoint",
        "1",
        "2",
    ]


def test_a_half_written_report_is_not_read(tmp_path):
    evaluated(tmp_path, 1, metrics=False, bits=False)
    overview.rebuild(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "ckpt_11").mkdir()
    (tmp_path / "ckpt_11" / ".report.json.0123.tmp").write_text('{"checkpoint": 11, ')
    overview.rebuild(tmp_path)
    assert contents(tmp_path) == before


def test_nothing_evaluated_yet_is_a_page_too(tmp_path):
    assert overview.rebuild(tmp_path) is None
    assert "nothing yet" in (tmp_path / "report.html").read_text()
    assert "no results yet" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.csv").read_text() == "checkpoint,step\n"


def test_the_curves_have_a_panel_for_each_column(evaluation):
    with Image.open(evaluation[0] / "report.png") as image:
        assert image.size[0] > 3 * 400 and len(image.convert("RGB").getcolors(10**6)) > 50
    (drawn,) = plots.draw([plots.Panel("$loss$ <1>", [plots.Curve([1], [0.5], [0.1])])], "svg")
    drawn = drawn.decode()
    assert "$loss$ &lt;1&gt;" in drawn and "FID" not in drawn and "real vs. real" not in drawn


class Resources(HTMLParser):
    """Notes every tag, and all that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetched = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.fetched += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data", "srcset", "action")]


def test_the_page_needs_nothing_from_elsewhere(evaluation):
    text = (evaluation[0] / "report.html").read_text()
    found = Resources(text)
    assert found.tags.count("img") == 5 and found.tags.count("svg") == 1 and "script" not in found.tags
    assert all(url.startswith(("data:image/png;base64,", "#")) for url in found.fetched)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_the_page_has_results_error_bars_baselines_and_provenance(evaluation):
    text = (evaluation[0] / "report.html").read_text()
    for expected in (
        "Best: checkpoint 3, after 150,000 steps, by FID: 0.4",
        '<tr class="chosen"><th>3</th><td>150,000</td>',
        "<td>0.400<small>± 0.094</small></td>",
        "<td>−0.0009<small>± 0.0037 (deviation)</small></td>",
        "<td>0.93</td>",
        '<th colspan="2">real vs. real</th>',
        "<td>0.423<small>± 0.030</small></td>",
        '<p class="warning">FID compares &lt;few&gt; samples.</p>',  # not only where one has to look for it
        '<p class="warning">750 &lt;halves&gt; are few.</p>',
        "FID: a test; 600 samples; 1,497 real examples.",
        "<li>bits/dim: 300 examples.</li>",
        "<th>FID ↓</th>",
        "<th>IS ↑</th>",
        "abababab",
        "0.10.2",
        "Checkpoint 10 · 500,000 steps<",
    ):
        assert expected in text, expected
    assert text.count("&lt;few&gt;") == text.count("&lt;halves&gt;") == 1


def test_one_checkpoint_is_not_the_best(tmp_path):
    evaluated(tmp_path, 1, metrics=False, bits=False)
    assert overview.rebuild(tmp_path) is None
    text = (tmp_path / "report.html").read_text()
    assert "Best" not in text and 'class="chosen"' not in text
    assert json.loads((tmp_path / "best.json").read_text())["checkpoint"] == 1  # for programs
    evaluated(tmp_path, 2, metrics=False, bits=False)
    assert overview.rebuild(tmp_path).checkpoint == 2


MADE_UP = (
    Column("zeal.rate", "zeal <%>", "higher", error="zeal.wobble", baseline="calm.rate", rank=9),
    Column("zeal.drift", "drift"),
)


def test_a_made_up_task_appears_everywhere_without_an_edit(tmp_path):
    for number, rate in ((1, 0.25), (2, 0.75), (3, 0.5)):
        results = {"zeal": {"rate": rate, "wobble": 0.0125, "drift": 17}, "calm": {"rate": 0.9, "wobble": 0.02}}
        path = evaluated(tmp_path, number, results, MADE_UP)
    assert overview.rebuild(tmp_path) == records.Best(2, 100_000, "zeal <%>", 0.75)
    header, row, *_ = (tmp_path / "report.csv").read_text().splitlines()
    assert header == "checkpoint,step,calm.rate,calm.wobble,zeal.drift,zeal.rate,zeal.wobble"
    assert row == "1,50000,0.9,0.02,17,0.25,0.0125"
    page = (tmp_path / "report.html").read_text()
    for expected in (
        "<th>zeal &lt;%&gt; ↑</th><th>drift</th>",
        "<td>0.250<small>± 0.013</small></td><td>17</td>",
        '<th colspan="2">real vs. real</th><td>0.900<small>± 0.020</small></td><td></td>',
        "zeal &lt;%&gt;</text>",  # the curve
    ):
        assert expected in page, expected
    assert "drift</text>" not in page  # no curve of what is neither good nor bad
    lines = console.summary(path).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["real", "vs.", "real"],
        ["zeal", "<%>", "0.5", "±", "0.013", "0.9"],
        ["drift", "17"],
    ]


def test_the_console_shows_values_error_bars_baselines_and_numbers_of_examples(tmp_path):
    path = evaluated(tmp_path, 3)
    words = [line.split() for line in console.summary(path).splitlines()]
    assert words == [
        ["Checkpoint", "3,", "after", "150000", "steps"],
        ["real", "vs.", "real"],
        ["test", "loss", "0.0400", "±", "0.0100", "300", "examples"],
        ["bits/dim", "2.4000", "±", "0.0142", "300", "examples"],
        ["NFE", "201", "600", "samples"],
        ["FID", "0.4", "±", "0.094", "0.4231", "600", "samples"],
        ["KID", "-0.00089", "±", "0.0037", "0.0015", "±", "standard", "deviation", "over", "parts"],
        ["IS", "6.021", "±", "0.33", "7.249", "600", "samples"],
        ["precision", "0.76", "±", "0.017", "0.9", "600", "samples"],
        ["recall", "0.93", "0.9", "600", "samples"],
        ["features", "classifier"],
        ["samples", str(tmp_path / "ckpt_3" / "samples.png")],
        ["report", str(path)],
    ]
    assert console.warnings(path) == ["FID compares <few> samples", "750 <halves> are few"]
    values = [line.index("0.4231") for line in console.summary(path).splitlines() if "0.4231" in line]
    assert values == [console.summary(path).splitlines()[1].index("real vs. real")]  # columns are aligned


def test_a_report_without_columns_is_still_a_row_of_the_csv(tmp_path):
    evaluated(tmp_path, 1, columns=())
    overview.rebuild(tmp_path)
    assert "bits_per_dim.mean" in (tmp_path / "report.csv").read_text()
    assert json.loads((tmp_path / "best.json").read_text()) == {}


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.48081, 0.0942, ("0.481", "0.094")),
        (123.456, 7.89, ("123.5", "7.9")),
        (1234.5, 123.0, ("1234", "123")),
        (2.5, 0.0, ("2.5", "")),
        (2.5, None, ("2.5", "")),
        (1e-9, 1e-10, ("1e-09", "1e-10")),
    ],
)
def test_a_number_has_the_digits_that_its_error_leaves(value, error, expected):
    assert html.shown(value, error) == expected


def test_the_page_has_real_examples_dates_times_the_commit_and_the_curves_of_training(tmp_path):
    folder = tmp_path / "run" / "eval"
    path = evaluated(folder, 1, metrics=False)
    times = [("loss", 75.0, "2026-01-02 03:04 UTC"), ("samples", 4.25, "2026-01-02 03:05 UTC"), ("loss", 5.0, None)]
    lines = [{"task": task, "seconds": seconds, **({"time": when} if when else {})} for task, seconds, when in times]
    (path.parent / records.TIMES).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"task": "lo')
    report = json.loads(path.read_text())
    report["commit"] = "0123456789ab+"
    report["sampler"] = "unipc_3, 20 steps"
    path.write_text(json.dumps(report))
    write_png(folder / overview.REAL, np.zeros((4, 4, 1), np.uint8))
    log = [{"step": 5, "loss": 0.9}, {"step": 5, "test_loss": 0.8}, {"step": 10, "loss": 0.5}]
    (folder.parent / records.METRICS).write_text("".join(json.dumps(line) + "\n" for line in log))
    overview.rebuild(folder)
    assert [line.split() for line in console.summary(path).splitlines() if "sampler" in line] == [
        ["sampler", "unipc_3,", "20", "steps"]
    ]
    text = (folder / "report.html").read_text()
    assert text.index("<figcaption>Real examples<") < text.index("<figcaption>Checkpoint 1 ")
    for expected in (
        "<dd>2026-01-02 03:04 UTC</dd>",
        "<dd>1:24 min (loss 1:20 min, samples 4.2 s)</dd>",
        "<dd>0123456789ab+</dd>",
        "<dd>unipc_3, 20 steps</dd>",
        "training loss</text>",
    ):
        assert expected in text, expected
    assert "test loss (one batch)" not in text and "bits/dim</text>" not in text  # of a single point there is no curve
    (folder.parent / records.METRICS).unlink()
    overview.rebuild(folder)
    assert "<svg" not in (folder / "report.html").read_text()
