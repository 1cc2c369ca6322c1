"""Sweeps compared: the table of the console, the CSV file and the page, with whatever columns the reports have."""

import re

import pytest

from configs import default
from core.files import write_json
from evaluation.metrics import table as metrics
from reports import plots
from reports.records import Column
from sweeps import plan, report, table
from sweeps.runs import State, status_of
from tests.support.paths import ROOT
from tests.support.swept import finished_sweep, planned, trained

# ml_collections loads config files in a way that Python 3.12 will not have.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def finished(tmp_path):
    return finished_sweep(tmp_path)


def test_the_report_has_results_curves_samples_and_the_best_run_and_needs_nothing_else(finished):
    path, root = finished
    sweep = planned(root, plan.read_sweep(path))
    samples = sweep[0].directory / "samples"
    samples.mkdir()
    (samples / "snapshot_1.png").write_bytes(b"a picture")
    report.write(root, [status_of(run, False) for run in sweep])
    rows = (root / "report.csv").read_text().splitlines()
    numbers = "step,loss,test_loss,bits_per_dim.mean,bits_per_dim.standard_error"
    assert rows[0] == f"run,state,seed,optim.lr,{numbers}" and len(rows) == 3
    assert rows[1].split(",", 2)[2].startswith("1,,10,0.5,0.6") and "finished" in rows[1]
    page = (root / "report.html").read_text()
    assert page.count("<svg ") == 1 and all(f"stroke: {plots.style(k)[0]}" in page for k in range(2))
    assert "data:image/png;base64,YSBwaWN0dXJl" in page and "no samples yet" in page
    # seed 42 of the second run has the lower bits/dim here: 3 - 0.42
    assert "Best by bits/dim: <b>lr=0.5-" in page
    assert "<script" not in page and 'src="data:' in page and page.count("src=") == 1
    assert all(url.startswith("#") for url in re.findall(r"(?:href=\"|url\()([^\")]+)", page))


def test_runs_are_compared_by_what_all_of_them_have(finished):
    _, root = finished
    statuses = [status_of(run, True) for run in planned(root, [{"seed": 1}, {"optim.lr": 0.5}])]
    numbers = [report.numbers_of(status) for status in statuses]

    def best():
        winner = report.best(statuses, numbers)
        return winner.column.path, winner.run

    assert best() == ("bits_per_dim.mean", 1)
    del numbers[1]["bits_per_dim.mean"]
    numbers[1]["test_loss"] = float("nan")
    numbers[1]["loss"] = 0.1
    assert best() == ("loss", 1)
    assert report.best([], []) is None


def test_runs_measured_by_different_features_are_compared_by_something_else(tmp_path):
    statuses = []
    for run, variant in zip(planned(tmp_path, [{"seed": 1}, {"seed": 2}]), ("", "thumbnails"), strict=True):
        run.own.mkdir(parents=True)
        trained(run)
        columns = [column.below("metrics") for column in metrics.columns(["fid"], variant)]
        bits = Column("bits.mean", "bits/dim", "lower", rank=2)
        content = {
            "results": {
                "bits": {"mean": run.config["seed"]},
                "metrics": {"samples": {"fid": {"value": 0.1 if variant else 7}}},
            },
            "columns": [column.to_dict() for column in (bits, *columns)],
            "config": {},
        }
        write_json(run.directory / "eval" / "ckpt_1" / "report.json", content)
        statuses.append(status_of(run, False))
    shown = table.table(statuses)
    assert [each.header for each in shown.columns][-3:] == ["FID", "FID (thumbnails)", "ETA"]
    assert [list(each.cells) for each in shown.columns][-3:-1] == [["7", ""], ["", "0.1"]]
    report.write(tmp_path, statuses)
    header, *rows = (tmp_path / "report.csv").read_text().splitlines()
    assert header.endswith("bits.mean,metrics.samples.fid.value,metrics.samples.fid.value (thumbnails)")
    assert rows[0].endswith(",1,7,") and rows[1].endswith(",2,,0.1")
    assert "Best by bits/dim: <b>seed=1-" in (tmp_path / "report.html").read_text()


def test_a_sweep_of_data_without_levels_ends_and_shows_nats(tmp_path):
    """Its evaluation writes nats_per_dim; once it was waited for bits_per_dim, without end."""
    config = str(ROOT / "configs" / "vp" / "vectors_mlp_continuous.py")
    flags = ["--config.training.n_iters=10", "--config.eval.enable_bpd"]
    for run in (sweep := plan.plan(config, flags, [{"seed": 1}, {"seed": 2}], tmp_path)):
        run.own.mkdir(parents=True)
        trained(run)
        seed = run.config["seed"]
        results = {"nats_per_dim": {"mean": seed / 7, "standard_error": 0.1}}
        nats = Column("nats_per_dim.mean", "nats/dim", "lower", error="nats_per_dim.standard_error", rank=2)
        content = {
            "results": results,
            "columns": [nats.to_dict()],
            "config": default.to_json(plan.configured(run.arguments)),
        }
        write_json(run.directory / "eval" / "ckpt_2" / "report.json", content)
    statuses = [status_of(run, True) for run in sweep]
    assert [status.state for status in statuses] == [State.FINISHED] * 2
    assert list(table.table(statuses).columns[4].cells) == ["0.1429", "0.2857"]
    report.write(tmp_path, statuses)
    assert "nats_per_dim.mean,nats_per_dim.standard_error" in (tmp_path / "report.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "<th>nats/dim ↓</th>" in page and "Best by nats/dim: <b>seed=1-" in page


def test_a_made_up_task_appears_in_the_table_the_csv_and_the_page_of_a_sweep(tmp_path):
    column = Column("zeal.rate", "zeal <%>", "higher", error="zeal.wobble", rank=9)
    statuses = []
    for run in planned(tmp_path, [{"seed": 1}, {"seed": 2}, {"seed": 3}]):
        run.own.mkdir(parents=True)
        trained(run)
        zeal = {"rate": 0.25 * run.config["seed"], "wobble": 0.0125}
        content = {"results": {"zeal": zeal}, "columns": [column.to_dict()], "config": {}}
        write_json(run.directory / "eval" / "ckpt_1" / "report.json", content)
        statuses.append(status_of(run, False))
    assert [each.header for each in table.table(statuses).columns] == [
        "run",
        "state",
        "step",
        "loss",
        "zeal <%>",
        "ETA",
    ]
    report.write(tmp_path, statuses)
    header, *_, last = (tmp_path / "report.csv").read_text().splitlines()
    assert header.endswith(",zeal.rate,zeal.wobble") and last.endswith(",0.75,0.0125")
    page = (tmp_path / "report.html").read_text()
    assert "<th>zeal &lt;%&gt; ↑</th>" in page and "Best by zeal &lt;%&gt;: <b>seed=3-" in page
    assert '<td class="number">0.750<small>± 0.013</small></td>' in page
