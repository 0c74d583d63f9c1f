#!/usr/bin/env bash
# Fuzzes whatever reads files of others: every target of fuzz/ for its share of the time.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     60 seconds in all unless given, all targets unless named
#
# Prints executions and coverage of each. Inputs that crash a target, take it longer than 10 seconds or more memory
# than it should are kept in fuzz/artifacts/TARGET, and the exit status is then 1. What was found to reach new code is
# kept in fuzz/corpus/TARGET, where the next run goes on.
#
# Needs Linux on x86-64 or ARM, and a C++ compiler for libFuzzer, which is built from source. The compiler is the
# workspace's own, any channel: RUSTC_BOOTSTRAP=1 lets it take the flag of AddressSanitizer, whose runtime comes with
# rustup's toolchains; where it is not there, it is said, and only panics and memory are watched. cargo-fuzz is not
# needed. Where it is installed (`cargo install cargo-fuzz`, `rustup toolchain install nightly`) it runs the same
# targets: `cargo +nightly fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/TARGET`.
#
# The first build compiles everything again, into fuzz/target.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
case ${1:-} in
'' | *[!0-9]*) ;;
*)
    seconds=$1
    shift
    ;;
esac
all=$(sed -n '/^\[\[bin\]\]/,/^$/s/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml)
read -r -a targets <<<"${*:-${all//$'\n'/ }}"
for target in "${targets[@]}"; do
    if ! grep -qx -- "$target" <<<"$all"; then
        echo "fuzz: no target $target, expected one of:" $all >&2
        exit 2
    fi
done
command -v c++ >/dev/null || {
    echo "fuzz: no C++ compiler (c++), which libFuzzer needs: install g++ or clang" >&2
    exit 1
}

host=$(rustc -vV | sed -n 's/^host: //p')
# Those of cargo-fuzz.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
if compgen -G "$(rustc --print target-libdir)/librustc-*_rt.asan.a" >/dev/null; then
    flags+=" -Zsanitizer=address"
else
    echo "fuzz: this toolchain has no runtime of AddressSanitizer: memory errors are not looked for" >&2
fi
cp Cargo.lock fuzz/
# With a target, so that what runs while it is built gets no such flags.
(cd fuzz && RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" cargo build --release --target "$host" --target-dir target --bins)

# Files are written and read at every execution: in memory, where that is a folder.
TMPDIR=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" hebbian-fuzz-XXXXXX)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
# As without it: a size that no memory is there for is an error, which may be handled.
export ASAN_OPTIONS=allocator_may_return_null=1:quarantine_size_mb=16:detect_leaks=0:detect_odr_violation=0
export RAYON_NUM_THREADS=2

share=$((seconds / ${#targets[@]}))
failed=0
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    folders=("fuzz/corpus/$target")
    [ ! -d "fuzz/seeds/$target" ] || folders+=("fuzz/seeds/$target")
    # The reference vectors are seeds as they are.
    [ "$target" != case ] || folders+=(crates/candle-hebbian/tests/golden)
    # One allocation may have 700 MB: the largest picture that is read, with a copy, has 600.
    status=0
    "fuzz/target/$host/release/$target" "${folders[@]}" -max_total_time=$((share > 0 ? share : 1)) -timeout=10 \
        -rss_limit_mb=1024 -malloc_limit_mb=700 -print_final_stats=1 -detect_leaks=0 \
        -artifact_prefix="fuzz/artifacts/$target/" >"$TMPDIR/log" 2>&1 || status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$TMPDIR/log")
    coverage=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$TMPDIR/log" | tail -1)
    printf '%-12s %9s executions, %6s edges covered' "$target" "${executions:-?}" "${coverage:-?}"
    if [ $status = 0 ]; then
        echo
    else
        failed=1
        printf ', FAILED with status %s:\n' $status
        grep -av '^#' "$TMPDIR/log" | tail -40
    fi
done
exit $failed
