"""Time series: every form of file, windows and their scale, and one sentence for what is wrong."""

import importlib
import json
import sys

import numpy as np
import pytest

from data.readers.series import read_series
from data.readers.windows import LAGS, Windows, interpolated, load, open_series
from data.source import Reading

READING = Reading(shape=(8, 1), horizon=2)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def table(times, values, heading="time"):
    return f"{heading},value\n" + "".join(f"{t},{v}\n" for t, v in zip(times, values, strict=True))


def months(num):
    return [f"{2000 + k // 12}-{k % 12 + 1:02d}-01" for k in range(num)]


def ramp(path, num=40):
    return write(path, table(months(num), range(1, num + 1)))


def test_the_included_series_are_those_of_statsmodels_with_their_gaps():
    found = {name: load(name)[0] for name in ("elnino", "co2", "sunspots", "nile")}
    assert {name: len(series.values) for name, series in found.items()} == {
        "elnino": 732, "co2": 2284, "sunspots": 309, "nile": 100,
    }  # fmt: skip
    assert [series.frequency for series in found.values()] == ["monthly", "weekly", "yearly", "yearly"]
    assert np.isnan(found["co2"].values).sum() == 59
    assert found["elnino"].values[0, 0] == np.float32(23.11) and found["elnino"].start == "1950-01"


def test_every_form_of_file_gives_the_same_series(tmp_path):
    values = np.array([1.5, np.nan, 3.0, 4.0], np.float32)
    cells = ["1.5", "", "3", "4"]
    write(tmp_path / "a.csv", table(months(4), cells))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"time": months(4), "value": [1.5, None, 3.0, 4.0]}), tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", a=values)
    item = {"start": "2000-01-01", "target": [1.5, None, 3, 4], "item_id": "a", "freq": "M"}
    write(tmp_path / "a.jsonl", json.dumps(item) + "\n\n")
    for ending in ("csv", "parquet", "npz", "jsonl"):
        (series,) = read_series(tmp_path / f"a.{ending}")
        np.testing.assert_array_equal(series.values, values[:, None])
        assert series.name == "a"
        assert ending == "npz" or (series.frequency, series.start) == ("monthly", "2000-01-01")


@pytest.mark.parametrize(
    ("times", "frequency"),
    [
        (["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:00"], "hourly"),
        (["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"], "daily"),
        (["20240101", "20240108", "20240115"], "weekly"),
        (["2024-01-31", "2024-02-29", "2024-03-31"], "monthly"),
        (["2024/01/15", "2024/02/15", "2024/03/15"], "monthly"),
        (["2024-03-31", "2024-06-30", "2024-09-30"], "quarterly"),
        (["1999", "2000", "2001"], "yearly"),
        (["2023Q3", "2023Q4", "2024Q1"], "quarterly"),
        (["2023 Nov", "2023 Dec", "2024 Jan"], "monthly"),
        (["Nov-2023", "Dec-2023", "Jan-2024"], "monthly"),
        (["0", "1", "2"], ""),
        (["2024-01-01 00:00", "2024-01-01 00:05", "2024-01-01 00:10"], ""),
    ],
)
def test_the_frequency_is_that_of_the_times(tmp_path, times, frequency):
    assert read_series(write(tmp_path / "a.csv", table(times, [1, 2, 3])))[0].frequency == frequency


@pytest.mark.parametrize(
    ("of_pandas", "frequency"),
    [
        ("h", "hourly"), ("1D", "daily"), ("B", "daily"), ("W-SUN", "weekly"), ("MS", "monthly"), ("ME", "monthly"),
        ("BME", "monthly"), ("QS-OCT", "quarterly"), ("A-DEC", "yearly"), ("15min", ""), ("min", ""), ("ms", ""),
        ("2h", ""), ("10D", ""), ("s", ""),
    ],
)  # fmt: skip
def test_the_frequency_is_that_of_pandas(tmp_path, of_pandas, frequency):
    line = write(tmp_path / "a.jsonl", json.dumps({"target": [1, 2], "freq": of_pandas}))
    assert read_series(line)[0].frequency == frequency


def test_what_pandas_writes_of_itself_is_no_channel(tmp_path):
    """The number of the row in a .csv file, and times that are the index in a .parquet file."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"date": months(3), "v": [1.0, 2.0, 3.0]})
    frame.to_csv(tmp_path / "a.csv")
    frame.to_csv(tmp_path / "b.csv", index=False)
    pytest.importorskip("pyarrow")
    for name, times in (("c", months(3)), ("d", pandas.to_datetime(months(3)))):
        frame[["v"]].set_index(pandas.Index(times)).to_parquet(tmp_path / f"{name}.parquet")
    frame.set_index("date").to_parquet(tmp_path / "e.parquet")
    frame.to_parquet(tmp_path / "f.parquet")
    frame.set_index(pandas.Index([4, 7, 9])).to_parquet(tmp_path / "g.parquet")  # rows that were chosen
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 7
    for path in paths:
        (series,) = read_series(path)
        assert (series.values.tolist(), series.frequency) == ([[1], [2], [3]], "monthly")


def test_series_of_aeon_are_read_from_its_folder(tmp_path, monkeypatch):
    """As it has them: the number of the row first, and quarters."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ValueError, match="series:aeon:uschange needs the files of .* `pip install --no-deps aeon=="):
        load("aeon:uschange")
    with pytest.raises(ValueError, match=r"'series:aeon:airlines' is not known; .*nearest: series:aeon:airline\)"):
        load("aeon:airlines")
    folder = tmp_path / "aeon" / "datasets" / "data" / "Uschange"
    folder.mkdir(parents=True)
    (tmp_path / "aeon" / "__init__.py").write_text("raise AssertionError('it need not be imported')")
    write(folder / "Uschange.csv", ",Quarter,a,b\n0,1970 Q1,0.5,-1\n1,1970 Q2,0.25,2\n")
    importlib.invalidate_caches()
    (series,) = load("aeon:uschange")
    assert series.values.tolist() == [[0.5, -1], [0.25, 2]] and series.frequency == "quarterly"


def test_columns_are_channels_and_items_are_series(tmp_path):
    wide = write(tmp_path / "wide.csv", "time,a,b\n2000,1,2\n2001,3,4\n")
    assert [series.values.tolist() for series in read_series(wide)] == [[[1, 2], [3, 4]]]
    text = "item_id,time,v\nx,2000,1\ny,1990,7\nx,2001,2\ny,1991,8\ny,1992,9\n"
    found = read_series(write(tmp_path / "long.csv", text))
    assert [(series.name, series.values[:, 0].tolist()) for series in found] == [("x", [1, 2]), ("y", [7, 8, 9])]
    line = write(tmp_path / "m.jsonl", '{"target": [[1, 2, 3], [4, 5, 6]]}')
    assert read_series(line)[0].values.tolist() == [[1, 4], [2, 5], [3, 6]]


FAULTS = {
    "text among the numbers": ("time,v\n2000,1\n2001,many\n", "the column 'v' of .* has 'many' in row 3, but numbers"),
    "a late gap in the times": ("time,v\n2000,1\n2001,2\n2003,3\n", "irregular times: 2003 follows 2001, unlike"),
    "times that go back": ("time,v\n2001,1\n2000,2\n1999,3\n", "irregular times: 2000 follows 2001"),
    "a time twice": ("time,v\n2000-01-01,1\n2000-01-02,2\n2000-01-02,3\n", "irregular times: 2000-01-02 follows"),
    "months with another day": ("time,v\n2000-01-05,1\n2000-02-05,2\n2000-03-09,3\n", "irregular times"),
    "times in words": ("time,v\nmonday,1\ntuesday,2\n", "times that are neither dates such as 2024-01-31 nor numbers"),
    "all missing": ("time,v\n2000,\n2001,nan\n", "a of .* has no value at all: all of them are missing"),
    "one channel missing": ("time,v,w\n2000,1,\n2001,2,\n", "channel 1 of a of .* has no value at all"),
    "infinite": ("time,v\n2000,1\n2001,inf\n", "an infinite value at time 1"),
    "no numbers": ("time\n2000\n2001\n", "has no column of numbers beside 'time'"),
    "a short line": ("time,v\n2000,1\n2001\n", "line 3 has 1 cells, but there are 2 names"),
    "empty": ("", "cannot be read as a table|has no series"),
    "names alone": ("time,v\n", "has no series"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, fault):
    text, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message) as error:
        read_series(write(tmp_path / "a.csv", text))
    assert "\n" not in str(error.value)


def test_other_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_series(tmp_path / "no.csv")
    with pytest.raises(ValueError, match="ends in .csv, .parquet, .npz, .jsonl"):
        read_series(write(tmp_path / "a.txt", "1"))
    with pytest.raises(ValueError, match="line 2 is no series"):
        read_series(write(tmp_path / "a.jsonl", '{"target": [1]}\n{"values": [1]}\n'))
    with pytest.raises(ValueError, match="cannot be read as a Parquet file|needs pyarrow"):
        read_series(write(tmp_path / "a.parquet", "1"))
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"a of .* is float64 \(2, 2, 2\), but numbers \[T\] or \[T, C\]"):
        read_series(tmp_path / "a.npz")


def test_no_train_window_has_a_value_that_is_forecast_and_each_is_forecast_once(tmp_path):
    path = ramp(tmp_path / "a.csv")  # 40 values; 31 to 40 are held out
    windows = {split: open_series(str(path), split, READING) for split in ("train", "test")}
    values = {}
    for split, source in windows.items():
        batch = source.fetch(np.arange(len(source)))
        values[split] = np.rint(batch["x"][..., 0] * batch["scale"]).astype(int)
        np.testing.assert_allclose(np.abs(batch["x"][:, :6]).mean(axis=1), 1.0, rtol=1e-6)
        assert (batch["x_mask"] == 1).all()
    assert len(values["train"]) == 23 and values["train"].max() == 30
    assert values["test"][:, -2:].ravel().tolist() == list(range(31, 41))
    np.testing.assert_array_equal(np.diff(values["test"], axis=1), 1)


def test_missing_values_are_interpolated_in_their_window_and_marked(tmp_path):
    cells = [1.0, "", 3.0, 4.0, "", "", 2.0, ""] * 5
    path = write(tmp_path / "a.csv", table(months(40), cells))
    batch = open_series(str(path), "train", READING).fetch(np.arange(1))
    assert batch["x_mask"][0, :, 0].tolist() == [1, 0, 1, 1, 0, 0, 1, 0]
    scale = np.mean([1, 3, 4])
    assert batch["scale"][0, 0] == pytest.approx(scale)
    expected = [1, 2, 3, 4, 10 / 3, 8 / 3, 2, 2]
    np.testing.assert_allclose(batch["x"][0, :, 0] * scale, expected, rtol=1e-6)
    np.testing.assert_array_equal(interpolated(np.full((3, 1), np.nan)), 0)


def test_windows_without_any_known_value_are_left_out(tmp_path):
    cells = [*range(1, 11), *[""] * 10, *range(21, 41)]
    path = write(tmp_path / "a.csv", table(months(40), cells))
    source = open_series(str(path), "train", READING)
    assert 0 < len(source) < 23
    batch = source.fetch(np.arange(len(source)))
    assert batch["x_mask"][:, :6].any(axis=(1, 2)).all() and batch["x_mask"][:, 6:].any(axis=(1, 2)).all()


@pytest.mark.parametrize("value", [7.0, 0.0])
def test_a_constant_series_keeps_its_value_and_zeros_are_not_scaled(tmp_path, value):
    path = write(tmp_path / "a.csv", table(months(40), [value] * 40))
    batch = open_series(str(path), "test", READING).fetch(np.arange(2))
    assert (batch["scale"] == (value or 1.0)).all() and (batch["x"] == (1.0 if value else 0.0)).all()


def test_lags_are_earlier_values_as_channels(tmp_path):
    path = ramp(tmp_path / "a.csv")
    source = open_series(str(path), "train", Reading(shape=(8, 3), horizon=2, lags="1,5"))
    batch = source.fetch(np.arange(1))
    found = np.rint(batch["x"][0] * batch["scale"][0])
    np.testing.assert_array_equal(found[0], [6, 5, 1])  # the first window for which there are lags
    np.testing.assert_array_equal(np.diff(found, axis=0), 1)


def test_lags_by_frequency_are_multiples_of_the_season(tmp_path):
    assert LAGS["hourly"] == (24, 48, 72, 96, 120, 144, 168, 336, 504, 672)
    path = ramp(tmp_path / "a.csv", 200)
    source = open_series(str(path), "train", Reading(shape=(8, 4), horizon=2, lags="frequency"))
    assert isinstance(source.fetch, Windows) and source.fetch.lags == (12, 24, 36)
    numbered = write(tmp_path / "b.csv", table(range(200), range(200)))
    with pytest.raises(ValueError, match="the frequency of the series is not known; lags are known of .*hourly"):
        open_series(str(numbered), "train", Reading(shape=(8, 4), horizon=2, lags="frequency"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (8, 1), "horizon": 0}, r"shape = \(8, 1\) and config.data.horizon = 0, but .* a shape \(LENGTH"),
        ({"shape": (8, 1), "horizon": 8}, "a horizon of 1 to LENGTH - 1"),
        ({"shape": (), "horizon": 2}, "set both"),
        ({"shape": (8, 2), "horizon": 2}, r"1 channels with 0 lags each: 1 in all; set config.data.shape = \(8, 1\)"),
        ({"shape": (80, 1), "horizon": 2}, "no train window of 80 values .* 40 values, .* last 25% of them are held"),
        ({"shape": (8, 1), "horizon": 2, "test_share": 1.0}, "test_share = 1.0 must be above 0 and below 1"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        open_series(str(ramp(tmp_path / "a.csv")), "train", Reading(**settings))


def test_a_series_of_one_value_is_too_short(tmp_path):
    path = write(tmp_path / "a.csv", "time,v\n2000,1\n")
    with pytest.raises(ValueError, match="its longest series has 1 values"):
        open_series(str(path), "train", READING)
