#!/usr/bin/env bash
# All that can be checked and measured on a GPU, from reference vectors to SoftHebb's recipe on CIFAR-10.
#
#   scripts/measure-device.sh [cuda|metal|cpu] [FOLDER]
#
# CUDA needs a toolkit with nvcc. CIFAR-10 comes from the Hugging Face hub, or from its cache. Nothing else may run on
# the machine. The results are in FOLDER (measured-DEVICE), and in its summary.txt what to compare:
#   verify.json, tests.log        reference vectors and all tests on the device
#   step-*/                       an epoch of each paper on a few digits
#   bench.json, bench-high.json   each op and step beside its bare products, in f32 and in TF32
#   recipe-*/results.json         the recipe, in f32 and in TF32; aims on an H100: 2.5 s for an unsupervised epoch (the
#                                 recipe has one for each of three layers), 15 s for all of it
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda} out=${2:-measured-${1:-cuda}}
mkdir "$out"

# An empty list is an error in the bash 3.2 of macOS, unless it is written as below.
features=()
[[ $device == cpu ]] || features=(--features "$device")
cargo build --release --locked --bin hebbian ${features[@]+"${features[@]}"}
hebbian() { target/release/hebbian "$@" --device "$device"; }

summary() { echo "$*" | tee -a "$out/summary.txt"; }
# A command that fails does not keep the others from running, but this script fails in the end.
failed=0
attempt() {
    local what=$1 log=$2 start=$SECONDS
    shift 2
    if "$@" >"$out/$log" 2>&1; then
        summary "$what: passed in $((SECONDS - start)) s"
    else
        failed=1
        summary "$what: FAILED, see $out/$log"
    fi
}
number() { sed -n "s/^  \"$1\": \([0-9.]*\),*$/\1/p" "$2"; }

summary "$(target/release/hebbian --version), $device$(nvidia-smi -L 2>/dev/null | sed 's/^/, /; s/ (UUID.*//')"
attempt "reference vectors" verify.log hebbian verify --json "$out/verify.json"
attempt tests tests.log cargo test --workspace --locked --no-fail-fast ${features[@]+"${features[@]}"}
small=(--dataset digits --offline --epochs 1 --quiet)
for step in "softhebb --preset softhebb-cnn-digits --head-epochs 1" "amit --preset amit-digits" \
    "miconi --preset miconi-digits" "golkar --preset golkar-digits"; do
    read -ra step <<<"$step"
    attempt "one epoch of ${step[0]}" "step-${step[0]}.log" \
        hebbian train "${step[@]}" "${small[@]}" --out "$out/step-${step[0]}"
done
attempt "times in f32" bench.log hebbian bench --quiet --json "$out/bench.json"
attempt "times in TF32" bench-high.log \
    hebbian bench --quiet --matmul-precision high --json "$out/bench-high.json"
for precision in highest high; do
    recipe=$out/recipe-$precision
    attempt "recipe, precision $precision" "recipe-$precision.log" \
        hebbian train softhebb --preset softhebb-cnn3-cifar --dataset cifar10 --quiet \
        --matmul-precision "$precision" --out "$recipe"
    results=$recipe/results.json
    [[ -f $results ]] && summary "  accuracy $(number test_accuracy "$results"), unsupervised epochs" \
        "$(number training_seconds "$results") s, all $(number total_seconds "$results") s"
done
exit "$failed"
