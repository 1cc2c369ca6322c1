"""What devices exchange, read from the text of a compiled program."""

import pytest

from runtime.collectives import collectives, totals

# As the compilers of TPUs and GPUs write it, with less around it.
ADD, ROWS, ALL = "to_apply=%add", "replica_groups=mesh['axis_0'=4,'axis_1'=1] {'axis_0'}", "replica_groups=[1,4]<=[4]"
PAIRS = "replica_groups={{0,1},{2,3}}"
TEXT = f"""\
HloModule jit_step

%add (x: f32[], y: f32[]) -> f32[] {{
  ROOT %sum = f32[] add(%x, %y)
}}

%all-reduce-scatter.7 (input_0: bf16[512,8]) -> bf16[128,8] {{
  %all-reduce.58 = bf16[512,8]{{1,0:T(8,128)(2,1)}} all-reduce(%input_0), channel_id=4, {ALL}, {ADD}
  ROOT %part = bf16[128,8] dynamic-slice(%all-reduce.58, %index)
}}

%start (param_0: bf16[128,512]) -> bf16[512,512] {{
  ROOT %all-gather.57 = bf16[512,512]{{1,0:T(8,128)(2,1)S(1)}} all-gather(%param_0), channel_id=4, {ROWS}
}}

%done (param_0: bf16[128,512]) -> bf16[512,512] {{
  ROOT %all-gather.59 = bf16[512,512]{{1,0:T(8,128)(2,1)}} all-gather(%param_0), channel_id=4, {ROWS}
}}

%condition (state: (s32[], f32[64])) -> pred[] {{
  %limit = s32[]{{:T(128)}} constant(3)
  ROOT %lt = pred[] compare(%count, %limit), direction=LT
}}

%body (state: (s32[], f32[64])) -> (s32[], f32[64]) {{
  %all-reduce.1 = (f32[64]{{0:T(128)S(1)}}, /*index=1*/f32[]) all-reduce(%a, %b), {PAIRS}, {ADD}
}}

ENTRY %main (p0: bf16[128,512]) -> f32[64] {{
  %f0 = bf16[512,512] fusion(%p0), kind=kCustom, calls=%start
  %f1 = bf16[512,512] fusion(%f0), kind=kCustom, calls=%done
  %f2 = bf16[128,8] fusion(%f1), kind=kCustom, calls=%all-reduce-scatter.7
  %loop = (s32[], f32[64]) while(%init), condition=%condition, body=%body
  %gathered = (f32[16], f32[64]) all-gather-start(%x), channel_id=11, dimensions={{0}}
  %scattered = f32[16] reduce-scatter(%y), channel_id=12, {ALL}, {ADD}
  %some = f32[7] all-gather(%x), channel_id=14, replica_groups=mesh['a'=4,'b'=2], device_ids=([4,2]T(1,0)) {{'b'}}
  %alone = f32[16] all-reduce(%z), channel_id=13, replica_groups=[4,1]<=[4], to_apply=%add
  ROOT %out = f32[64] get-tuple-element(%all-reduce.1), index=0
}}
"""


def test_each_exchange_counts_once_with_its_kind_bytes_group_and_loop():
    found = {(each.kind, each.types): each for each in collectives(TEXT, 4) if each.largest != 7}
    assert len(collectives(TEXT, 4)) == 6  # that of one device is none
    assert [each.group for each in collectives(TEXT, 4) if each.largest == 7] == [2]
    assert found["all-gather", ("bf16",)].bytes == 2 * 512 * 512 and not found["all-gather", ("bf16",)].in_loop
    assert found["reduce-scatter", ("bf16",)].bytes == 2 * 512 * 8  # a fused one: the bytes of the sum
    assert found["all-gather", ("f32",)].bytes == found["reduce-scatter", ("f32",)].bytes == 4 * 64
    in_loop = found["all-reduce", ("f32",)]
    assert in_loop.bytes == 4 * 65 and in_loop.largest == 64 and in_loop.group == 2
    assert in_loop.in_loop and in_loop.times == 3
    assert totals(found.values())["all-reduce f32"] == 3 * 4 * 65


def test_what_a_device_sends_at_least():
    found = {(each.kind, each.types): each.sent for each in collectives(TEXT, 4) if each.largest != 7}
    assert found["all-gather", ("f32",)] == pytest.approx(256 * 3 / 4)
    assert found["reduce-scatter", ("f32",)] == pytest.approx(256 * 3 / 4)
    assert found["all-reduce", ("f32",)] == pytest.approx(3 * 260 * 2 * 1 / 2)


# A sum that ends scattered, as the TPU's compiler overlaps it with the product before it: parts of it go round in a
# ring of eight, two steps per round of the loop, which is unrolled: its counter goes up by two.
RING = """\
HloModule jit_step

%cond (state: (bf16[1152,576], u32[])) -> pred[] {
  %limit = u32[]{:T(128)} constant(4), metadata={op_name="dot_general"}
  %count = u32[]{:T(128)} get-tuple-element(%state), index=1
  ROOT %lt = pred[]{:T(512)} compare(%count, %limit), direction=LT
}

%body (state: (bf16[1152,576], u32[])) -> (bf16[1152,576], u32[]) {
  %one = u32[]{:T(128)} constant(1)
  %two = u32[]{:T(128)} constant(2)
  %i = u32[]{:T(128)} get-tuple-element(%state), index=1
  %start.1 = (bf16[1152,576]{0,1:T(8,128)(2,1)}, bf16[1152,576]{0,1:T(8,128)(2,1)}, u32[]{:S(2)}, u32[]{:S(2)}) \
collective-permute-start(%part), channel_id=1, source_target_pairs={{0,1},{1,2},{2,3},{3,4},{4,5},{5,6},{6,7},{7,0}}
  %start.2 = (bf16[1152,576]{0,1:T(8,128)(2,1)}, bf16[1152,576]{0,1:T(8,128)(2,1)}, u32[]{:S(2)}, u32[]{:S(2)}) \
collective-permute-start(%next), channel_id=2, source_target_pairs={{0,1},{1,2},{2,3},{3,4},{4,5},{5,6},{6,7},{7,0}}
  %inner = u32[]{:T(128)} add(%i, %one)
  %outer = u32[]{:T(128)} ADD, control-predecessors={%inner}
  ROOT %tuple = (bf16[1152,576]{0,1:T(8,128)(2,1)}, u32[]{:T(128)}) tuple(%sum, %outer)
}

ENTRY %main (p: bf16[1152,576]) -> bf16[1152,576] {
  %while = (bf16[1152,576]{0,1}, u32[]{:T(128)}) while(%init), condition=%cond, body=%body
  ROOT %out = bf16[1152,576] get-tuple-element(%while), index=0
}
"""


@pytest.mark.parametrize(
    ("added", "times"),
    [
        ("add(%i, %two)", 2),
        ("add(u32[]{:T(128)} %two, u32[]{:T(128)} %i)", 2),
        ("add(%i, %one)", 4),
        ("fusion(%i)", 4),
    ],
)
def test_a_sum_that_goes_round_in_a_ring_counts_all_its_parts(added, times):
    found = collectives(RING.replace("ADD", added), 8)
    assert [each.times for each in found] == [times, times] and all(each.in_loop for each in found)
    assert totals(found) == {"collective-permute bf16": 2 * times * 2 * 1152 * 576}
    assert sum(each.sent for each in found) == 2 * times * 2 * 1152 * 576


def test_a_program_without_communication_has_none():
    assert (
        collectives("HloModule empty\n\nENTRY %main (x: f32[4]) -> f32[4] {\n  ROOT %x = f32[4] copy(%x)\n}\n", 4) == []
    )
