"""Where the tests find things, and the settings that they share with the processes they start."""

import os
import pathlib

ROOT = pathlib.Path(__file__).parent.parent.parent
TESTS = ROOT / "tests"
GOLDEN = TESTS / "golden"
GOLDEN_METRICS = TESTS / "golden_metrics"
CACHE = ROOT / ".cache" / "jax" / "tests"  # shared by the processes that share the tests
DEVICES = "--xla_force_host_platform_device_count"
# The flags of a process with one device: those given, without what xdist's controller has added.
XLA_FLAGS = " ".join(flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(DEVICES))
