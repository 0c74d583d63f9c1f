#!/usr/bin/env bash
# Types and lints of the CUDA build, with no toolkit and no GPU: a stand-in takes nvcc's place. That
# the kernels compile, link and run is not seen here (scripts/cuda-build.sh, a machine with a GPU).
set -euo pipefail
cd "$(dirname "$0")/.."

PATH=$PWD/scripts/nvcc-stand-in:$PATH
export PATH NVCC="$PWD/scripts/nvcc-stand-in/nvcc" CUDA_COMPUTE_CAP=80
# Apart from ordinary builds, which would see other features and an empty library of kernels.
export CARGO_TARGET_DIR=${CUDA_CHECK_TARGET:-target/cuda-check}
cargo clippy --workspace --all-targets --features cuda --locked -- -D warnings
