"""Random access to the TFRecord files of CelebA-HQ and FFHQ, one file for each resolution, without TensorFlow.

A file is a sequence of records: the length of the payload (u64), a check sum of that length (u32), the payload, its
check sum (u32), all little-endian. A payload is a protobuf `tf.train.Example` with two features: `shape`, the int64
[C, H, W], and `data`, the bytes of the image in that order. The files are named `<name>-r<log2 of the side>.tfrecords`.
"""

import dataclasses
import pathlib
import struct
from collections.abc import Iterator

import numpy as np

_HEADER = struct.Struct("<QI")  # length of the payload, its check sum
_FOOTER_BYTES = 4  # check sum of the payload, not read: it would cost more than reading
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


@dataclasses.dataclass(frozen=True)
class TFRecords:
    """The images of one file by number; may be read from several threads."""

    path: pathlib.Path
    offsets: np.ndarray  # int64 [N], where payloads begin
    lengths: np.ndarray  # int64 [N]

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The images [H, W, C] uint8 of `indices` [n], one after the other; ValueError for one that is damaged."""
        with self.path.open("rb") as file:
            for index in indices:
                file.seek(int(self.offsets[index]))
                payload = file.read(int(self.lengths[index]))
                try:
                    yield parse_image(payload)
                except (IndexError, KeyError, ValueError, struct.error) as error:
                    raise ValueError(f"record {index} of {self.path} is not an image: {error}") from error


def find(root: pathlib.Path, size: int) -> pathlib.Path | None:
    """The file of images of `size` pixels: `root` itself if it is a file, else from that folder; None without any.

    Raises FileNotFoundError where the folder has files of other sizes only.
    """
    if root.is_file():
        return root
    files = sorted(root.glob("*.tfrecords"))
    if not files:
        return None
    suffix = f"-r{size.bit_length() - 1:02d}.tfrecords"
    chosen = [file for file in files if file.name.endswith(suffix)] if size == 1 << (size.bit_length() - 1) else []
    if len(chosen) != 1:
        raise FileNotFoundError(
            f"{len(chosen)} files for images of {size} pixels were found in {root}, where one name must end with "
            f"{suffix}; there are {', '.join(file.name for file in files)}"
        )
    return chosen[0]


def open_records(path: pathlib.Path) -> TFRecords:
    """Finds where the records are, once, from their headers alone. Raises ValueError for a file of another kind."""
    offsets: list[int] = []
    lengths: list[int] = []
    position, end = 0, path.stat().st_size
    with path.open("rb", buffering=0) as file:
        while position < end:
            file.seek(position)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise ValueError(f"{path} is cut off at byte {position}, in record {len(offsets)}")
            length, checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum:
                raise ValueError(f"{path} is not a TFRecord file, or damaged at byte {position}")
            offsets.append(position + _HEADER.size)
            lengths.append(length)
            position += _HEADER.size + length + _FOOTER_BYTES
    if position > end or not offsets:
        raise ValueError(f"{path} is {'cut off in its last record' if offsets else 'empty'}")
    return TFRecords(path, np.array(offsets, np.int64), np.array(lengths, np.int64))


def parse_image(payload: bytes) -> np.ndarray:
    """The image [H, W, C] uint8 of a serialised `tf.train.Example`."""
    features: dict[str, bytes] = {}
    for _, feature_map in _fields(payload):
        for _, entry in _fields(_bytes(feature_map)):
            parts = dict(_fields(_bytes(entry)))
            features[_bytes(parts[1]).decode()] = _bytes(parts[2])
    shape = _int64s(_of_kind(features["shape"], 3))
    data = np.frombuffer(_bytes(dict(_fields(_of_kind(features["data"], 1)))[1]), np.uint8)
    if len(shape) != 3 or data.size != np.prod(shape):
        raise ValueError(f"{data.size} bytes of data do not have the shape {shape}")
    return data.reshape(shape).transpose(1, 2, 0)


def _of_kind(feature: bytes, kind: int) -> bytes:
    """The list in a `Feature`: 1 of bytes, 3 of int64."""
    return _bytes(dict(_fields(feature))[kind])


def _int64s(message: bytes) -> list[int]:
    """An `Int64List`, packed or not."""
    values: list[int] = []
    for _, value in _fields(message):
        if isinstance(value, int):
            values.append(value)
            continue
        position = 0
        while position < len(value):
            number, position = _varint(value, position)
            values.append(number)
    return values


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the fields of a protobuf message; fields of fixed width are passed over."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
        elif wire == _BYTES:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError(f"a field of {length} bytes is longer than its message")
            yield number, message[position : position + length]
            position += length
        elif wire in (_FIXED32, _FIXED64):
            position += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} does not exist")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[position]
        value, position, shift = value | (byte & 0x7F) << shift, position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should be")
    return value


def masked_crc32c(message: bytes) -> int:
    """The check sum of TFRecord files: CRC-32C (Castagnoli), rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in message:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC_TABLE = [_crc_entry(value) for value in range(256)]
