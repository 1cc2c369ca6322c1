"""Other numbers of devices, in between; several processes; and one of them that dies."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import run_lib
from core.errors import ExitCode
from programs.run import Run
from tests.support.configs import QUICK, QUICK_FLAGS, load
from tests.support.paths import DEVICES, ROOT, XLA_FLAGS

STEPS = 50
RTOL = 1e-5  # sums over the batch are taken in another order


def config_of(data_dir, num_steps):
    config = load("configs/vp/smoke.py")
    config.data.data_dir = data_dir
    config.update_from_flattened_dict(QUICK)
    config.training.update(snapshot_sampling=False, n_iters=num_steps, snapshot_freq=50)
    return config


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], key, line[key]) for line in lines for key in ("loss", "test_loss") if key in line]


def assert_same(workdir, whole, steps=STEPS):
    ours, theirs = losses(workdir), [line for line in losses(whole) if line[0] <= steps]
    assert [line[:2] for line in ours] == [line[:2] for line in theirs]
    np.testing.assert_allclose([line[2] for line in ours], [line[2] for line in theirs], rtol=RTOL)


@pytest.fixture(scope="module")
def one(data_dir, tmp_path_factory):
    """All steps by one process with one device."""
    workdir = tmp_path_factory.mktemp("distributed") / "one"
    run_lib.train_run(Run(config_of(data_dir, STEPS), str(workdir), jax.devices()[:1]))
    return workdir


def test_a_run_that_moves_between_one_two_and_eight_devices_has_the_losses_of_one(one, data_dir, tmp_path):
    for end, count in ((10, 8), (20, 1), (30, 2), (40, 8), (STEPS, 1)):
        config = config_of(data_dir, end)
        run_lib.train_run(Run(config, str(tmp_path), jax.devices()[:count]))
    assert_same(tmp_path, one)


NO_SAMPLES = "--config.training.snapshot_sampling=False"


def slurm(port, num, k):
    """What Slurm tells the tasks of a step on one node; JAX makes the port of the last 12 bits of the job's number."""
    return {
        "SLURM_JOB_ID": str(port - (65536 - 2**12)),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": str(num),
        "SLURM_PROCID": str(k),
        "SLURM_LOCALID": str(k),
    }


def open_mpi(port, num, k):
    """What Open MPI's mpirun tells its ranks; JAX makes the port of the job's number, a multiple of 2^12."""
    return {
        "OMPI_MCA_orte_hnp_uri": f"{(port - (65536 - 2**12)) * 2**12}.0;tcp://127.0.0.1:1",
        "OMPI_COMM_WORLD_SIZE": str(num),
        "OMPI_COMM_WORLD_RANK": str(k),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(k),
    }


def free_port(first=1024):
    for port in random.sample(range(max(first, 20_000), 65_536), 100):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port of a hundred was free")


def processes(workdir, data_dir, num, devices, *arguments, steps=STEPS, cluster=None):
    port = free_port(65_536 - 2**12 if cluster else 0)
    environment = {**os.environ, "XLA_FLAGS": f"{XLA_FLAGS} {DEVICES}={devices}"}
    command = [
        sys.executable, "main.py", "--config=configs/vp/smoke.py", f"--workdir={workdir}", "--mode=train",
        f"--config.data.data_dir={data_dir}", f"--config.training.n_iters={steps}", "--peer_timeout=30",
        "--config.training.snapshot_freq=50", *QUICK_FLAGS, *arguments,
    ]  # fmt: skip
    for k in range(num):
        told = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={num}", f"--process_id={k}"]
        own = ["--distributed"] if cluster else told if num > 1 else []
        found = cluster(port, num, k) if cluster else {}
        with (workdir.parent / f"{workdir.name}_{k}.log").open("w") as log:
            yield subprocess.Popen([*command, *own], cwd=ROOT, stdout=log, stderr=log, env=environment | found)


def messages(workdir, k):
    return (workdir.parent / f"{workdir.name}_{k}.log").read_text()


def run(workdir, data_dir, num, devices, *arguments, **settings):
    several = list(processes(workdir, data_dir, num, devices, *arguments, **settings))
    codes = [process.wait(timeout=400) for process in several]
    assert codes == [0] * num, "\n".join(messages(workdir, k) for k in range(num))


def test_two_processes_with_four_devices_each_have_the_losses_of_one_and_only_the_first_writes(one, data_dir, tmp_path):
    two = tmp_path / "two"
    run(two, data_dir, 2, 4, steps=35)
    assert_same(two, one, 35)
    assert "loss" in messages(two, 0) and "loss" not in messages(two, 1)
    assert (two / "samples" / "snapshot_1.png").exists()
    # One process goes on where two were, and two where one was.
    run_lib.train_run(Run(config_of(data_dir, 40), str(two), jax.devices()[:1]))
    run(two, data_dir, 2, 4, NO_SAMPLES, steps=STEPS)
    assert_same(two, one)


@pytest.mark.parametrize(("num", "devices", "cluster"), [(4, 1, slurm), (2, 4, open_mpi)])
def test_processes_that_a_cluster_names_find_each_other_and_have_the_losses_of_one(
    one, data_dir, tmp_path, num, devices, cluster
):
    several = tmp_path / "several"
    run(several, data_dir, num, devices, NO_SAMPLES, steps=10, cluster=cluster)
    assert_same(several, one, 10)


def test_a_process_that_dies_ends_the_run_with_a_reason(data_dir, tmp_path):
    workdir = tmp_path / "run"
    several = list(processes(workdir, data_dir, 2, 1, NO_SAMPLES, "--config.training.eval_freq=0", steps=100_000))
    deadline = time.monotonic() + 300
    while "step 10/" not in messages(workdir, 0) and time.monotonic() < deadline and several[0].poll() is None:
        time.sleep(0.2)
    several[1].send_signal(signal.SIGKILL)
    code = several[0].wait(timeout=120)
    several[1].wait()
    said = messages(workdir, 0).strip().splitlines()
    # The first to notice: the collective operation, or JAX's own service, which aborts the process.
    assert code in (ExitCode.PEER_GONE, -signal.SIGABRT), said[-5:]
    if code == ExitCode.PEER_GONE:
        assert any(
            line.startswith("error: Another process of this run is gone, or cannot be reached (") for line in said
        )


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_dies_while_the_others_compile_ends_the_run(data_dir, tmp_path, killed):
    workdir = tmp_path / "run"
    long = ("--config.training.eval_freq=0", "--config.model.name=ncsnpp")  # which takes a while to compile
    several = list(processes(workdir, data_dir, 2, 1, NO_SAMPLES, *long, steps=100_000))
    deadline = time.monotonic() + 300
    while "parameters, 2 device" not in messages(workdir, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "parameters, 2 device" in messages(workdir, 0) and "compiled" not in messages(workdir, 0)
    several[killed].send_signal(signal.SIGKILL)
    code = several[1 - killed].wait(timeout=200)
    several[killed].wait()
    said = messages(workdir, 1 - killed)
    assert code in (ExitCode.PEER_GONE, -signal.SIGABRT) and "Traceback" not in said, said[-2000:]


@pytest.mark.parametrize("signaled", [0, 1])
def test_a_signal_to_one_process_stops_all_of_them_with_the_step_saved(data_dir, tmp_path, signaled):
    workdir = tmp_path / "run"
    several = list(processes(workdir, data_dir, 2, 1, NO_SAMPLES, "--config.training.eval_freq=0", steps=100_000))
    deadline = time.monotonic() + 300
    while "step 10/" not in messages(workdir, 0) and time.monotonic() < deadline and several[0].poll() is None:
        time.sleep(0.2)
    several[signaled].send_signal(signal.SIGTERM)
    assert [process.wait(timeout=200) for process in several] == [ExitCode.STOPPED] * 2, messages(workdir, 0)[-2000:]
    saved = [path.name for path in (workdir / "checkpoints-meta").iterdir() if path.name.isdecimal()]
    assert f"after step {max(map(int, saved))}, which is saved" in messages(workdir, 0)


def test_processes_that_do_not_come_are_told_after_the_time_out(data_dir, tmp_path):
    workdir = tmp_path / "run"
    first = next(processes(workdir, data_dir, 2, 1, "--peer_timeout=3"))
    assert first.wait(timeout=120) in (ExitCode.PEER_GONE, -signal.SIGABRT), messages(workdir, 0)


def test_flags_of_processes_go_together(tmp_path):
    command = [sys.executable, "main.py", "--config=configs/vp/smoke.py", f"--workdir={tmp_path}", "--mode=train"]
    done = subprocess.run([*command, "--process_id=1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USER_ERROR
    assert done.stderr.strip() == (
        "error: --coordinator, --num_processes and --process_id go together; give all three, or --distributed where "
        "JAX can find them."
    )


def test_a_machine_that_is_no_cluster_is_told_before_anything_begins(tmp_path):
    command = [sys.executable, "main.py", "--config=configs/vp/smoke.py", f"--workdir={tmp_path}", "--mode=train"]
    done = subprocess.run([*command, "--distributed"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USER_ERROR
    assert done.stderr.strip() == (
        "error: --distributed: JAX finds no cluster here (Slurm, Open MPI, Kubernetes, TPU); give --coordinator, "
        "--num_processes and --process_id instead."
    )
