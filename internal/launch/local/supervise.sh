#!/bin/bash
# Starts copies of job.sh beside it, each with GPUs of its own, and ends. Each copy has a keeper, which starts it again when
# it has failed or given way and is on its own from then on. What there is to know is in files:
#   N.state    of copy N: state, exit status, restarts after a failure, preemptions
#   N.log      what it prints
#   N.pid      of its keeper, to which signals go, and of its process; gone when the copy has ended
#   lock       is held as long as a copy lives
#   cancelled  is made by whoever cancels
copies=$1 gpus=$2 restarts=$3 backoff=$4 grace=$5 requeue=$6
first=$7
read -ra pool <<<"$8"
cd "$(dirname "$0")" || exit 1
exec 8>lock
flock 8

put() { # state exit
	echo "$1 $2 $failures $preemptions" >$index.state.new && mv $index.state.new $index.state
}

over() { # state exit
	put "$1" "$2"
	rm -f $index.pid
	exit
}

# Others may run jobs here: a GPU belongs to who holds the lock on its file.
take_gpus() {
	local dir=/tmp/longform-gpus-$UID gpu fd
	[ "$gpus" -gt 0 ] || return 0
	mkdir -p "$dir"
	until [ -e cancelled ]; do
		mine=
		for gpu in "${pool[@]}"; do
			[ ${#held[@]} -lt "$gpus" ] || break
			exec {fd}>"$dir/${gpu//\//_}"
			if flock --nonblock $fd; then
				held+=($fd) mine+=${mine:+,}$gpu
			else
				exec {fd}>&-
			fi
		done
		[ ${#held[@]} -lt "$gpus" ] || return 0
		release
		doze 1.$((RANDOM % 1000)) # not in step with another who waits
	done
}

release() {
	local fd
	for fd in "${held[@]}"; do exec {fd}>&-; done
	held=()
}

# What may live on for a while after the copy holds neither its GPUs nor the lock.
aside() { (release && exec "$@" 8>&-) & }

doze() { # a sleep that a signal ends
	aside sleep "$1"
	wait $! || kill $! 2>/dev/null
}

tell() { # signal
	[ -z "$child" ] || kill -"$1" "$child" 2>/dev/null
}

# A copy that doesn't end by itself is killed, and all of its group.
end() {
	tell TERM
	[ -z "$child" ] || aside bash -c 'sleep "$0"; kill -KILL -- "-$1"' "$grace" "$child" 2>/dev/null
}

keep() {
	index=$1 child= held=() mine=
	trap 'tell USR2' USR2
	trap ': >cancelled; end' TERM
	echo $BASHPID >$index.pid
	take_gpus
	until [ -e cancelled ]; do
		put running 0
		export LONGFORM_ARRAY_INDEX=$index
		[ "$gpus" = 0 ] || export CUDA_VISIBLE_DEVICES=$mine
		setsid bash job.sh >>$index.log 2>&1 </dev/null &
		child=$!
		echo $BASHPID $child >$index.pid
		[ ! -e cancelled ] || end # who cancelled just now found no child to tell
		while wait "$child"; kill -0 "$child" 2>/dev/null; do :; done # a signal interrupts wait
		wait "$child"
		code=$?
		kill -KILL -- "-$child" 2>/dev/null # what it has left behind
		child=
		[ ! -e cancelled ] || break
		case $code in
		0)
			over succeeded 0
			;;
		"$requeue" | $((128 + $(kill -l USR2)))) # the latter was told before it listened, and has nothing to save
			preemptions=$((preemptions + 1))
			put preempted $code
			;;
		*)
			[ $failures != "$restarts" ] || over failed $code
			put pending $code
			failures=$((failures + 1))
			echo "copy $index: exit status $code; starting it again" >>$index.log
			doze $((backoff << (failures - 1)))
			;;
		esac
	done
	over cancelled 0
}

failures=0 preemptions=0
for ((index = first; index < first + copies; index++)); do put pending 0; done
for ((i = first; i < first + copies; i++)); do keep $i & done
