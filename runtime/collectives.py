"""The communication of a compiled program, read from its text: what devices exchange, and how often."""

import collections as containers
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
FUSED_SCATTER = "all-reduce-scatter"  # how the TPU's compiler names a sum that ends scattered over the devices
# The share of its bytes that each of n devices sends, at least, in the best of algorithms.
SENT = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
}

_OPERATION = re.compile(rf" ({'|'.join(KINDS)})(-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLS = re.compile(r"(?:calls|to_apply|branch_computations|condition)=(%?[\w.\-]+|\{[^}]*\})")
_LOOP = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_LIMIT = re.compile(r" = [su]32\[\]\S* constant\((\d+)\)")
_ELEMENT = re.compile(r" get-tuple-element\(.*\), index=(\d+)")
_NAME = re.compile(r"%[\w.\-]+")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_SUM = re.compile(r"to_apply=%?([\w\-]+(?:\.\d+)?)")  # without ".clone", of a fusion's copy
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One exchange. `bytes`: of the whole value: the sum's, or what is gathered or scattered, on each device.

    `types`: of its arrays, such as ("bf16",). `largest`: elements of its largest array. `group`: devices that take
    part. `times`: in one run of the program. `in_loop`: inside a loop; one of unknown length counts once.
    """

    kind: str
    types: tuple[str, ...]
    bytes: int
    largest: int
    group: int
    times: int
    in_loop: bool

    @property
    def sent(self) -> float:
        """Bytes that each device sends, at least, in one run of the program."""
        return self.times * self.bytes * SENT.get(self.kind, lambda n: 1.0)(self.group)


def collectives(text: str, num_devices: int) -> list[Collective]:
    """Those of a compiled program, from `compiled.as_text()`, in which more than one device takes part.

    The TPU's compiler spreads one exchange over several fusions, which have its kind, channel and sum. All exchanges of
    a `jax.shard_map` have one channel, but sums of their own, and those that the compiler has joined are in one place.
    """
    bodies = dict(_computations(text))
    times, loops = _runs(bodies)
    found: dict[tuple, Collective] = {}
    for name, lines in bodies.items():
        here = containers.Counter[tuple]()
        for line in lines:
            each = _collective(name, line, times.get(name, 1), name in loops, num_devices)
            if each is not None and each.group > 1:
                channel, sum_ = _CHANNEL.search(line), _SUM.search(line)
                key = (each.kind, channel[1], sum_ and sum_[1]) if channel else (line,)
                here[key] += 1
                found.setdefault((*key, here[key]), each)
    return list(found.values())


def totals(found: Iterable[Collective]) -> dict[str, int]:
    """Bytes by kind and type, such as {"all-reduce f32": 1024}, with repetitions."""
    summed: dict[str, int] = {}
    for each in found:
        key = f"{each.kind} {'/'.join(each.types)}"
        summed[key] = summed.get(key, 0) + each.bytes * each.times
    return dict(sorted(summed.items()))


def _collective(computation: str, line: str, times: int, in_loop: bool, num_devices: int) -> Collective | None:
    match = _OPERATION.search(line)
    if match is None or " = " not in line[: match.start() + 1]:
        return None
    kind, started = match[1], bool(match[2])
    arrays = list(_arrays(line[line.index(" = ") : match.start()]))
    if started and kind in ("all-gather", "collective-permute"):  # (what goes in, what comes out, their semaphores)
        arrays = [array for array in arrays if array[:2] != ("u32", 1)]
        arrays = arrays[len(arrays) // 2 :]
    size, group = sum(bytes_ for _, _, bytes_ in arrays), _group(line, num_devices)
    largest = max((elements for _, elements, _ in arrays), default=0)
    if kind == "reduce-scatter":
        size, largest = size * group, largest * group
    elif kind == "all-reduce" and computation.startswith(FUSED_SCATTER):
        kind = "reduce-scatter"
    return Collective(kind, tuple(sorted({type_ for type_, _, _ in arrays})), size, largest, group, times, in_loop)


def _arrays(text: str) -> Iterator[tuple[str, int, int]]:
    """(type, elements, bytes) of each array of a type in HLO's text."""
    for type_, shape in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", text)):
        elements = math.prod(int(axis) for axis in shape.split(",") if axis)
        bits = 8 if type_ == "pred" else int(re.search(r"\d+", type_)[0])  # type: ignore[index]
        yield type_, elements, elements * bits // 8


def _group(line: str, num_devices: int) -> int:
    """The devices of one group of `replica_groups`, whose text has three forms."""
    given = line.partition("replica_groups=")[2]
    if match := re.match(r"\[(\d+),(\d+)\]<=", given):
        return int(match[2])
    if match := re.match(r"mesh\[([^\]]*)\][^{]*\{([^}]*)\}", given):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", match[2]))
    if match := re.match(r"\{\{([\d,]+)\}", given):
        return len(match[1].split(","))
    return num_devices


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """(name, its lines) of each computation of a module."""
    name, lines = "", list[str]()
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name, lines = match[1], []
        elif line == "}":
            yield name, lines
        elif name:
            lines.append(line.strip())


def _runs(bodies: Mapping[str, list[str]]) -> tuple[dict[str, int], set[str]]:
    """How often each computation runs in one run of the program, and which of them run in loops."""
    calls: dict[str, list[tuple[str, int, bool]]] = {name: [] for name in bodies}
    for name, lines in bodies.items():
        for line in lines:
            if match := _LOOP.search(line):
                calls[name].append((match[2], _trips(bodies.get(match[1], ()), bodies.get(match[2], ())), True))
            for given in _CALLS.findall(line):
                calls[name] += [(each, 1, False) for each in re.findall(r"[\w.\-]+", given)]
    called = {each for found in calls.values() for each, _, _ in found}
    times: dict[str, int] = {}
    loops: set[str] = set()
    pending = [(name, 1, False) for name in bodies if name not in called]
    while pending:
        name, runs, in_loop = pending.pop()
        times[name] = max(times.get(name, 0), runs)
        if in_loop:
            loops.add(name)
        pending += [(each, runs * trips, in_loop or loop) for each, trips, loop in calls.get(name, ())]
    return times, loops


def _trips(condition: Iterable[str], body: Iterable[str]) -> int:
    """The length of a loop `for i in range(0, n, step)`, as JAX writes scans and XLA rings; 1 for others."""
    lines = list(condition)
    limits = [int(match[1]) for line in lines if (match := _LIMIT.search(line))]
    counters = [int(match[1]) for line in lines if (match := _ELEMENT.search(line))]
    counts = any("compare(" in line and "direction=LT" in line for line in lines)
    if not counts or len(limits) != 1:
        return 1
    return math.ceil(limits[0] / (_step(body, counters[0]) if len(counters) == 1 else 1))


def _step(body: Iterable[str], counter: int) -> int:
    """What the body of a loop adds to this element of its tuple; 1 where it does not say: XLA unrolls some loops."""
    lines = {line.removeprefix("ROOT ").partition(" = ")[0]: line for line in body}
    root = next((line for line in lines.values() if line.startswith("ROOT ")), "").partition(" tuple(")[2]
    results = _NAME.findall(root)
    added = lines.get(results[counter], "").partition(" add(")[2] if counter < len(results) else ""
    steps = [_LIMIT.search(lines.get(name, "")) for name in _NAME.findall(added)[:2]]
    return next((int(step[1]) for step in steps if step), 1)
