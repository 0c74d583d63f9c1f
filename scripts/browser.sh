#!/usr/bin/env bash
# Builds the page of examples/browser into target/browser, and serves it on this machine.
#
#   scripts/browser.sh [--fetch] [--port N]     builds and serves; Ctrl-C ends it
#   scripts/browser.sh [--fetch] --build        builds only: the folder works from any static server
#   scripts/browser.sh [--fetch] --check        builds, and tries the page in headless Chromium
#
# Needs node and the target wasm32-unknown-unknown, see scripts/wasm-toolchain.sh for --fetch; --check
# needs Chromium (or its path in CHROMIUM) too. What is missing is said; --check is then skipped with
# status 0. wasm-opt (npm's binaryen) makes the module smaller where it is on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

action=serve fetch='' port=8080
while [ $# -gt 0 ]; do
    case $1 in
    --fetch) fetch=--fetch ;;
    --build | --check) action=${1#--} ;;
    --port)
        port=${2:?--port: expected a number}
        shift
        ;;
    *)
        echo "browser: unknown option $1, expected --fetch, --port N, --build or --check" >&2
        exit 2
        ;;
    esac
    shift
done

skip() {
    if [ "$action" = check ]; then
        echo "browser: skipped: $*" >&2
        exit 0
    fi
    echo "browser: $*" >&2
    exit 1
}

command -v node >/dev/null || skip "no node"
if [ "$action" = check ]; then
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome chrome; do
        [ -z "$name" ] || ! CHROMIUM=$(command -v "$name") || break
    done
    [ -n "${CHROMIUM:-}" ] || skip "no Chromium"
    export CHROMIUM
fi
. scripts/wasm-toolchain.sh
wasm_toolchain "$fetch"

export CARGO_TARGET_DIR=$root/target/browser-build CARGO_INCREMENTAL=0
out=$root/target/browser
cp Cargo.lock examples/browser/
# An empty list is an error in the bash 3.2 of macOS, unless it is written like this.
(cd examples/browser && env ${wasm_env[@]+"${wasm_env[@]}"} cargo build --release --target "$target" \
    ${wasm_flags[@]+"${wasm_flags[@]}"})
rm -rf "$out"
mkdir -p "$out"
cp examples/browser/page/* "$out"
module=$CARGO_TARGET_DIR/$target/release/hebbian_browser.wasm
if command -v wasm-opt >/dev/null; then
    wasm-opt -Oz --all-features "$module" -o "$out/networks.wasm"
else
    cp "$module" "$out/networks.wasm"
fi
echo "browser: $out: $(gzip -9c "$out/networks.wasm" | wc -c) bytes of WebAssembly, compressed" >&2

case $action in
check) node examples/browser/check.mjs "$out" ;;
serve) exec node examples/browser/serve.mjs "$out" "$port" ;;
esac
