#!/usr/bin/env bash
# Brings what Go modules cannot: libtokenizers.a, which every binary links, and
# the XLA CPU plugin, which makes training on a CPU fast. Both are built or
# fetched once, kept per user so that the next clone finds them, and linked into
# this checkout. With everything in place it returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/longform
os=$(uname -s) arch=$(uname -m)

# say WHAT MEND prints the one line that a missing piece gets.
say() { echo "setup: $1; to mend: $2" >&2; }

# place CACHED FILE puts a cached file into the checkout without a second copy where it can.
place() {
	mkdir -p "$(dirname "$2")"
	ln -f "$1" "$2" 2>/dev/null || cp -f "$1" "$2"
}

if ! mkdir -p "$cache" .cache 2>/dev/null || [ ! -w "$cache" ]; then
	say "cannot write to the cache $cache" "set XDG_CACHE_HOME to a directory that you can write to"
	exit 1
fi
work=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT

# ---- tools that nothing can be built without

missing=
if ! command -v go >/dev/null; then
	say "Go is not installed" "install Go 1.26 or later from https://go.dev/dl and put its bin directory on PATH"
	missing=1
elif ! version=$(go version 2>&1); then
	say "this Go cannot build the project: ${version//$'\n'/ }" "install Go 1.26 or later from https://go.dev/dl"
	exit 1
fi
if ! command -v cc >/dev/null || ! command -v c++ >/dev/null; then
	say "no C and C++ compiler (cc and c++) found" "sudo apt-get install -y build-essential"
	missing=1
fi
[ -z "$missing" ] || exit 1

# ---- libtokenizers.a, from the sources in the Go module and the crates in tokenizers.lock

tokenizers() {
	local module=github.com/daulet/tokenizers version lock name rust cached dir log=.cache/tokenizers.log
	version=$(awk -v m="$module" '$1 == m { print $2; exit }' go.mod)
	lock=$(cksum <scripts/tokenizers.lock)
	name=libtokenizers-$version-${lock%% *}-$os-$arch
	if [ -f .cache/libtokenizers.a ] && [ "$(cat .cache/libtokenizers.version 2>/dev/null)" = "$name" ]; then
		return
	fi

	rust=$(rustc --version 2>/dev/null | awk '{ print $2 }') || true
	cached=$cache/$name-rust$rust.a
	if [ ! -f "$cached" ] && [ -z "$rust" ]; then # without a toolchain any earlier build will do
		cached=$(find "$cache" -name "$name-*.a" | sort | tail -n 1)
	fi
	if [ ! -f "$cached" ]; then
		local enough='sudo apt-get install -y rustup && rustup default stable (or see https://rustup.rs)'
		if [ -z "$rust" ] || ! command -v cargo >/dev/null; then
			say "cargo is not installed, and the tokenizers library is built with it" "$enough"
			return 1
		fi
		if [ "$(printf '%s\n' 1.85 "$rust" | sort -V | head -n 1)" != 1.85 ]; then
			say "Rust $rust is too old for the tokenizers library, which needs 1.85" "$enough"
			return 1
		fi
		if ! dir=$(go mod download -json "$module@$version" 2>/dev/null | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p') || [ -z "$dir" ]; then
			say "the Go module $module $version could not be fetched" "connect to the network, run go mod download $module to see why, then make setup"
			return 1
		fi

		# Upstream takes tiktoken-rs from git; the published crate serves as well.
		mkdir "$work/src"
		cp "$dir/crates/tokenizers/src/lib.rs" "$work/src/"
		sed -e 's|^tiktoken-rs = .*|tiktoken-rs = "0.9"|' -e '/^\[dev-dependencies\]/,$d' \
			"$dir/crates/tokenizers/Cargo.toml" >"$work/Cargo.toml"
		local registry
		registry=$(sed -n '/^source = "registry+/{s/^source = "\(.*\)"$/\1/p;q}' "$dir/Cargo.lock")
		sed "s|@registry@|$registry|" scripts/tokenizers.lock >"$work/Cargo.lock"

		echo "setup: building libtokenizers.a (once, about two minutes)"
		if ! cargo build --release --locked --lib --manifest-path "$work/Cargo.toml" --target-dir "$work/target" >"$log" 2>&1; then
			say "building libtokenizers.a failed: $(grep -m 1 '^error' "$log" || tail -n 1 "$log")" \
				"connect to the network if there is none, else read $log; then make setup"
			return 1
		fi
		mv -f "$work/target/release/libtokenizers_ffi.a" "$cached"
	fi
	place "$cached" .cache/libtokenizers.a
	echo "$name" >.cache/libtokenizers.version
	echo "setup: libtokenizers.a ready"
}

# ---- the XLA CPU plugin, from a Python package pinned by hash

xla() {
	local plugin=lib/longform/pjrt_cpu.so cached=$cache/pjrt_cpu-0.11.2.so log=.cache/xla.log
	local sha=ad1309ac822b1b24d51b7f9947c7c9fa9ef5d67f390584cbc3d1fa2428fed9c2
	local without='no XLA CPU plugin, so models run on the pure Go backend, some 25 times slower'

	# verified FILE: its hash is right; one already looked at is known by size, time and inode.
	verified() {
		[ -f "$1" ] || return
		local seen
		seen="$sha $(stat -c '%s %Y %i' "$1")"
		[ "$(cat .cache/xla.verified 2>/dev/null)" = "$seen" ] && return
		if ! echo "$sha  $1" | sha256sum --check --status; then
			echo "setup: $1 is damaged and will be replaced" >&2
			rm -f "$1"
			return 1
		fi
		echo "$seen" >.cache/xla.verified
	}

	if [ "$os-$arch" != Linux-x86_64 ]; then
		echo "setup: $without (there is one for Linux on x86_64 only)" >&2
		return
	fi
	verified "$plugin" && return
	if ! verified "$cached"; then
		if ! python3 -m pip --version >/dev/null 2>&1; then
			say "$without: it is fetched by Python's pip, which is not installed" "sudo apt-get install -y python3-pip, then make setup"
			return
		fi
		echo "setup: fetching the XLA CPU plugin (once, 60 MB)"
		if ! python3 -m pip download --disable-pip-version-check --retries 1 --timeout 30 --no-deps --only-binary :all: \
			--require-hashes --requirement scripts/xla-cpu.txt --dest "$work/wheel" >"$log" 2>&1; then
			say "$without: pip could not fetch it (see $log)" "connect to the network, then make setup"
			return
		fi
		python3 -m zipfile -e "$work"/wheel/*.whl "$work/wheel"
		mv -f "$work/wheel/lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so" "$cached"
		if ! verified "$cached"; then
			say "$without: the package does not hold the expected plugin" "update scripts/setup.sh together with scripts/xla-cpu.txt"
			return
		fi
	fi
	place "$cached" "$plugin"
	verified "$plugin"
	echo "setup: XLA CPU plugin ready"
}

tokenizers
xla
