#!/usr/bin/env bash
# Builds the library's tests for 64-bit ARM, whose vectors are NEON, and runs them in QEMU where there is no such
# processor. QEMU says nothing about times. Arguments go to the tests, such as a part of their names.
#
#   rustup target add aarch64-unknown-linux-gnu
#   apt install gcc-aarch64-linux-gnu qemu-user       # Debian's names
#   scripts/arm-check.sh
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_PROFILE_DEV_DEBUG=none
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
for need in "$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER" qemu-aarch64; do
    if ! command -v "$need" >/dev/null; then
        echo "arm-check: $need is not installed, see the head of $0" >&2
        exit 1
    fi
done
# Documentation tests are programs that would be linked one by one.
cargo test -p candle-hebbian --target "$target" --target-dir target/arm --lib --test it --locked -- "$@"
