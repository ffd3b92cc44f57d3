#!/usr/bin/env bash
# Brings the XLA CUDA plugin with the NVIDIA libraries that it needs, as Python
# packages pinned by hash, into lib/longform/cuda. They are kept per user, so the
# next clone only links them. The driver is the machine's own.
#
#   scripts/setup-cuda.sh          all that a GPU needs
#   scripts/setup-cuda.sh target   lib/longform/target: what compiling for a GPU
#                                  that isn't here needs, and no driver
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/longform
case ${1:-cuda} in
cuda) name=cuda size="2.2 GB, and 3.5 GB on disk" requirements=(scripts/xla-target.txt scripts/xla-cuda.txt) ;;
target) name=target size="260 MB, and 710 MB on disk" requirements=(scripts/xla-target.txt) ;;
*)
	echo "usage: $0 [target]" >&2
	exit 2
	;;
esac

# say WHAT MEND prints the one line that a missing piece gets.
say() { echo "setup: $1; to mend: $2" >&2; }

if [ "$(uname -sm)" != "Linux x86_64" ]; then
	say "the pinned CUDA packages are for Linux on x86_64" "set LONGFORM_PJRT_CUDA to a plugin of your own"
	exit 1
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
	say "the CUDA packages are fetched by Python's pip, which is not installed" "sudo apt-get install -y python3-pip, then make setup-$name"
	exit 1
fi
if ! mkdir -p "$cache" .cache lib/longform 2>/dev/null || [ ! -w "$cache" ]; then
	say "cannot write to the cache $cache" "set XDG_CACHE_HOME to a directory that you can write to"
	exit 1
fi

sum=$(cat "${requirements[@]}" | cksum)
kept=$cache/$name-${sum%% *}
if [ ! -d "$kept" ]; then
	log=.cache/$name.log
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	echo "setup: fetching the XLA CUDA plugin and NVIDIA's packages (once, $size)"
	# pip unpacks in TMPDIR before it moves.
	if ! TMPDIR=$work python3 -m pip install --disable-pip-version-check --no-cache-dir --retries 2 --timeout 60 \
		--no-deps --no-compile --only-binary :all: --require-hashes "${requirements[@]/#/--requirement=}" \
		--target "$work/packages" >"$log" 2>&1; then
		say "pip could not fetch the CUDA packages: $(grep -m 1 '^ERROR' "$log" || tail -n 1 "$log")" \
			"connect to the network, make room in $cache, or read $log; then make setup-$name"
		exit 1
	fi
	mv -T "$work/packages" "$kept" 2>/dev/null || [ -d "$kept" ] # another clone may have been faster
fi
ln -sfnT "$kept" "lib/longform/$name"
echo "setup: lib/longform/$name ready"
