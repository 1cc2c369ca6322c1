"""Data sets in shards, of Hugging Face and WebDataset: examples, splits, classes, fields, and the errors."""

import io
import json
import pickle
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data.readers.tars import expand
from tests.support.own_data import PIXELS, batches_of, everything, opened

NAMES = ["cat", "dog"]
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}


def png(pixels):
    raw = io.BytesIO()
    Image.fromarray(pixels).save(raw, "PNG")
    return raw.getvalue()


def table(rows, features=FEATURES, **changed):
    """Images as the library datasets stores them; its labels are the parity of the row."""
    columns = {
        "image": pa.array([{"bytes": png(PIXELS[row]), "path": None} for row in rows]),
        "label": pa.array([row % 2 for row in rows]),
        "age": pa.array([row / 2 for row in rows], pa.float32()),
        "caption": pa.array([f"number {row}" for row in rows]),
        "boxes": pa.array([[1, 2]] * len(rows)),
    }
    found = pa.table({name: column for name, column in (columns | changed).items() if column is not None})
    return found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def parquet(path, rows, **changed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows, **changed), path, row_group_size=3)


def arrow(path, rows, **changed):
    path.parent.mkdir(parents=True, exist_ok=True)
    found = table(rows, **changed)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, found.schema) as writer:
        writer.write_table(found, max_chunksize=2)


def tar(path, rows, **changed):
    """Samples as WebDataset writes them; changed: by ending, the content or a function of the row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for row in rows:
            files = {
                "png": png(PIXELS[row]),
                "cls": str(row % 2).encode(),
                "json": json.dumps({"age": row / 2}).encode(),
            }
            for ending, content in (files | changed).items():
                content = content(row) if callable(content) else content
                if content is not None:
                    info = tarfile.TarInfo(f"./part/{row:04d}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


HELD_OUT = (range(8), range(8, 12))
EVERY_FOURTH = ([1, 2, 3, 5, 6, 7, 9, 10, 11], [0, 4, 8])
LAYOUTS = {
    "hf:saved": (lambda d: (arrow(d / "saved/data-0.arrow", range(7)), arrow(d / "saved/data-1.arrow", range(7, 12)))),
    "hf:dict": (
        lambda d: (arrow(d / "dict/train/data-0.arrow", range(8)), arrow(d / "dict/test/d.arrow", range(8, 12)))
    ),
    "hf:hub": (
        lambda d: (
            parquet(d / "hub/data/train-00000-of-00002.parquet", range(4)),
            parquet(d / "hub/data/train-00001-of-00002.parquet", range(4, 8)),
            parquet(d / "hub/data/validation-00000-of-00001.parquet", range(8, 12)),
        )
    ),
    "hf:one.parquet": lambda d: parquet(d / "one.parquet", range(12)),
    "wds:shards": lambda d: (tar(d / "shards/000.tar", range(7)), tar(d / "shards/001.tar", range(7, 12))),
    "wds:Split": lambda d: (tar(d / "Split/Train/0.tar", range(8)), tar(d / "Split/Test/0.tar", range(8, 12))),
    "wds:b/{train-{0..1},val}.tar": lambda d: (
        tar(d / "b/train-0.tar", range(4)),
        tar(d / "b/train-1.tar", range(4, 8)),
        tar(d / "b/val.tar", range(8, 12)),
    ),
}
BY_NAME = ("hf:dict", "hf:hub", "wds:Split", "wds:b/{train-{0..1},val}.tar")


def made(folder, layout):
    """The data set of a layout, made in a folder."""
    LAYOUTS[layout](folder)
    form, _, path = layout.partition(":")
    return f"{form}:{folder}/{path}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_classes_fields_and_splits(tmp_path, layout):
    dataset = made(tmp_path, layout)
    parts = HELD_OUT if layout in BY_NAME else EVERY_FOURTH
    for split, rows in zip(("train", "test"), parts, strict=True):
        source = opened(dataset, split, test_every=4)
        assert source.fields.keys() == {"x", "label", "age"} and source.num_classes == 2
        assert source.class_names == (tuple(NAMES) if layout.startswith("hf") else ())
        batch = everything(pickle.loads(pickle.dumps(source)))  # as another process sees it
        np.testing.assert_array_equal(batch["x"], PIXELS[list(rows)])
        np.testing.assert_array_equal(batch["label"], np.array(rows) % 2)
        np.testing.assert_array_equal(batch["age"], np.array(rows) / 2)


@pytest.mark.parametrize("layout", ["hf:hub", "wds:shards"])
def test_every_process_and_the_cache_on_disk_give_the_same_batches(tmp_path, layout):
    dataset = made(tmp_path, layout)
    expected = batches_of(opened(dataset), 2)
    kept = batches_of(opened(dataset, cache_dir=str(tmp_path / "cache")), 2)
    parts = [batches_of(opened(dataset), 2, process_index=index, process_count=2) for index in range(2)]
    for step in range(2):
        for name in ("x", "label", "age"):
            np.testing.assert_array_equal(kept[step][name], expected[step][name])
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined, expected[step][name])


def test_sizes_are_reconciled_as_those_of_folders(tmp_path):
    tar(tmp_path / "a.tar", range(12), png=lambda row: png(PIXELS[row][: 4 + row % 2]))
    with pytest.raises(ValueError, match=r"part/0000.png is 4x4, but .*part/0001.png is 5x4; set config.data.resize"):
        opened(f"wds:{tmp_path}/a.tar")
    assert opened(f"wds:{tmp_path}/a.tar", resize="crop", image_size=4).shape == (4, 4, 3)


def test_patterns_of_shards():
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    assert expand("{a-{0..1},b}") == ["a-0", "b", "a-1"]
    assert expand("plain (1).tar") == ["plain (1).tar"] and expand("{3..1}") == []


def test_pickles_in_archives_are_never_opened(tmp_path, caplog):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'executed')!r}, 'w')",)

    tar(tmp_path / "a.tar", range(12), pyd=pickle.dumps(Evil()), **{"seg.png": png(PIXELS[0])})
    assert len(everything(opened(f"wds:{tmp_path}/a.tar", test_every=0))["x"]) == 12
    assert not (tmp_path / "executed").exists()
    assert "that end with pyd, seg.png are left out" in caplog.text


@pytest.mark.parametrize("form", ["hf", "wds"])
def test_a_broken_image_is_named_or_skipped_in_one_line(tmp_path, form, caplog):
    if form == "hf":
        images = [{"bytes": b"nothing" if row in (2, 5, 6, 7) else png(PIXELS[row]), "path": None} for row in range(12)]
        parquet(tmp_path / "a.parquet", range(12), image=pa.array(images))
        path, name = f"hf:{tmp_path}/a.parquet", "a.parquet row 2"
    else:
        tar(tmp_path / "a.tar", range(12), png=lambda row: b"nothing" if row in (2, 5, 6, 7) else png(PIXELS[row]))
        path, name = f"wds:{tmp_path}/a.tar", "a.tar/part/0002.png"
    with pytest.raises(ValueError, match=f"{name} cannot be read as an image .*replace it, or set config.data.on_corr"):
        opened(path)
    source = opened(path, test_every=0, on_corrupt="skip")
    np.testing.assert_array_equal(everything(source)["x"], PIXELS[[0, 1, 3, 4, 8, 9, 10, 11]])
    (line,) = (record.getMessage() for record in caplog.records if "skipped" in record.getMessage())
    assert line.startswith(f"4 file(s) of {tmp_path} are skipped: {name} (") and line.endswith("and 1 more")


def test_labels_that_are_no_classes_abort_only_a_model_that_needs_them(tmp_path, caplog):
    parquet(tmp_path / "a.parquet", range(12), label=pa.array([-1] * 12))  # as in test sets without labels
    with pytest.raises(ValueError, match="label of .* has integers from -1 to 0, but classes"):
        opened(f"hf:{tmp_path}/a.parquet")
    assert opened(f"hf:{tmp_path}/a.parquet", classes_needed=False).num_classes == 0
    assert "the data are used without classes" in caplog.text


def test_columns_that_are_no_fields_are_left_out_by_name(tmp_path, caplog):
    parquet(
        tmp_path / "a.parquet",
        range(12),
        index=pa.array(range(12)),
        holes=pa.array([None, *range(11)]),
        depth=pa.array(range(-6, 6)),
    )
    source = opened(f"hf:{tmp_path}/a.parquet", test_every=0)
    assert source.fields.keys() == {"x", "label", "age", "depth"} and source.fields["depth"].dtype == "float32"
    for name in ("boxes", "index", "holes", "caption"):
        assert any(name in record.getMessage() and "left out" in record.getMessage() for record in caplog.records), name


FAULTS = {
    "hf:nowhere": (lambda d: None, "nowhere has no .parquet or .arrow file; nothing is downloaded"),
    "hf:bad.parquet": (lambda d: (d / "bad.parquet").write_bytes(b"PAR1"), "bad.parquet cannot be read as a table ("),
    "hf:bad.arrow": (lambda d: (d / "bad.arrow").write_bytes(b"no"), "bad.arrow cannot be read as a table ("),
    "hf:text.parquet": (
        lambda d: parquet(d / "text.parquet", range(12), features={}, image=None),
        "text.parquet has the columns label, age, caption, boxes, none of them of images; name one of images image",
    ),
    "hf:paths.parquet": (
        lambda d: parquet(d / "paths.parquet", range(12), image=pa.array([{"bytes": None, "path": "a.png"}] * 12)),
        "paths.parquet row 0 cannot be read as an image (it is not in the file, which has only a path; save the data",
    ),
    "hf:two": (
        lambda d: (parquet(d / "two/a.parquet", range(4)), parquet(d / "two/b.parquet", range(4), age=None)),
        "two/b.parquet has other columns than",
    ),
    "wds:no.tar": (lambda d: None, "no.tar is not a .tar file that exists"),
    "wds:s-{0..1}.tar": (lambda d: tar(d / "s-0.tar", range(9)), "s-1.tar is not a .tar file that exists"),
    "wds:none": (lambda d: (d / "none").mkdir(), "none has no .tar file; give the folder of the shards"),
    "wds:cut.tar": (lambda d: (d / "cut.tar").write_bytes(b"no tar"), "cut.tar cannot be read as a tar archive ("),
    "wds:both.tar": (
        lambda d: tar(d / "both.tar", range(4), jpg=png(PIXELS[0])),
        "both.tar has 2 images for the example part/0000 (png, cls, json, jpg), but one of png, jpg, jpeg, webp is",
    ),
    "wds:empty.tar": (lambda d: tar(d / "empty.tar", []), "has no examples in 1 archive(s)"),
    "wds:json.tar": (lambda d: tar(d / "json.tar", range(4), json=b"{"), "part/0000.json cannot be read ("),
}


@pytest.mark.parametrize("dataset", FAULTS)
def test_what_cannot_be_read_is_one_sentence_that_names_the_file(tmp_path, dataset):
    make, message = FAULTS[dataset]
    make(tmp_path)
    form, _, path = dataset.partition(":")
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        opened(f"{form}:{tmp_path}/{path}")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_library_is_one_sentence(tmp_path, monkeypatch):
    parquet(tmp_path / "a.parquet", range(12))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"a.parquet cannot be read without pyarrow: `pip install pyarrow`\."):
        opened(f"hf:{tmp_path}/a.parquet")
