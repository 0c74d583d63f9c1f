#!/bin/sh
# Type-checks the Metal build where there is no Mac: the compiler needs no Apple SDK for that, and what
# build scripts want of a C compiler is an output file. Arguments go to cargo check.
#
#   rustup target add aarch64-apple-darwin
#   scripts/metal-check.sh
set -eu
cd "$(dirname "$0")/.."
mkdir -p target/metal-tools
tools=$PWD/target/metal-tools
cat >"$tools/cc" <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in -o) : >"$2" ;; esac
    shift
done
END
cat >"$tools/ar" <<'END'
#!/bin/sh
for file; do
    case $file in *.a) printf '!<arch>\n' >"$file" ;; esac
done
END
chmod +x "$tools/cc" "$tools/ar"
export CC_aarch64_apple_darwin="$tools/cc" CXX_aarch64_apple_darwin="$tools/cc"
export AR_aarch64_apple_darwin="$tools/ar"
cargo check --workspace --features metal --target aarch64-apple-darwin "$@"
