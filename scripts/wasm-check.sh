#!/usr/bin/env bash
# Builds the library without default features for wasm32-unknown-unknown, trains a layer with it in
# node (.ci/outside), and compares the weights with those of the same program built natively.
#
#   scripts/wasm-check.sh [--fetch]
#
# Needs node and the target, see scripts/wasm-toolchain.sh for --fetch. What is missing is said, and
# the check skipped with status 0.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

skip() {
    echo "wasm-check: skipped: $*" >&2
    exit 0
}

command -v node >/dev/null || skip "no node"
. scripts/wasm-toolchain.sh
wasm_toolchain "${1:-}"

export CARGO_TARGET_DIR=$root/target/outside
export CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=0
mkdir -p "$CARGO_TARGET_DIR"
cd .ci/outside
cp "$root/Cargo.lock" .
cargo run >"$CARGO_TARGET_DIR/weights.txt"
# An empty list is an error in the bash 3.2 of macOS, unless it is written like this.
env ${wasm_env[@]+"${wasm_env[@]}"} cargo build --lib --no-default-features --target "$target" \
    ${wasm_flags[@]+"${wasm_flags[@]}"}
node "$root/scripts/wasm-check.mjs" "$CARGO_TARGET_DIR/$target/debug/outside.wasm" \
    <"$CARGO_TARGET_DIR/weights.txt"
