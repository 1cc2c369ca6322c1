"""What accelerators can do, by their data sheets: memory, operations, and bytes per second of memory and network.

A device is what JAX calls one: a chip, or one of the two cores of a chip of TPU v2, v3, and v7.
"""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """The figures of one device, all of them peaks, in one direction of the network.

    `memory`: bytes that a program can have, which is less than is sold: the TPU compiler's own limit, or, of a GPU, the
    share of its memory that JAX takes. `network`: to the other devices, by all links together. `beyond`: to devices
    of other hosts, where that is another network. `description`: of a GPU, what XLA compiles for.
    """

    name: str
    memory: int
    bf16_flops: float
    memory_bandwidth: float
    network: float
    beyond: float | None = None
    description: str = ""

    def network_of(self, count: int) -> float:
        """Bytes per second that one of `count` devices can send to the others: the slowest network between them."""
        return self.beyond if self.beyond and count > DEVICES_PER_GPU_HOST else self.network


JAX_SHARE = 0.75  # of a GPU's memory, XLA_PYTHON_CLIENT_MEM_FRACTION
DEVICES_PER_GPU_HOST = 8
INFINIBAND = 50e9  # a 400 Gb/s adapter for each GPU, as in a DGX H100
INFINIBAND_200 = 25e9  # as in a DGX A100


def _gpu(name: str, bytes_: float, flops: float, bandwidth: float, network: float, beyond: float, **text: str) -> Chip:
    description = DESCRIPTION.format(name=name, memory=int(bytes_), bandwidth=int(bandwidth), **text)
    return Chip(name, int(JAX_SHARE * bytes_), flops, bandwidth, network, beyond, description)


# A stream executor's GpuTargetConfigProto as text: what a compiler asks about a device, from its data sheet and the
# CUDA programming guide, table "Technical Specifications per Compute Capability".
DESCRIPTION = """
gpu_device_info {{
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  {shared}
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}  device_memory_size: {memory}
  {cores}
  cuda_compute_capability {{ {capability} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
runtime_version {{ major: 12 minor: 8 patch: 0 }}
device_description_str: "{name}"
"""
HOPPER = {
    "shared": "shared_memory_per_core: 233472  shared_memory_per_block_optin: 232448",
    "cores": "core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98  l2_cache_size: 52428800",
    "capability": "major: 9 minor: 0",
}
AMPERE = {
    "shared": "shared_memory_per_core: 167936  shared_memory_per_block_optin: 166912",
    "cores": "core_count: 108  fpus_per_core: 64  clock_rate_ghz: 1.41  l2_cache_size: 41943040",
    "capability": "major: 8 minor: 0",
}

# TPUs: cloud.google.com/tpu/docs/system-architecture-tpu-vm; memory: what the compiler of libtpu 0.0.42 has available.
TPUS = {
    "v2": Chip("TPU v2 core", int(7.48 * GIB), 22.5e12, 350e9, 31e9),
    "v3": Chip("TPU v3 core", int(15.48 * GIB), 61.5e12, 450e9, 41e9),
    "v4": Chip("TPU v4", int(30.75 * GIB), 275e12, 1228e9, 300e9),
    "v5e": Chip("TPU v5e", int(15.75 * GIB), 197e12, 819e9, 200e9),
    "v5p": Chip("TPU v5p", int(95.74 * GIB), 459e12, 2765e9, 600e9),
    "v6e": Chip("TPU v6e", int(31.25 * GIB), 918e12, 1640e9, 448e9),
    "tpu7x": Chip("TPU v7 core", int(94.75 * GIB), 1153.5e12, 3690e9, 600e9),
}
# GPUs: the data sheets of the SXM modules; operations without sparsity; NVLink in one direction.
GPUS = {
    "a100": _gpu("NVIDIA A100-SXM4-80GB", 79.1 * GIB, 312e12, 2.039e12, 300e9, INFINIBAND_200, **AMPERE),
    "h100": _gpu("NVIDIA H100 80GB HBM3", 79.1 * GIB, 989e12, 3.35e12, 450e9, INFINIBAND, **HOPPER),
    "h200": _gpu("NVIDIA H200", 139.8 * GIB, 989e12, 4.8e12, 450e9, INFINIBAND, **HOPPER),
}
