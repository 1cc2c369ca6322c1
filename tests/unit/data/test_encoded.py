"""Folders of tokens whose description or labels are those of something else: one sentence that names the file."""

import json

import numpy as np
import pytest

from tests.support.own_data import everything, opened

ABOUT = {"shape": [2], "num_codes": 9, "num_classes": 4}


def written(folder, about=ABOUT, labels=range(4)):
    for split in ("train", "test"):
        np.save(folder / f"{split}.npy", np.arange(8, dtype=np.uint8).reshape(4, 2))
        np.save(folder / f"{split}_labels.npy", np.array(labels))
    (folder / "encoded.json").write_text(json.dumps(about))
    return f"encoded:{folder}"


def test_tokens_come_with_their_labels(tmp_path):
    found = opened(written(tmp_path))
    assert everything(found)["x"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (found.num_classes, found.num_levels, everything(found)["label"].tolist()) == (4, 9, [0, 1, 2, 3])


@pytest.mark.parametrize("name", ABOUT)
@pytest.mark.parametrize("value", [None, "9", [], {}, -1, 0.5, True, 2**40, [0] * 1000, [-2], [2.0], [[2]]], ids=str)
def test_a_description_of_another_kind_is_refused(name, value, tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)) as caught:
        everything(opened(written(tmp_path, ABOUT | {name: value})))
    assert len(str(caught.value)) < 500 and "encoded.json" in str(caught.value)


@pytest.mark.parametrize("name", ABOUT)
def test_a_description_without_a_part_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path} has no readable encoded.json \(KeyError\)"):
        opened(written(tmp_path, {key: value for key, value in ABOUT.items() if key != name}))


@pytest.mark.parametrize("labels", [0, [[0], [1], [2], [3]], ["a", "b", "c", "d"], [0.5, 1, 2, 3]], ids=str)
def test_labels_that_are_no_classes_are_refused(labels, tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path}/train_labels.npy has .*; encode the data again\."):
        opened(written(tmp_path, labels=labels))
