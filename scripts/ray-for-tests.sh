#!/usr/bin/env bash
# A real Ray head on this machine, for tests of internal/launch/ray: 4 CPUs as Ray counts them, whatever the machine has.
#
#   eval "$(scripts/ray-for-tests.sh)"     installs Ray from PyPI once (380 MB), starts it, sets RAY_ADDRESS
#   scripts/ray-for-tests.sh stop          stops it, and removes its directory
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$PWD/.cache/ray

if [ "${1:-}" = stop ]; then
	# With --block, ray start ends what it has started; "ray stop" would end every Ray of this machine.
	pid=$(cat "$dir/pid" 2>/dev/null) || { echo "no Ray of $0 is running" >&2; exit 1; }
	kill "$pid" 2>/dev/null || true
	for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
	rm -rf "$(cat "$dir/temporary")" "$dir"
	exit
fi

venv=${XDG_CACHE_HOME:-$HOME/.cache}/longform/ray-$(sha256sum scripts/ray-requirements.txt | cut -c1-12)
if [ ! -x "$venv/bin/ray" ]; then
	rm -rf "$venv.new"
	python3 -m venv "$venv.new" >&2
	"$venv.new/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		--requirement scripts/ray-requirements.txt >&2
	mv "$venv.new" "$venv"
fi

[ -f "$dir/pid" ] && "$0" stop
mkdir -p "$dir"
# Sockets lie in there, and their paths have to be short.
temporary=$(mktemp -d /tmp/ray.XXXXXX)
echo "$temporary" >"$dir/temporary"
port=$((20000 + RANDOM % 10000))
# Not the ray in bin: its first line names the directory where it was installed.
RAY_USAGE_STATS_ENABLED=0 setsid "$venv/bin/python" -m ray.scripts.scripts start --head --block \
	--temp-dir="$temporary" --num-cpus=4 --num-gpus=0 --object-store-memory=80000000 \
	--node-ip-address=127.0.0.1 --port=$port --ray-client-server-port=$((port + 1)) \
	--dashboard-host=127.0.0.1 --dashboard-port=$((port + 2)) --dashboard-agent-listen-port=$((port + 3)) \
	--min-worker-port=$((port + 10)) --max-worker-port=$((port + 200)) \
	>"$dir/log" 2>&1 </dev/null &
pid=$!
echo $pid >"$dir/pid"

address=http://127.0.0.1:$((port + 2))
for _ in {1..120}; do
	# The head answers before it can take jobs: it needs its agent first.
	if python3 -c "import urllib.request as u; u.urlopen('$address/api/jobs/', timeout=5)" 2>/dev/null; then
		echo "export RAY_ADDRESS=$address"
		exit
	fi
	kill -0 $pid 2>/dev/null || break
	sleep 0.5
done
echo "Ray did not start; its log:" >&2
tail -20 "$dir/log" >&2
"$0" stop
exit 1
