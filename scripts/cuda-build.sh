#!/usr/bin/env bash
# Release build of every example with CUDA. Needs a toolkit, no GPU: the one that
# scripts/cuda-toolkit.sh put together (its folder as argument; default target/cuda-toolkit), or
# where that folder is missing a toolkit on PATH.
#
#   scripts/cuda-build.sh [FOLDER]
#
# CUDA_COMPUTE_CAP says for which GPU: 80 (default) runs on every GPU from the A100 on.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
environment=${1:-$root/target/cuda-toolkit}/env.sh
if [ -e "$environment" ]; then
    # shellcheck disable=SC1090
    . "$environment"
elif [ $# -gt 0 ] || ! command -v nvcc >/dev/null; then
    echo "no $environment and no nvcc on PATH: run scripts/cuda-toolkit.sh first" >&2
    exit 1
fi
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
cd "$root"
cargo build --release --workspace --examples --features cuda --locked
