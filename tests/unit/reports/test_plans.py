"""A plan as a table."""

from reports import plans

COST = {
    "fits": True, "needed": 2**20, "memory": 2**34, "arguments": 2**19, "aliased": 2**19, "temporaries": 2**18,
    "program": 0, "flops": None, "bytes_accessed": None, "communication": {"all-reduce f32": 2**31},
    "seconds": {"network": 0.002}, "bound_seconds": 0.002, "compile_seconds": 3.0, "compile_cpu_seconds": 5.0,
}  # fmt: skip
REFUSED = {**COST, "fits": False, "arguments": None, "temporaries": None, "communication": {}, "seconds": {}}
RECORD = {
    "devices": 8, "device": "H100", "num_parameters": 19208, "batch_size": 64, "fsdp": 1, "state_bytes": 2**19,
    "programs": {"train": COST, "sample": REFUSED},
    "tried": [{"change": {"training.fsdp": 8}, "needed": 2**30, "fits": True}], "largest_batch": 0,
}  # fmt: skip


def test_what_is_unknown_is_left_out_or_said_and_what_does_not_fit_is_seen():
    lines = [" ".join(line.split()) for line in plans.as_text(RECORD).splitlines()]
    assert "8 x H100 train sample" in lines and "available 16.00 GiB 16.00 GiB DOES NOT FIT" in lines
    assert "arguments 0.5 MiB unknown with the batch" in lines and "all-reduce f32 2.00 GiB" in lines
    assert "time by network 2 ms lower bound" in lines and not any("operations" in line for line in lines)
    assert "with config.training.fsdp = 8: 1.00 GiB, fits" in lines and "largest batch size that fits: none" in lines
