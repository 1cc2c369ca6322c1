"""All kinds of hostile files by name."""

from benchmarks.hostile import arrays, checkpoints, pictures, tables, tars, workdirs, zips
from benchmarks.hostile.kinds import Kind

KINDS: dict[str, Kind] = {
    name: kind
    for room in (arrays, zips, tars, pictures, tables, checkpoints, workdirs)
    for name, kind in room.KINDS.items()
}  # fmt: skip
