#!/usr/bin/env bash
# Brings what METEOR needs besides the program, once for a user: WordNet 3.0 from
# Debian's package wordnet-base, unless it is installed, and NLTK's English Punkt
# model from a Python package pinned by hash. Needs no root, but Debian's or Ubuntu's
# apt-get and Python with pip; 18 MB to fetch, 29 MB on disk.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/longform

# say WHAT MEND prints the one line that a missing piece gets.
say() { echo "setup: $1; to mend: $2" >&2; }

if ! mkdir -p "$cache" 2>/dev/null || [ ! -w "$cache" ]; then
	say "cannot write to the cache $cache" "set XDG_CACHE_HOME to a directory that you can write to"
	exit 1
fi
work=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ ! -f "$cache/wordnet/index.noun" ] && [ ! -f /usr/share/wordnet/index.noun ]; then
	mkdir "$work/deb"
	cd "$work/deb"
	if ! apt-get download -q wordnet-base >log 2>&1 && ! { apt-get update && apt-get download -q wordnet-base; } >>log 2>&1; then
		say "WordNet couldn't be fetched: $(tail -n 1 log)" "install the package wordnet-base, or name a directory with WordNet 3.0's dict files in LONGFORM_WORDNET"
		exit 1
	fi
	cd - >/dev/null
	dpkg-deb -x "$work"/deb/*.deb "$work/deb/root"
	rm -rf "$cache/wordnet"
	mv "$work/deb/root/usr/share/wordnet" "$cache/wordnet"
fi

if [ ! -f "$cache/punkt/abbrev_types.txt" ]; then
	if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
		--requirement scripts/metrics-punkt.txt --dest "$work/wheel" >"$work/log" 2>&1; then
		say "the Punkt model couldn't be fetched: $(tail -n 1 "$work/log")" "install Python with pip, or name a directory with NLTK's punkt_tab/english in LONGFORM_PUNKT"
		exit 1
	fi
	python3 -m zipfile -e "$work"/wheel/*.whl "$work/wheel"
	rm -rf "$cache/punkt"
	mv "$work/wheel/llama_index/core/_static/nltk_cache/tokenizers/punkt_tab/english" "$cache/punkt"
fi
