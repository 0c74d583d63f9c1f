# Sourced by what builds for wasm32-unknown-unknown. Needs $root, the folder of the repository, and a
# function `skip` that says why nothing is built, and exits. `wasm_toolchain [--fetch]` sets
#
#   target         the target's name
#   wasm_env       what cargo's environment needs beside, for `env`
#   wasm_flags     what `cargo build` needs beside --target
#
# Where the target is not to be had (`rustup target add`), `--fetch` takes a compiler and the source of
# its standard library from the packages of a Debian that has them (rustc-web; 137 MB to fetch, 0.9 GB
# in target/wasm-toolchain), and builds the standard library too. It needs no root and installs
# nothing.
target=wasm32-unknown-unknown

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
    least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
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

wasm_toolchain() {
    local host linker toolchain=$root/target/wasm-toolchain
    wasm_env=()
    wasm_flags=()
    [ ! -d "$(rustc --print target-libdir --target "$target")" ] || return 0
    if [ ! -d "$toolchain" ]; then
        [ "${1:-}" = --fetch ] || skip "the target $target is not installed, and no --fetch given"
        fetch
    fi
    host=$(rustc -vV | sed -n 's/^host: //p')
    linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
    [ -x "$linker" ] || linker=$(command -v wasm-ld) || skip "no rust-lld and no wasm-ld"
    wasm_env=(
        "LD_LIBRARY_PATH=$(dirname "$(find "$toolchain/" -name 'librustc_driver-*.so')")"
        "RUSTC=$toolchain/usr/bin/rustc" RUSTC_BOOTSTRAP=1
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker"
    )
    wasm_flags=(-Zbuild-std=std,panic_abort)
}
