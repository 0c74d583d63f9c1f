#!/usr/bin/env bash
# Runs the tests of candle-hebbian, where the unsafe code is (kernels of convolutions, matrix products, arrays that are
# not cleared first), under AddressSanitizer: reads and writes out of bounds, and of freed memory.
#
#   scripts/sanitize.sh [FLAGS OF cargo test...]     scripts/sanitize.sh --test it sizes
#
# Needs Linux and a toolchain of rustup's, with which the sanitizer's runtime comes. RUSTC_BOOTSTRAP=1 lets a stable
# compiler take the flag. Everything is built again, into target/sanitize.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
if ! compgen -G "$(rustc --print target-libdir)/librustc-*_rt.asan.a" >/dev/null; then
    echo "sanitize: this toolchain has no runtime of AddressSanitizer: use one of rustup's, on Linux" >&2
    exit 1
fi
# Arrays of 2^40 bytes are asked for by tests, and refused as without it. Threads keep what they have to the end.
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address"
[ $# -gt 0 ] || set -- --lib --test it
# With a target, so that what runs while it is built is left as it is.
exec cargo test -p candle-hebbian --locked --target "$host" --target-dir target/sanitize "$@"
