#!/usr/bin/env bash
# Builds the library without default features for wasm32-unknown-unknown, trains a layer with it in
# node (.ci/outside), and compares the weights with those of the same program built natively.
#
#   scripts/wasm-check.sh [--fetch]
#
# Needs node and the target (`rustup target add wasm32-unknown-unknown`). Where the target is not to
# be had, `--fetch` takes a compiler and the source of its standard library from the packages of a
# Debian that has them (rustc-web; 137 MB to fetch, 0.9 GB in target/wasm-toolchain), and builds the
# standard library too. It needs no root and installs nothing. What is missing is said, and the
# check skipped with status 0.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=wasm32-unknown-unknown

skip() {
    echo "wasm-check: skipped: $*" >&2
    exit 0
}

# Unpacks Debian's packages into $toolchain.
fetch() {
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || skip "no packages of Debian here"
    local new="$toolchain.new" least apt std found
    rm -rf "$new"
    mkdir -p "$new/lists" "$new/cache" "$new/packages"
    apt=(-qq -o "Dir::State::lists=$new/lists" -o "Dir::Cache=$new/cache" -o APT::Sandbox::User=)
    apt-get "${apt[@]}" update || skip "the lists of Debian's packages are not to be had"
    depends() {
        apt-cache "${apt[@]}" depends "$1" 2>/dev/null | sed -n "s/^ *Depends: \($2\)$/\1/p"
    }
    found=$(apt-cache "${apt[@]}" policy rustc-web | sed -n 's/^ *Candidate: //p')
    least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    dpkg --compare-versions "${found:-0}" ge "$least" ||
        skip "rustc-web is ${found:-not to be had}, expected $least or newer"
    std=$(depends libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
    (cd "$new/packages" && apt-get "${apt[@]}" download rustc-web rust-web-src libstd-rust-web-dev \
        "$std" "$(depends "$std" 'libllvm[0-9]*')") || skip "Debian's packages are not to be had"
    for package in "$new"/packages/*.deb; do
        dpkg -x "$package" "$new"
    done
    rm -r "$new/lists" "$new/cache" "$new/packages"
    mv "$new" "$toolchain"
}

command -v node >/dev/null || skip "no node"
build=(cargo build --lib --no-default-features --target "$target")
environment=()
if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
    toolchain=$root/target/wasm-toolchain
    if [ ! -d "$toolchain" ]; then
        [ "${1:-}" = --fetch ] || skip "the target $target is not installed, and no --fetch given"
        fetch
    fi
    host=$(rustc -vV | sed -n 's/^host: //p')
    linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
    [ -x "$linker" ] || linker=$(command -v wasm-ld) || skip "no rust-lld and no wasm-ld"
    environment=(
        "LD_LIBRARY_PATH=$(dirname "$(find "$toolchain" -name 'librustc_driver-*.so')")"
        "RUSTC=$toolchain/usr/bin/rustc" RUSTC_BOOTSTRAP=1
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker"
    )
    build+=(-Zbuild-std=std,panic_abort)
fi

export CARGO_TARGET_DIR=$root/target/outside
export CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=0
mkdir -p "$CARGO_TARGET_DIR"
cd .ci/outside
cp "$root/Cargo.lock" .
cargo run >"$CARGO_TARGET_DIR/weights.txt"
env "${environment[@]}" "${build[@]}"
node "$root/scripts/wasm-check.mjs" "$CARGO_TARGET_DIR/$target/debug/outside.wasm" \
    <"$CARGO_TARGET_DIR/weights.txt"
