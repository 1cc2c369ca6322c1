"""CIFAR-10 from its own archive, in both formats; nothing in it is executed."""

import pathlib

import numpy as np
import pytest

from data.readers.cifar import CLASSES
from tests.support.own_data import CIFAR, archive, everything, opened


@pytest.mark.parametrize("form", ["archive", "folder"])
@pytest.mark.parametrize("kind", ["python", "binary"])
def test_cifar10_is_read_from_its_own_archive(tmp_path, kind, form):
    path = archive(tmp_path, kind, form)
    train, test = (opened(f"cifar10:{path}", split) for split in ("train", "test"))
    assert (train.shape, train.num_levels, train.class_names) == ((32, 32, 3), 256, CLASSES)
    np.testing.assert_array_equal(everything(train)["x"], CIFAR[:10])
    np.testing.assert_array_equal(everything(test)["x"], CIFAR[10:])
    assert everything(train)["label"].tolist() == list(range(10)) and everything(test)["label"].tolist() == [0, 1]


class Evil:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("executed"),)


def test_nothing_in_a_batch_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path, "python", "archive", evil=Evil())
    with pytest.raises(ValueError, match=r"data_batch_1 of .*tar.gz cannot be read \(it asks for .*, which is not exe"):
        opened(f"cifar10:{path}")
    assert not (tmp_path / "executed").exists()


def test_an_archive_without_a_batch_or_cut_off_is_named(tmp_path):
    path = archive(tmp_path, "python", "folder")
    (path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(ValueError, match=f"{path} has no data_batch_3; give CIFAR-10's own archive"):
        opened(f"cifar10:{path}")
    whole = archive(tmp_path, "binary", "archive")
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz cannot be read as an archive"):
        opened(f"cifar10:{whole}")
