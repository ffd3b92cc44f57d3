#!/usr/bin/env bash
# A real Kubernetes API server with the controller of Jobs on this machine, for tests of internal/launch/kubernetes; they
# play the node. Needs kubectl; builds the rest from the Go module k8s.io/kubernetes, once, which takes two cores 7 minutes.
#
#   eval "$(scripts/kubernetes-for-tests.sh)"     starts it, sets LONGFORM_KUBECONFIG
#   scripts/kubernetes-for-tests.sh stop          stops it, and removes its directory
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$PWD/.cache/kubernetes

if [ "${1:-}" = stop ]; then
	[ -d "$dir" ] || { echo "no Kubernetes of $0 is running" >&2; exit 1; }
	for name in manager apiserver etcd; do
		[ -f "$dir/$name.pid" ] || continue
		pid=$(cat "$dir/$name.pid")
		kill "$pid" 2>/dev/null || continue
		for _ in {1..50}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
		kill -KILL "$pid" 2>/dev/null || true
	done
	rm -rf "$dir"
	exit
fi

command -v kubectl >/dev/null || { echo "no kubectl; install it" >&2; exit 1; }
if ! command -v etcd >/dev/null; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "no etcd; install it: apt-get install etcd-server" >&2
		exit 1
	fi
	apt-get update >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends etcd-server >&2
fi
kube=${XDG_CACHE_HOME:-$HOME/.cache}/longform/kubernetes-$(cat scripts/kubernetes/go.* scripts/kubernetes/server/* | sha256sum | cut -c1-12)
if [ ! -x "$kube" ]; then
	mkdir -p "$(dirname "$kube")"
	(cd scripts/kubernetes && GOEXPERIMENT= go build -mod=mod -ldflags='-s -w' -o "$kube.new" ./server) >&2
	mv "$kube.new" "$kube"
fi

[ -d "$dir" ] && "$0" stop
mkdir -p "$dir"
port=$((30000 + RANDOM % 2000))
start() { # name program arguments...
	local name=$1
	shift
	setsid "$@" >"$dir/$name.log" 2>&1 </dev/null &
	echo $! >"$dir/$name.pid"
}
fail() {
	echo "$1 did not start; its log:" >&2
	tail -20 "$dir/$1.log" >&2
	"$0" stop
	exit 1
}

start etcd etcd --data-dir="$dir/etcd" --listen-client-urls=http://127.0.0.1:$port --advertise-client-urls=http://127.0.0.1:$port \
	--listen-peer-urls=http://127.0.0.1:$((port + 1)) --unsafe-no-fsync

openssl genrsa -out "$dir/accounts.key" 2048 2>/dev/null
echo "tests,tests,1,system:masters" >"$dir/tokens"
start apiserver "$kube" kube-apiserver --etcd-servers=http://127.0.0.1:$port --bind-address=127.0.0.1 --secure-port=$((port + 2)) \
	--cert-dir="$dir/certificates" --token-auth-file="$dir/tokens" --authorization-mode=AlwaysAllow \
	--service-cluster-ip-range=10.0.0.0/24 --disable-admission-plugins=ServiceAccount \
	--service-account-issuer=https://tests --service-account-key-file="$dir/accounts.key" \
	--service-account-signing-key-file="$dir/accounts.key"

cat >"$dir/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: tests, cluster: {server: "https://127.0.0.1:$((port + 2))", insecure-skip-tls-verify: true}}]
users: [{name: tests, user: {token: tests}}]
contexts: [{name: tests, context: {cluster: tests, user: tests}}]
current-context: tests
YAML
for _ in {1..120}; do
	kubectl --kubeconfig="$dir/kubeconfig" get --raw=/readyz >/dev/null 2>&1 && break
	kill -0 "$(cat "$dir/apiserver.pid")" 2>/dev/null || fail apiserver
	sleep 0.5
done
kubectl --kubeconfig="$dir/kubeconfig" get --raw=/readyz >/dev/null 2>&1 || fail apiserver

start manager "$kube" kube-controller-manager --kubeconfig="$dir/kubeconfig" --controllers=job-controller --leader-elect=false \
	--secure-port=0
sleep 1
kill -0 "$(cat "$dir/manager.pid")" 2>/dev/null || fail manager
echo "export LONGFORM_KUBECONFIG=$dir/kubeconfig"
