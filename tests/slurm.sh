#!/usr/bin/env bash
# A Slurm of one node on the loopback device, in a folder of its own, for tests; needs root and Debian's slurm-wlm, munge.
#   tests/slurm.sh start DIR     then: export SLURM_CONF=DIR/slurm.conf
#   tests/slurm.sh stop DIR
set -euo pipefail
dir=$(realpath -m "$2")

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() {
  mkdir -p "$dir"/{state,spool,log,munge}
  # The node is this machine's short name, but all of it is on 127.0.0.1.
  local node memory
  node=$(hostname -s)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  head -c 1024 /dev/urandom >"$dir/munge/key"
  chmod 400 "$dir/munge/key"
  chmod 711 "$dir/munge" "$dir"
  cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
SlurmctldPort=$(port)
SlurmdPort=$(port)
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
SchedulerParameters=batch_sched_delay=1,sched_interval=5
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
    --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
  export SLURM_CONF="$dir/slurm.conf"
  slurmctld -c
  slurmd -N "$node"
  for _ in $(seq 60); do
    if sinfo --noheader --format=%T 2>/dev/null | grep -q -E 'idle|mixed'; then return 0; fi
    sleep 0.5
  done
  echo "Slurm did not come up:" >&2
  tail -n 20 "$dir"/log/* "$dir/munge/log" >&2
  return 1
}

stop() {
  # By their own ids, the jobs first: nothing of another Slurm on this machine is touched.
  export SLURM_CONF="$dir/slurm.conf"
  scancel --state=PENDING --user="$(id -un)" 2>/dev/null || true
  scancel --full --signal=KILL --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 60); do
    if [ -z "$(squeue --noheader 2>/dev/null)" ]; then break; fi
    sleep 0.5
  done
  for name in slurmd.pid slurmctld.pid munge/pid; do
    if [ -s "$dir/$name" ]; then end "$(cat "$dir/$name")"; fi
  done
}

end() {
  kill "$1" 2>/dev/null || return 0
  for _ in $(seq 20); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.5
  done
  kill -KILL "$1" 2>/dev/null || true
}

"$1"
