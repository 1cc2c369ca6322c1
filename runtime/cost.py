"""What a program that was compiled ahead of time costs: memory, operations, communication."""

import dataclasses
import re
import time
from typing import Any

import jax

from runtime.collectives import collectives, totals
from runtime.memory import needed_bytes
from runtime.topology import Topology

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"([\d.]+)([KMGT]?)\b")


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of each device, in one run of the program. None: unknown.

    `needed`: arguments, results that are no arguments, temporaries and code. Where the compiler refuses the program
    (`fits` is False), it is what the compiler says, and temporaries and program are None.
    `flops` and `bytes_accessed` count the body of a loop once. `seconds`: lower bounds of what is known, each as if the
    others took no time: by operations in bfloat16, by memory, by the network.
    """

    fits: bool
    needed: int
    memory: int
    arguments: int | None
    aliased: int | None
    temporaries: int | None
    program: int | None
    flops: float | None
    bytes_accessed: float | None
    communication: dict[str, int]  # bytes by kind and type
    seconds: dict[str, float]
    compile_seconds: float
    compile_cpu_seconds: float

    @property
    def bound(self) -> float:
        """Seconds that a run takes at least."""
        return max(self.seconds.values(), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {**dataclasses.asdict(self), "bound_seconds": self.bound}


def compiled_cost(lowered: jax.stages.Lowered, topology: Topology) -> tuple[Cost, jax.stages.Compiled | None]:
    """Compiles a program for devices that are not here; what it costs, and the program. None: it does not fit.

    Errors: JaxRuntimeError for anything but a lack of memory.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        compiled, refused = None, str(error)
    took = time.perf_counter() - wall, time.process_time() - cpu
    if compiled is None:
        needed, memory = _refused(refused, topology.chip.memory)
        return Cost(False, needed, memory, None, None, None, None, None, None, {}, {}, *took), None
    return _cost(compiled, lowered, topology, took), compiled


def _cost(
    compiled: jax.stages.Compiled, lowered: jax.stages.Lowered, topology: Topology, took: tuple[float, float]
) -> Cost:
    found: Any = compiled.memory_analysis()
    chip = topology.chip
    analysis: Any = compiled.cost_analysis() or {}
    flops = analysis.get("flops")
    if flops is None:  # the GPU's compiler does not count, and may not count what is not compiled either
        whole: Any = lowered.cost_analysis() or {}
        flops = whole["flops"] / len(topology.devices) if "flops" in whole else None
    accessed = analysis.get("bytes accessed")
    exchanged = collectives(compiled.as_text() or "", len(topology.devices))
    bounds = {
        "compute": None if flops is None else flops / chip.bf16_flops,
        "memory": None if accessed is None else accessed / chip.memory_bandwidth,
        "network": sum(each.sent for each in exchanged) / topology.network,
    }
    seconds = {name: bound for name, bound in bounds.items() if bound is not None}
    needed = needed_bytes(compiled)
    return Cost(
        topology.platform == "tpu" or needed <= chip.memory,  # the TPU's compiler has checked
        needed,
        chip.memory,
        int(found.argument_size_in_bytes),
        int(found.alias_size_in_bytes),
        int(found.temp_size_in_bytes),
        int(found.generated_code_size_in_bytes),
        flops,
        accessed,
        totals(exchanged),
        seconds,
        *took,
    )


def _refused(message: str, memory: int) -> tuple[int, int]:
    """(needed, available) bytes of the compiler's message, such as "Used 18.3G of 15.75G hbm"; 0: not said."""
    match = re.search(r"Used ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?)", message) or re.search(
        r"\(([\d.]+[KMGT]?)\) exceeds available \w+ \(([\d.]+[KMGT]?)\)", message
    )
    return (_bytes(match[1]), _bytes(match[2])) if match else (0, memory)


def _bytes(text: str) -> int:
    number, unit = _SIZE.fullmatch(text).groups()  # type: ignore[union-attr]
    return int(float(number) * UNITS[unit])
