#!/usr/bin/env bash
# Counts what a step asks of an NVIDIA GPU, without a GPU: kernels, matrix products, transfers between host
# and device. The program is built with the feature cuda against libraries that count instead of compute
# (cuda-stand-in/driver.c).
#
#   scripts/cuda-count.sh [NAME...]        # names, or parts of names, of hebbian bench --list
#
# Needs cargo and a C compiler; no toolkit, no driver.
set -euo pipefail
cd "$(dirname "$0")/.."
stand_in=$PWD/target/cuda-stand-in
mkdir -p "$stand_in/lib"

# Every function that cudarc and candle name answers 0; driver.c has those that do more. A product counts.
cudarc=$(scripts/cuda-crate.sh cudarc)/src
kernels=$(scripts/cuda-crate.sh candle-kernels)/src
functions() { grep -ohE "fn ($1)[A-Za-z0-9_]*" "$2" | sed 's/.* //' | sort -u; }
answers() { sed 's/.*/int &(void) { return 0; }/'; }
library() {
    "${CC:-cc}" -O1 -w -shared -fPIC "-Wl,-soname,lib$1.so" -o "$stand_in/lib/lib$1.so" -x c "${@:2}"
}
own=$(grep -oE '^int cu[A-Z][A-Za-z0-9_]*' scripts/cuda-stand-in/driver.c | sed 's/int //')
{
    cat scripts/cuda-stand-in/driver.c
    functions 'cu[A-Z]' "$cudarc/driver/sys/mod.rs" | grep -vxF "$own" | answers
} | library cuda - -lpthread
{
    echo 'void stand_in_product(void);'
    functions cublas "$cudarc/cublas/sys/mod.rs" | sed -E \
        -e 's/.*[Gg]emm.*/int &(void) { stand_in_product(); return 0; }/; t' \
        -e 's/.*/int &(void) { return 0; }/'
} | library cublas -
for name in cublasLt:cublaslt curand:curand nvrtc:nvrtc; do
    functions "${name%:*}" "$cudarc/${name#*:}/sys/mod.rs" | answers | library "${name%:*}" -
done
functions '[a-z]*' "$kernels/ffi.rs" | answers | library cudart -

PATH=$PWD/scripts/nvcc-stand-in:$PATH
export PATH NVCC="$PWD/scripts/nvcc-stand-in/nvcc" CUDA_COMPUTE_CAP=80 CUDA_HOME="$stand_in"
export LD_LIBRARY_PATH="$stand_in/lib" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target/cuda-count}"
cargo build --release --bin hebbian --features cuda --locked
program=$CARGO_TARGET_DIR/release/hebbian

printf '%-45s %7s %8s %7s %8s %5s %6s %6s\n' work kernels products uploads bytes reads copies zeroed
"$program" bench "$@" --list | while read -r name; do
    export HEBBIAN_GPU_COUNTS=$stand_in/counts
    "$program" bench "$name" --alone --seconds 0.01 --device cuda >/dev/null
    # The steps are the most frequent interval with kernels; the bare products, also timed, have none.
    awk '$2 > 0' "$HEBBIAN_GPU_COUNTS" | sort -rn | head -1 | {
        read -r _ kernels products uploads bytes reads copies zeroed by_name
        printf '%-45s %7d %8d %7d %8d %5d %6d %6d\n' "$name" "$kernels" "$products" "$uploads" \
            "$bytes" "$reads" "$copies" "$zeroed"
        tr ' ' '\n' <<<"$by_name" | sort -t: -k2 -rn >"$stand_in/${name//\//-}.kernels"
    }
done
