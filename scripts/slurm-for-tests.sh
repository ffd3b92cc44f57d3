#!/usr/bin/env bash
# A real Slurm on this machine, for tests: one slurmctld, four slurmd (nodes n1 to n4, 4 CPUs each, whatever the machine
# has) and munged, without systemd. Needs root, or a user who may run munged and slurmd for himself.
#
#   eval "$(scripts/slurm-for-tests.sh)"          starts it in a temporary directory, sets SLURM_CONF
#   scripts/slurm-for-tests.sh stop               stops what SLURM_CONF names, and removes the directory
#
# Partitions: low (default; its jobs are told, and give way within 20 seconds), low-at-once (its jobs give way without being
# told), high (its jobs take the place of the others'), on n1 and n2. Jobs are requeued when they give way. On n3 is the
# partition steady, whose jobs nobody disturbs. On n4, apart from the others, yielding is as low, and urgent as high.
set -euo pipefail

if [ "${1:-}" = stop ]; then
	dir=$(dirname "${SLURM_CONF:?not set, so there is nothing to stop}")
	[ -f "$dir/of-longform-tests" ] || { echo "$dir isn't a Slurm that this script started" >&2; exit 1; }
	# Slurm leaves a job's processes alone when its daemons end.
	scancel --full --user "$(id -un)" >/dev/null 2>&1 || true
	for name in slurmd-n1 slurmd-n2 slurmd-n3 slurmd-n4 slurmctld munged; do
		pid=$(cat "$dir/$name.pid" 2>/dev/null) || continue
		kill "$pid" 2>/dev/null || continue
		for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null && sleep 0.1; done
	done
	rm -rf "$dir"
	exit
fi

missing=()
for program in slurmctld slurmd munged sbatch; do
	PATH=$PATH:/usr/sbin command -v $program >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "no ${missing[*]}; install Slurm and munge: apt-get install slurmctld slurmd slurm-client munge" >&2
		exit 1
	fi
	apt-get update >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge >&2
fi
export PATH=$PATH:/usr/sbin

dir=$(mktemp -d "${TMPDIR:-/tmp}/slurm-for-tests.XXXXXX")
chmod 755 "$dir"
touch "$dir/of-longform-tests"
mkdir "$dir/state" "$dir/n1" "$dir/n2" "$dir/n3" "$dir/n4"
user=$(id -un)
port=$((20000 + RANDOM % 20000))

dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 status=none
chmod 600 "$dir/munge.key"
munged --force --key-file="$dir/munge.key" --socket="$dir/munge.sock" --pid-file="$dir/munged.pid" \
	--log-file="$dir/munged.log" --seed-file="$dir/munge.seed" --num-threads=2 >&2

cat >"$dir/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=localhost
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credential has run out, 2 minutes unless told otherwise.
AuthInfo=socket=$dir/munge.sock,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=10
InactiveLimit=0
SlurmdTimeout=10
MinJobAge=300
SchedulerType=sched/backfill
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=localhost NodeAddr=localhost Port=$((port + 1)) CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=localhost Port=$((port + 2)) CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
NodeName=n3 NodeHostname=localhost NodeAddr=localhost Port=$((port + 3)) CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
NodeName=n4 NodeHostname=localhost NodeAddr=localhost Port=$((port + 4)) CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=low Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=low-at-once Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=steady Nodes=n3 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=OFF
PartitionName=high Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=yielding Nodes=n4 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=n4 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
export SLURM_CONF=$dir/slurm.conf

slurmctld -c >&2
slurmd -N n1 >&2
slurmd -N n2 >&2
slurmd -N n3 >&2
slurmd -N n4 >&2

for _ in $(seq 100); do
	[ "$(sinfo --noheader --Node --partition low,steady,yielding --format %t 2>/dev/null | grep -c idle)" = 4 ] && break
	sleep 0.2
done
if [ "$(sinfo --noheader --Node --partition low,steady,yielding --format %t | grep -c idle)" != 4 ]; then
	echo "Slurm doesn't get going; its logs are in $dir" >&2
	tail -n 5 "$dir"/*.log >&2
	exit 1
fi
echo "export SLURM_CONF=$SLURM_CONF"
