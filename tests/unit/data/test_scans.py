"""Scans as input, as measurements and as data: what is read of each format, splits by subject, what is refused."""

import numpy as np
import pytest

from data.readers.inputs import read_array, read_examples
from data.readers.scans import read_hdf5, read_kspace, read_scan
from data.source import of_subjects
from tests.support.own_data import everything, opened

RNG = np.random.default_rng(0)
VOLUME = RNG.normal(size=(5, 8, 6)).astype(np.float32)  # [D, H, W]


def nifti(path, values):
    nibabel = pytest.importorskip("nibabel", reason="nibabel is an extra")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def hdf5(path, **datasets):
    h5py = pytest.importorskip("h5py", reason="h5py is an extra")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def dicom(path, pixels=None):
    pytest.importorskip("pydicom", reason="pydicom is an extra")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Modality, file.RescaleSlope, file.RescaleIntercept = "CT", 2, -1000
    if pixels is not None:
        file.Rows, file.Columns = pixels.shape
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.PixelData = pixels.astype("<u2").tobytes()
    file.save_as(path, enforce_file_format=True)
    return path


def test_a_volume_of_nifti_is_slices_or_one_example(tmp_path):
    path = nifti(tmp_path / "a.nii.gz", VOLUME.T)
    np.testing.assert_array_equal(read_scan(path), VOLUME)
    names, slices = read_examples(path, (8, 6, 1), 0)
    assert len(names) == 5 and slices.dtype == np.float32
    np.testing.assert_array_equal(slices[..., 0], VOLUME)
    assert read_examples(path, (5, 8, 6, 1), 0)[1].shape == (1, 5, 8, 6, 1)
    levels = read_examples(path, (8, 6, 1), 256)[1]
    assert levels.dtype == np.uint8 and levels.min() == 0 and levels.max() == 255
    assert read_scan(nifti(tmp_path / "one.nii", VOLUME.T[..., None])).shape == VOLUME.shape  # of one time


def test_the_pixels_of_dicom_are_in_the_units_of_the_file(tmp_path):
    pixels = RNG.integers(0, 4096, (8, 6))
    path = dicom(tmp_path / "a.dcm", pixels)
    np.testing.assert_array_equal(read_scan(path), 2 * pixels - 1000)
    assert read_examples(tmp_path, (8, 6, 1), 0)[0] == ["a"]


def test_centered_frequencies_of_a_file_are_those_of_fftn(tmp_path):
    for sides in ((8, 6), (7, 5)):
        images = RNG.normal(size=(2, 3, *sides)) + 1j * RNG.normal(size=(2, 3, *sides))
        axes = (-2, -1)
        centered = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes), norm="ortho"), axes)
        centered[..., 0] = 0  # not measured
        found = read_kspace(hdf5(tmp_path / "k.h5", kspace=centered, other=np.ones(3)))
        assert found.shape == (2, *sides, 3) and found.dtype == np.complex64
        zero = np.fft.ifftshift(np.arange(sides[1]) == 0)
        assert (found[:, :, zero] == 0).all()
        wanted = np.where(zero[:, None], 0, np.moveaxis(np.fft.fft2(images, norm="ortho"), 1, -1))
        np.testing.assert_allclose(found, wanted, atol=1e-5)  # float32
        one = read_kspace(hdf5(tmp_path / "one.h5", kspace=centered[:, 0]))
        np.testing.assert_array_equal(one, found[..., :1])


def test_a_dataset_is_found_by_its_name_or_alone(tmp_path):
    path = hdf5(tmp_path / "a.hdf5", sinogram=VOLUME)
    np.testing.assert_array_equal(read_array(path), VOLUME)
    with pytest.raises(ValueError, match=r"b.h5 cannot be read: it contains c, d; give a dataset called arr_0\."):
        read_array(hdf5(tmp_path / "b.h5", c=VOLUME, d=VOLUME))


def test_no_subject_is_in_both_splits(tmp_path):
    subjects = np.array([7, 3, 3, 9, 7, 1, 1, 1])
    test, train = (of_subjects(subjects, split, 3) for split in ("test", "train"))
    assert sorted([*test, *train]) == list(range(8)) and set(subjects[test]) == {1, 9}
    assert not set(subjects[test]) & set(subjects[train])
    assert len(of_subjects(subjects, "train", 0)) == 8
    np.savez(tmp_path / "a.npz", x=np.arange(16, dtype=np.uint8).reshape(8, 2), subject=subjects)
    source = opened(f"npz:{tmp_path / 'a.npz'}", "test", test_every=3)
    assert sorted(everything(source)["x"][:, 0] // 2) == [3, 5, 6, 7]
    for number in range(4):
        nifti(tmp_path / "scans" / f"s{number}" / "scan.nii", VOLUME.T + number)
    held_out = opened(f"scans:{tmp_path / 'scans'}", "test", test_every=3, image_size=6)
    found = everything(held_out)
    assert set(found["subject"]) == {0, 3} and found["x"].shape == (10, 6, 6, 1)
    np.testing.assert_array_equal(found["x"][:5, ..., 0], VOLUME[:, 1:7])  # its center
    train = opened(f"scans:{tmp_path / 'scans'}", test_every=3, image_size=8, num_levels=16)
    x = everything(train)["x"]
    assert x.dtype == np.uint8 and x.max() == 15 and (x[..., [0, -1], :] == 0).all()  # padded
    whole = opened(f"scans:{tmp_path / 'scans'}", test_every=3, shape=(5, 8, 6, 1))
    assert whole.shape == (5, 8, 6, 1) and len(whole) == 2


def test_k_space_of_one_coil_is_complex_images(tmp_path):
    images = RNG.normal(size=(2, 8, 8)) + 1j * RNG.normal(size=(2, 8, 8))
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, (1, 2)), norm="ortho"), (1, 2))
    hdf5(tmp_path / "a.h5", kspace=k)
    source = opened(f"scans:{tmp_path}", test_every=0, image_size=8)
    x = everything(source)["x"]
    np.testing.assert_allclose(x[..., 0] + 1j * x[..., 1], images, atol=1e-5)  # float32
    hdf5(tmp_path / "several" / "a.h5", kspace=np.stack([k, k], 1)[:1])
    with pytest.raises(ValueError, match=r"a.h5 has kspace of 2 coil\(s\), .*; give k-space of one coil"):
        opened(f"scans:{tmp_path / 'several'}", test_every=0, image_size=8)


REFUSED = {
    "4-D where 3-D is expected": (lambda p: nifti(p / "a.nii", np.zeros((3, 3, 3, 2))), "4-D, .* a 3-D volume is exp"),
    "DICOM without pixels": (lambda p: dicom(p / "a.dcm"), "DICOM without pixels; give files of images"),
    "values that are not finite": (
        lambda p: nifti(p / "a.nii", np.full((3, 3, 3), np.nan)),
        "values that are not fini",
    ),
    "one value": (lambda p: nifti(p / "a.nii", np.ones((6, 8, 5))), "has the value 1 everywhere"),
    "another size": (lambda p: nifti(p / "a.nii", np.zeros((3, 3, 3))), "is 3x3x3, but slices of 8x6 with 1 channel"),
    "a volume for slices of color": (lambda p: nifti(p / "b.nii", np.zeros((3, 3))), "is 3x3, but slices of 8x6"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_scan_that_does_not_fit_is_one_sentence(tmp_path, what):
    make, said = REFUSED[what]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=said) as error:
        read_examples(path, (8, 6, 1), 256)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.dcm", "a.h5"])
def test_a_damaged_file_and_a_missing_one_are_one_sentence(tmp_path, name):
    for package in ("nibabel", "pydicom", "h5py"):
        pytest.importorskip(package, reason=f"{package} is an extra")
    path, read = tmp_path / name, read_array if name.endswith(".h5") else read_scan
    with pytest.raises(ValueError, match=f"{name} does not exist; give a scan"):
        read(path)
    path.write_bytes(b"\x1f\x8b no scan" * 20)
    with pytest.raises(ValueError, match=f"{name} cannot be read: ") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_real_k_space_and_k_space_of_other_axes_are_refused(tmp_path):
    for k in (np.ones((2, 4, 4)), np.ones((4, 4), complex)):
        with pytest.raises(ValueError, match=r"as kspace, but complex \[slices, height, width\]"):
            read_kspace(hdf5(tmp_path / "a.h5", kspace=k))
    with pytest.raises(ValueError, match="cannot be read: its dataset /kspace is object; give numbers"):
        read_hdf5(hdf5(tmp_path / "b.h5", kspace="text"), "kspace")


def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch):
    import sys

    for name, package in (("a.nii", "nibabel"), ("a.dcm", "pydicom")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ValueError, match=f"cannot be read without {package}: `pip install {package}`"):
            read_scan(tmp_path / name)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match="cannot be read without h5py: `pip install h5py`"):
        read_array(tmp_path / "a.h5")


def test_a_folder_without_scans_and_a_split_without_subjects_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no \.nii, .* file; give a folder of scans"):
        opened(f"scans:{tmp_path}")
    nifti(tmp_path / "only.nii", VOLUME.T)
    with pytest.raises(ValueError, match=r"has 1 subject\(s\), none of them in the train split"):
        opened(f"scans:{tmp_path}", image_size=8)


def test_values_of_other_files_are_not_read(tmp_path):
    """A stranger's file may name any file of ours: by a link, as storage, or as a part of a virtual dataset."""
    h5py = pytest.importorskip("h5py", reason="h5py is an extra")
    secret = hdf5(tmp_path / "secret.h5", a=np.arange(4.0))
    (tmp_path / "raw").write_bytes(np.arange(4.0).tobytes())
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(secret, "a", (4,))
    for name, make in {
        "link": lambda file: file.__setitem__("a", h5py.ExternalLink(secret.name, "/a")),
        "soft": lambda file: file.__setitem__("a", h5py.SoftLink("/b")),
        "storage": lambda file: file.create_dataset("a", (4,), "f8", external=[(str(tmp_path / "raw"), 0, 32)]),
        "virtual": lambda file: file.create_virtual_dataset("a", layout),
    }.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(ValueError, match="are in other files|contains no datasets"):
            read_hdf5(path, "a")
    assert read_hdf5(secret, "a").sum() == 6


def test_deflated_dicom_is_refused_before_it_is_unpacked(tmp_path):
    path = dicom(tmp_path / "a.dcm", np.arange(12).reshape(3, 4))
    read_scan(path)
    pydicom = pytest.importorskip("pydicom", reason="pydicom is an extra")
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    file.save_as(path, enforce_file_format=True)
    with pytest.raises(ValueError, match="deflated DICOM; give it with another transfer syntax"):
        read_scan(path)
