#!/usr/bin/env bash
# Puts a CUDA 13.0 toolkit together in a folder (default target/cuda-toolkit), for Linux machines
# that have none: compiler, headers and libraries from NVIDIA's Python packages (670 MB to fetch,
# 1.9 GB in the folder), and a stub of the driver to link against. No GPU, no root.
#
#   scripts/cuda-toolkit.sh [FOLDER]
#
# Needs python3 with pip, cargo and a C and C++ compiler. Packages already in the folder are used
# again. A machine that has a toolkit needs none of this: `cargo build --features cuda` finds it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/target/cuda-toolkit}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$root"
home=$folder/nvidia/cu13

# nvcc must not be newer than the CUDA of the driver (580 and later: 13.0): newer PTX is refused.
packages=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-cccl==13.0.85
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-nvrtc==13.0.88
    nvidia-curand==10.4.0.35
    nvidia-cublas==13.1.0.3
)
for package in "${packages[@]}"; do
    name=${package%%==*}
    wheel=${name//-/_}-${package##*==}
    if ! compgen -G "$folder/$wheel-*.whl" >/dev/null; then
        python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder" "$package"
    fi
    if [ ! -d "$folder/$wheel.dist-info" ]; then
        echo "unpacking $wheel" >&2
        python3 -m zipfile -e "$folder/$wheel"-*.whl "$folder"
    fi
done

# What an installer would have done: executable bits, lib64, names without versions.
chmod u+x "$home"/bin/* "$home"/nvvm/bin/*
ln -sfn lib "$home/lib64"
for library in cublas cublasLt cudart curand nvrtc; do
    versions=("$home/lib/lib$library".so.*)
    ln -sf "$(basename "${versions[0]}")" "$home/lib/lib$library.so"
done

# No package carries the driver's library, and the linker wants every function that cudarc names.
# Each one of the stub answers CUDA_ERROR_STUB_LIBRARY. It is for linking, and for trying a CUDA
# build on the CPU; never put it before a machine's own driver.
cudarc=$(scripts/cuda-crate.sh cudarc)
stubs=$home/lib/stubs
mkdir -p "$stubs"
{
    grep -ohE 'unsafe fn cu[A-Z][A-Za-z0-9_]*' "$cudarc/src/driver/sys/mod.rs" |
        sed 's/.* //' | sort -u | grep -vxE 'cuGetError(Name|String)' |
        sed 's/.*/int &(void) { return 34; }/'
    cat <<'C'
int cuGetErrorName(int error, const char **name) {
    *name = error == 34 ? "CUDA_ERROR_STUB_LIBRARY" : "unknown";
    return 0;
}
int cuGetErrorString(int error, const char **text) {
    *text = error == 34 ? "CUDA driver is a stub library" : "unknown error";
    return 0;
}
C
} >"$stubs/cuda.c"
"${CC:-cc}" -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so.1" "$stubs/cuda.c"
ln -sf libcuda.so.1 "$stubs/libcuda.so"

# Candle always compiles its kernels for quantised matrices, which this project never calls: minutes
# each at -O3, seconds with the least optimisation; and 40 MB of every program, 1 when compressed.
cat >"$home/bin/nvcc-quick" <<'NVCC'
#!/bin/sh
case " $* " in
*" -c "*/mmq_*.cu" " | *" -c "*/mmvq_*.cu" " | *" -c "*/moe_*.cu" ")
    set -- --Ofast-compile max --compress-mode size "$@"
    ;;
esac
exec "$(dirname "$0")/nvcc" "$@"
NVCC
chmod +x "$home/bin/nvcc-quick"

cat >"$folder/env.sh" <<ENV
# To source before a build with --features cuda. CUDA_COMPUTE_CAP=80 makes PTX that every GPU from
# the A100 on compiles for itself at the first use of a kernel; 90 stands for sm_90a, H100 and H200
# alone.
export CUDA_HOME='$home'
export CUDA_PATH="\$CUDA_HOME"
export PATH="\$CUDA_HOME/bin:\$PATH"
export NVCC="\$CUDA_HOME/bin/nvcc-quick"
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-80}"
export CUDAFORGE_THREADS="\${CUDAFORGE_THREADS:-$(nproc)}"
ENV

"$home/bin/nvcc" --version | sed -n 4p
cat <<NEXT
toolkit in $folder
build:                    scripts/cuda-build.sh '$folder'
or, for one's own command: . '$folder/env.sh'
run where a driver is:    LD_LIBRARY_PATH='$home/lib' target/release/examples/softhebb --device cuda
run where none is:        LD_LIBRARY_PATH='$home/lib:$home/lib/stubs' target/release/examples/softhebb --device cpu
NEXT
