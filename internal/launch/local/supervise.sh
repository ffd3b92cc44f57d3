#!/bin/bash
# Runs the copies of job.sh beside it, each on GPUs of its own, and starts one again that has failed or given way.
# It is on its own: who started it may be gone. What there is to know is in files:
#   N.state    of copy N: state, exit status, restarts after a failure, preemptions
#   N.log      what it prints
#   pid        of this process; lock is held as long as it or a copy lives
#   cancelled  is made by whoever cancels
copies=$1 gpus=$2 restarts=$3 backoff=$4 grace=$5 requeue=$6
first=$7
read -ra pool <<<"$8"
cd "$(dirname "$0")" || exit 1
exec 8>lock
flock --nonblock 8 || exit 1

put() { # state exit
	echo "$1 $2 $failures $preemptions" >$index.state.new && mv $index.state.new $index.state
}

# Others may run jobs here: a GPU belongs to who holds the lock on its file.
take_gpus() {
	local dir=/tmp/longform-gpus-$UID gpu fd held
	mine=
	[ "$gpus" -gt 0 ] || return 0
	mkdir -p "$dir"
	while [ -z "$ending" ]; do
		held=() mine=
		for gpu in "${pool[@]}"; do
			[ ${#held[@]} -lt "$gpus" ] || break
			exec {fd}>"$dir/$gpu"
			if flock --nonblock $fd; then
				held+=($fd) mine+=${mine:+,}$gpu
			else
				exec {fd}>&-
			fi
		done
		[ ${#held[@]} -lt "$gpus" ] || return 0
		for fd in "${held[@]}"; do exec {fd}>&-; done
		doze 1.$((RANDOM % 1000)) # not in step with another who waits
	done
}

doze() { # a sleep that a signal ends
	sleep "$1" 8>&- &
	wait $!
}

tell() { # signal
	[ -z "$child" ] || kill -"$1" "$child" 2>/dev/null
}

copy() {
	index=$1 failures=0 preemptions=0 child= ending=
	trap 'tell USR2' USR2
	trap 'ending=1; tell TERM; end' TERM
	# Its group has to go when it doesn't end by itself.
	end() { [ -z "$child" ] || (sleep "$grace" && kill -KILL -- "-$child") 2>/dev/null 8>&- & }
	put pending 0
	take_gpus
	while [ -z "$ending" ]; do
		put running 0
		export LONGFORM_ARRAY_INDEX=$index
		[ "$gpus" = 0 ] || export CUDA_VISIBLE_DEVICES=$mine
		setsid bash job.sh >>$index.log 2>&1 </dev/null &
		child=$!
		echo $child >$index.pid
		while wait "$child"; kill -0 "$child" 2>/dev/null; do :; done # a signal interrupts wait
		wait "$child"
		code=$?
		child=
		[ -z "$ending" ] || break
		case $code in
		0)
			put succeeded 0
			return
			;;
		"$requeue")
			preemptions=$((preemptions + 1))
			put preempted $code
			;;
		*)
			if [ $failures = "$restarts" ]; then
				put failed $code
				return
			fi
			put pending $code
			failures=$((failures + 1))
			echo "copy $index: exit status $code; starting it again" >>$index.log
			doze $((backoff << (failures - 1)))
			;;
		esac
	done
	put cancelled 0
}

ids=()
for ((i = first; i < first + copies; i++)); do
	copy $i &
	ids+=($!)
done
trap 'kill -USR2 "${ids[@]}" 2>/dev/null' USR2
trap 'kill -TERM "${ids[@]}" 2>/dev/null' TERM
echo $$ >pid
for id in "${ids[@]}"; do
	while wait "$id"; kill -0 "$id" 2>/dev/null; do :; done
done
