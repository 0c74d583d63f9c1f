#!/usr/bin/env bash
# Packages every library crate as `cargo publish` would, builds each from its package, then builds
# and runs a program that is no member of the workspace (.ci/outside) against the packages. Its
# lock file differs from the workspace's, so that a range that is too narrow is seen. Publishes
# nothing. The working tree must be clean, for packages are of what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

# One folder for all of it, so that what the packages depend on is built once; in a profile that
# compiles quickly, for the workspace's does not travel with a package.
export CARGO_TARGET_DIR=$root/target/outside
export CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=0

# Cargo keeps what it unpacked and built of an earlier package of the same version.
rm -rf "$CARGO_TARGET_DIR"/package "$CARGO_TARGET_DIR"/debug/.fingerprint/{candle-hebbian,hebbian}-* \
    "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/{candle-hebbian,hebbian}-*
# Without the hub, whose client is most of what would be compiled.
cargo package --workspace --exclude hebbian-examples --no-default-features --locked

cd .ci/outside
cp "$root/Cargo.lock" .
patches=()
for package in "$CARGO_TARGET_DIR"/package/*.crate; do
    folder=${package%.crate}
    tar -xzf "$package" -C "${folder%/*}"
    name=${folder##*/}
    patches+=(--config "patch.crates-io.${name%-*}.path=\"$folder\"")
done
cargo run "${patches[@]}" >/dev/null
