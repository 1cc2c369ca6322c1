"""Random access to the TFRecord files of CelebA-HQ and FFHQ, one file for each resolution, without TensorFlow.

A file is a sequence of records: the length of the payload (u64), a checksum of that length (u32), the payload, its
checksum (u32), all little-endian. A payload is a protobuf `tf.train.Example` with two features: `shape`, the int64
[C, H, W], and `data`, the bytes of the image in that order. The files are named `<name>-r<log2 of the side>.tfrecords`.
"""

import dataclasses
import math
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

from core.reading import read_part, reason

_HEADER = struct.Struct("<QI")  # length of the payload, its checksum
_FOOTER_BYTES = 4  # checksum of the payload, skipped: verifying it would take longer than reading


@dataclasses.dataclass(frozen=True)
class TFRecords:
    """The images of one file by number; may be read from several threads."""

    path: pathlib.Path
    offsets: np.ndarray  # int64 [N], where payloads begin
    lengths: np.ndarray  # int64 [N]

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The images [H, W, C] uint8 of `indices` [n], one at a time. Errors: ValueError for a damaged record."""
        with self.path.open("rb") as file:
            for index in indices:
                try:
                    payload = read_part(file, int(self.offsets[index]), int(self.lengths[index]))
                    image = parse_image(payload)
                except (ValueError, message.DecodeError) as error:
                    raise ValueError(f"record {index} of {self.path} is not an image: {reason(error)}") from error
                yield image


def find(root: pathlib.Path, size: int) -> pathlib.Path | None:
    """The file of images of `size` pixels: `root` itself if it is a file, otherwise one in that folder, or None.

    Errors: FileNotFoundError if the folder has files of other sizes only.
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
            f"{suffix}; it contains {', '.join(file.name for file in files)}"
        )
    return chosen[0]


def open_records(path: pathlib.Path) -> TFRecords:
    """Locates the records from their headers alone. Errors: ValueError for a damaged file or one of another kind."""
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
                raise ValueError(f"{path} is not a TFRecord file, or is damaged at byte {position}")
            offsets.append(position + _HEADER.size)
            lengths.append(length)
            position += _HEADER.size + length + _FOOTER_BYTES
    if position > end or not offsets:
        raise ValueError(f"{path} is {'cut off in its last record' if offsets else 'empty'}")
    return TFRecords(path, np.array(offsets, np.int64), np.array(lengths, np.int64))


def parse_image(payload: bytes) -> np.ndarray:
    """The image [H, W, C] uint8 of a serialized `tf.train.Example`.

    Errors: ValueError, DecodeError for anything else.
    """
    features = _EXAMPLE.FromString(payload).features.feature
    missing = [name for name in ("shape", "data") if name not in features]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}")
    shape, planes = list(features["shape"].int64_list.value), features["data"].bytes_list.value
    data = np.frombuffer(b"".join(planes), np.uint8)
    if len(shape) != 3:
        raise ValueError(f"its shape has {len(shape):,} axes instead of 3")
    if min(shape) < 1 or data.size != math.prod(shape):
        raise ValueError(f"{data.size} bytes of data do not have the shape {shape}")
    return data.reshape(shape).transpose(1, 2, 0)


def _example_type() -> type[Any]:
    """`tf.train.Example`, restricted to the kinds of features that these files use: lists of bytes and of int64."""

    def field(name: str, number: int, kind: str, **options: Any) -> dict[str, Any]:
        if kind.startswith("."):
            options |= {"type": "TYPE_MESSAGE", "type_name": kind}
        else:
            options["type"] = f"TYPE_{kind.upper()}"
        return {"name": name, "number": number, "label": "LABEL_OPTIONAL"} | options

    many = {"label": "LABEL_REPEATED"}
    entry = {
        "name": "FeatureEntry",
        "field": [field("key", 1, "string"), field("value", 2, ".tf.Feature")],
        "options": {"map_entry": True},
    }
    messages = [
        {"name": "BytesList", "field": [field("value", 1, "bytes", **many)]},
        {"name": "Int64List", "field": [field("value", 1, "int64", **many)]},
        {
            "name": "Feature",
            "field": [field("bytes_list", 1, ".tf.BytesList"), field("int64_list", 3, ".tf.Int64List")],
        },
        {
            "name": "Features",
            "field": [field("feature", 1, ".tf.Features.FeatureEntry", **many)],
            "nested_type": [entry],
        },
        {"name": "Example", "field": [field("features", 1, ".tf.Features")]},
    ]
    file = {"name": "example.proto", "package": "tf", "syntax": "proto3", "message_type": messages}
    pool = descriptor_pool.DescriptorPool()
    pool.Add(json_format.ParseDict(file, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf.Example"))


_EXAMPLE = _example_type()


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C (Castagnoli), rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC_TABLE = [_crc_entry(value) for value in range(256)]
