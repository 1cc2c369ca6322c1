"""Named arrays beside x and label: from arrays and from tables, through batches, caches and checkpoints."""

import dataclasses
import json

import numpy as np
import pytest

from data.fields import Field, field_of, fields_of, labeled, texts
from data.pipeline import eval_batch, train_batches
from data.source import Source, cached, from_arrays
from data.spec import DataSpec
from tests.support.own_data import PIXELS, everything, opened, zipped

N = 20
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (N, 4, 6, 1), np.uint8)
FURTHER = {
    "tokens": RNG.integers(0, 40, (N, 7)),
    "smiling": RNG.random(N) < 0.5,
    "writer": np.arange(N) % 3,
    "age": RNG.normal(size=N),
    "outline": RNG.random((N, 4, 6, 1)) < 0.5,
    "kind": np.array(["cat", "dog"])[np.arange(N) % 2],
    "depth": RNG.integers(0, 2**16, (N, 4, 6, 1), np.uint16),
}
FIELDS = {
    "x": Field((4, 6, 1), "uint8", 256),
    "label": Field((), "int32", num_classes=2),
    "tokens": Field((7,), "uint8", 40),
    "smiling": Field((), "int32", num_classes=2),
    "writer": Field((), "int32", num_classes=3),
    "age": Field(()),
    "outline": Field((4, 6, 1), "uint8", 2),
    "kind": Field((), "int32", num_classes=2, class_names=("cat", "dog")),
    "depth": Field((4, 6, 1), "uint16", 2**16),
}


def npz(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.fixture
def rich(tmp_path):
    """An .npz file with every kind of field."""
    return npz(tmp_path / "a.npz", x=X, y=np.arange(N) % 2, **FURTHER)


def test_the_dtype_of_an_array_says_what_field_it_is(rich):
    train, test = (opened(rich, split, test_every=5) for split in ("train", "test"))
    assert dict(train.fields) == FIELDS == dict(test.fields)
    held_out, batch = np.arange(N) % 5 == 0, everything(train)
    for name, values in FURTHER.items():
        expected = (values == "dog") if name == "kind" else values
        np.testing.assert_array_equal(batch[name], expected[~held_out].astype(FIELDS[name].dtype))
        assert batch[name].dtype == FIELDS[name].dtype


def test_arrays_of_another_length_or_kind_are_left_out_with_a_line_in_the_log(tmp_path, caplog):
    texts = np.array([f"text {i}" for i in range(N)])
    source = opened(npz(tmp_path / "a.npz", x=X, other=np.zeros(3), texts=texts, scalar=np.float32(1)))
    assert list(source.fields) == ["x", "label"]
    for name in ("other", "texts", "scalar"):
        assert f"{name} of {tmp_path}/a.npz" in caplog.text


def test_all_fields_reach_every_batch_in_the_same_order(rich):
    source = opened(rich, test_every=0)
    plain = dataclasses.replace(source, fields={k: source.fields[k] for k in ("x", "label")})
    plain = dataclasses.replace(plain, fetch=lambda i: {k: source.fetch(i)[k] for k in ("x", "label")})
    options = {"seed": 3, "batch_size": 8}
    with train_batches(source, **options) as ours, train_batches(plain, **options) as theirs:
        for _ in range(4):
            batch, alone = next(ours), next(theirs)
            assert batch.keys() == FIELDS.keys()
            for name in alone:  # as without the others
                np.testing.assert_array_equal(batch[name], alone[name])
            rows = [np.flatnonzero((x == X).all(axis=(1, 2, 3)))[0] for x in batch["x"]]
            np.testing.assert_array_equal(batch["tokens"], FURTHER["tokens"][rows])
    last = eval_batch(source, 2, 8)
    assert last.keys() == FIELDS.keys() | {"index", "counted"}
    np.testing.assert_array_equal(last["tokens"], FURTHER["tokens"][[16, 17, 18, 19, 19, 19, 19, 19]])


def test_fields_of_the_height_and_width_of_x_are_mirrored_with_it(rich):
    source, batches = opened(rich, test_every=0), []
    for random_flip in (True, False):
        with train_batches(source, seed=3, batch_size=8, random_flip=random_flip) as found:
            batches.append(next(found))
    batch, straight = batches
    mirrored = (batch["x"] != straight["x"]).any(axis=(1, 2, 3))
    assert 0 < mirrored.sum() < len(mirrored)
    for name in ("outline", "depth"):
        expected = np.where(mirrored[:, None, None, None], straight[name][:, :, ::-1], straight[name])
        np.testing.assert_array_equal(batch[name], expected)
    np.testing.assert_array_equal(batch["tokens"], straight["tokens"])


def test_a_field_called_mask_is_data_and_not_the_padding(tmp_path):
    masks = RNG.random((N, 4, 6, 1)) < 0.5
    batch = eval_batch(opened(npz(tmp_path / "a.npz", x=X, mask=masks), test_every=0), 0, 32)
    np.testing.assert_array_equal(batch["mask"][:N], masks)
    np.testing.assert_array_equal(batch["counted"], np.arange(32) < N)


def test_missing_values_are_nan_where_a_mask_says_so(tmp_path):
    series, mask = RNG.normal(size=(N, 5, 2)), RNG.random((N, 5, 2)) < 0.7
    given = {"x": np.where(mask, series, np.nan), "x_mask": mask, "age": np.where(mask[:, 0, 0], 1.5, np.nan)}
    source = opened(npz(tmp_path / "a.npz", **given, age_mask=mask[:, 0, 0]), test_every=0)
    batch = everything(source)
    np.testing.assert_array_equal(batch["x"], np.where(mask, series, 0).astype(np.float32))
    np.testing.assert_array_equal(batch["x_mask"], mask)
    np.testing.assert_array_equal(batch["age"], np.where(mask[:, 0, 0], 1.5, 0))


BROKEN = {
    "nan": (
        {"age": np.where(np.arange(N) == 7, np.nan, 0)},
        "row 7 of .*npz has the value nan in age, but finite numb",
    ),
    "infinity": (
        {"age": np.where(np.arange(N) == 7, np.inf, 0), "age_mask": np.zeros(N, bool)},
        "row 7 of .*npz has the value inf in age",
    ),
    "a mask of ones": ({"age": np.full(N, np.nan), "age_mask": np.ones(N)}, "row 0 of .*npz has the value nan in age"),
    "a mask of another shape": (
        {"grid": np.full((N, 2, 2), np.nan), "grid_mask": np.zeros((N, 3), bool)},
        r"has grid \(20, 2, 2\) and grid_mask \(20, 3\); give them one shape",
    ),
    "negative": (
        {"change": np.arange(N) - 3},
        "change of .*npz has integers from -3 to 16, but .* are numbered from 0",
    ),
    "too many": ({"id": np.arange(N) + 2**20}, "id of .*npz has integers .* to at most 1,048,575; give floats if they"),
    "a name of batches": ({"index": np.arange(N)}, "has a field 'index', a name that batches use themselves"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_field_that_cannot_be_one_is_one_sentence(tmp_path, case):
    arrays, message = BROKEN[case]
    with pytest.raises(ValueError, match=message) as error:
        opened(npz(tmp_path / "a.npz", x=X, **arrays), test_every=0)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_source_needs_x_and_label():
    with pytest.raises(ValueError, match="a has no field label; every data set has both"):
        Source("a", 1, {"x": Field((3,))}, lambda indices: {})


def test_arrays_in_memory_have_further_fields_by_the_same_rule():
    source = from_arrays("a", X, np.arange(N) % 2, num_classes=2, others=FURTHER)
    assert dict(source.fields) == FIELDS
    np.testing.assert_array_equal(everything(cached(source))["tokens"], FURTHER["tokens"])
    with pytest.raises(ValueError, match="short of a is .*; give 20 numbers or classes"):
        from_arrays("a", X, others={"short": np.zeros(3)})


def test_a_checkpoint_notes_all_fields_and_earlier_notes_are_read(rich):
    spec = DataSpec.of(opened(rich))
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec and spec.fields == FIELDS
    earlier = {"shape": [8, 8, 1], "dtype": "uint8", "num_levels": 17, "num_classes": 10}
    assert DataSpec.from_json(earlier) == DataSpec(labeled(Field((8, 8, 1), "uint8", 17), 10))
    zeros = spec.zeros(3)
    assert {name: (a.shape, a.dtype.name) for name, a in zeros.items()} == {
        name: ((3, *field.shape), field.dtype) for name, field in FIELDS.items()
    }


@pytest.mark.parametrize("kind", ["U", "S"])
def test_a_text_of_more_values_than_half_of_the_examples_is_no_class(kind):
    few = np.array(["b", "a", "b", "a"]).astype(kind)
    field, classes = field_of("a", "text", few)
    assert field.class_names == ("a", "b") and classes.tolist() == [1, 0, 1, 0]
    assert field_of("a", "text", np.array(["a", "b", "c", "a"]).astype(kind)) is None


def test_texts_that_would_fill_the_memory_are_left_out(caplog):
    assert texts(["a", "bc"]).tolist() == ["a", "bc"] and texts([]).shape == (0,)
    assert texts(["x" * 2**20, "a"], 2**20) is None  # an array has room for the longest in each place
    fields, values = fields_of("t.csv", {"caption": None, "kind": np.array(["a", "b"] * 2)}, 4, str)
    assert fields.keys() == values.keys() == {"kind"}
    assert "the column caption of t.csv is left out: it has texts that are too long for classes" in caplog.text


# Tables beside images ---------------------------------------------------------------------------------------------

NAMES = [f"{kind}/{i:02d}.png" for i, kind in enumerate(["ant"] * 4 + ["bee"] * 4 + ["cow"] * 4)]


def table(folder, columns, name="metadata.csv", order=range(12)):
    """Writes a table, one line for each image, in any order."""
    lines = [",".join(["file_name", *columns])]
    lines += [",".join([NAMES[i], *(str(values[i]) for values in columns.values())]) for i in order]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


COLUMNS = {
    "width_mm": [f"{i / 4}" for i in range(12)],
    "legs": [6, 8, 4] * 4,
    "habitat": ["meadow", "forest"] * 6,
    "note": [f"note {i}" for i in range(12)],
}


@pytest.mark.parametrize("form", ["folder", "zip", "records"])
def test_columns_of_a_table_are_fields(folder, tmp_path, form, caplog):
    table(folder, COLUMNS, order=reversed(range(12)))
    path = f"zip:{zipped(folder)}" if form == "zip" else f"folder:{folder}"
    options = {"test_every": 4, "cache_dir": str(tmp_path / "cache") if form == "records" else None}
    train, test = (opened(path, split, **options) for split in ("train", "test"))
    for source, chosen in ((train, np.arange(12) % 4 != 0), (test, np.arange(12) % 4 == 0)):
        assert source.fields["habitat"] == Field((), "int32", num_classes=2, class_names=("forest", "meadow"))
        assert source.fields["legs"] == Field((), "int32", num_classes=9) and source.fields["width_mm"] == Field(())
        assert "note" not in source.fields and source.class_names == ("ant", "bee", "cow")
        batch = everything(source)
        np.testing.assert_array_equal(batch["x"], PIXELS[chosen])
        np.testing.assert_array_equal(batch["width_mm"], (np.arange(12) / 4)[chosen])
        np.testing.assert_array_equal(batch["legs"], np.array([6, 8, 4] * 4)[chosen])
        np.testing.assert_array_equal(batch["habitat"], np.array([1, 0] * 6)[chosen])
    assert "the column note of" in caplog.text


def test_a_column_label_is_the_class(folder):
    table(folder, {"label": ["wild", "tame"] * 6})
    source = opened(f"folder:{folder}", test_every=0)
    assert (source.num_classes, source.class_names) == (2, ("tame", "wild"))
    assert everything(source)["label"].tolist() == [1, 0] * 6


def test_an_empty_cell_is_missing_where_a_column_says_so(folder):
    table(folder, {"width": ["1.5", ""] * 6, "width_mask": [1, 0] * 6})
    assert everything(opened(f"folder:{folder}", test_every=0))["width"].tolist() == [1.5, 0] * 6


def edited(folder, edit):
    table(folder, COLUMNS)
    path = folder / "metadata.csv"
    path.write_text(edit(path.read_text()))


TABLES = {
    "no file_name": (lambda text: text.replace("file_name", "path"), "metadata.csv has the columns path, width_mm, "),
    "an image twice": (lambda text: text.replace("01.png", "00.png"), "line 3 of .*csv has the image ant/00.png again"),
    "no such image": (
        lambda text: text.replace("ant/01", "ant/21"),
        "line 3 of .*csv has ant/21.png, which is no imag",
    ),
    "no line": (
        lambda text: text.replace("ant/01.png,0.25,8,forest,note 1\n", ""),
        "ant/01.png has no line in metadata",
    ),
    "a cell too few": (lambda text: text.replace(",note 1\n", "\n"), "line 3 of .*csv has not 5 cells; correct it"),
    "an empty cell": (
        lambda text: text.replace("0.25,", ","),
        "line 3 of .*csv has the value nan in width_mm, .*; fill in the cell, or mark",
    ),
    "a column twice": (lambda text: text.replace("legs", "habitat"), "and others of different names, none of them x"),
    "no table": (lambda text: text.replace("meadow", '"meadow'), "cannot be read as a table"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_does_not_fit_is_one_sentence_with_its_line(folder, case):
    edit, message = TABLES[case]
    edited(folder, edit)
    with pytest.raises(ValueError, match=message) as error:
        opened(f"folder:{folder}", test_every=4)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_tables_in_the_folders_of_the_splits_must_have_the_same_columns(tmp_path, folder):
    for split in ("train", "test"):
        (tmp_path / "both" / split).mkdir(parents=True)
        (folder / "ant").rename(tmp_path / "both" / split / "ant") if split == "train" else None
        (folder / "bee").rename(tmp_path / "both" / split / "ant") if split == "test" else None
        names = sorted(path.name for path in (tmp_path / "both" / split / "ant").glob("*.png"))
        lines = "".join(f"ant/{name},{i}\n" for i, name in enumerate(names))
        (tmp_path / "both" / split / "metadata.csv").write_text("file_name,count\n" + lines)
    train, test = (opened(f"folder:{tmp_path}/both", split) for split in ("train", "test"))
    assert everything(train)["count"].tolist() == everything(test)["count"].tolist() == [0, 1, 2, 3]
    path = tmp_path / "both" / "test" / "metadata.csv"
    path.write_text(path.read_text().replace("count", "number"))
    with pytest.raises(ValueError, match=r"train/metadata.csv has other columns than .*test/metadata.csv; give them"):
        opened(f"folder:{tmp_path}/both")
