"""What a program costs on devices that are not here, as a table."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from reports.console import WIDTH

NOTES = {  # of a plan, in words
    "flops": "loops count once",
    "bytes_accessed": "loops count once",
    "bound_seconds": "the longest of these",
}


def as_text(record: Mapping[str, Any]) -> str:
    """A column for each program of a plan, as `programs.plan` makes it, and below them what else was tried."""
    table = Table(box=None, header_style="", pad_edge=False, padding=(0, 3, 0, 0))
    programs = record["programs"]
    for heading in (f"{record['devices']} x {record['device']}", *programs, ""):
        table.add_column(heading, no_wrap=True)
    rows = [list(_rows(cost, record["state_bytes"])) for cost in programs.values()]
    headings = list(dict.fromkeys(heading for found in rows for heading, _, _ in found))
    for heading in headings:
        values = [next((value for name, value, _ in found if name == heading), "") for found in rows]
        notes = [note for found in rows for name, _, note in found if name == heading and note]
        note = max(notes, key=lambda note: note.isupper(), default="")  # what does not fit comes first
        table.add_row(heading, *values, note)
    buffer = io.StringIO()
    Console(file=buffer, width=WIDTH, highlight=False, markup=False).print(table)
    facts = f"{record['num_parameters']:,} parameters, batch size {record['batch_size']}, fsdp {record['fsdp']}"
    lines = [facts, *(line.rstrip() for line in buffer.getvalue().splitlines())]
    for each in record.get("tried", ()):
        change = ", ".join(f"config.{key} = {value}" for key, value in each["change"].items())
        lines.append(f"with {change}: {gib(each['needed'])}, {'fits' if each['fits'] else 'does not fit'}")
    if "largest_batch" in record:
        lines.append(f"largest batch size that fits: {record['largest_batch'] or 'none'}")
    return "\n".join(lines)


def gib(size: float | None) -> str:
    """A number of bytes in words."""
    if size is None:
        return "unknown"
    return f"{size / 2**30:.2f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"


def _rows(cost: Mapping[str, Any], state_bytes: int) -> Iterator[tuple[str, str, str]]:
    """(heading, value, note) of each figure of a program, per device."""
    yield "training state", gib(state_bytes), "parameters, averages, optimizer"
    yield "arguments", gib(cost["arguments"]), "with the batch"
    yield "  donated", gib(cost["aliased"]), "results that take their place"
    yield "temporaries", gib(cost["temporaries"]), ""
    yield "program", gib(cost["program"]), ""
    yield "needed", gib(cost["needed"]), ""
    yield "available", gib(cost["memory"]), "fits" if cost["fits"] else "DOES NOT FIT"
    if cost["flops"] is not None:
        yield "operations", f"{cost['flops'] / 1e9:,.1f} GFLOP", NOTES["flops"]
    if cost["bytes_accessed"] is not None:
        yield "bytes moved", gib(cost["bytes_accessed"]), NOTES["bytes_accessed"]
    for kind, size in cost["communication"].items():
        yield kind, gib(size), ""
    for name, seconds in cost["seconds"].items():
        yield f"time by {name}", f"{seconds * 1e3:.3g} ms", "lower bound"
    if cost["seconds"]:
        yield "time", f"{cost['bound_seconds'] * 1e3:.3g} ms", NOTES["bound_seconds"]
    yield "compiled in", f"{cost['compile_seconds']:.1f} s", f"{cost['compile_cpu_seconds']:.1f} s of CPU"
