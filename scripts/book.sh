#!/usr/bin/env bash
# Renders the guide under docs/ into target/book with mdBook.
#
#   scripts/book.sh [--fetch]
#
# Where mdBook is not installed, that is said, and nothing rendered; --fetch builds it into target/mdbook (a minute).
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.5.4
own=target/mdbook
export PATH="$PWD/$own/bin:$PATH"
if ! command -v mdbook >/dev/null; then
    if [ "${1:-}" != --fetch ]; then
        echo "skipped: the guide is rendered by mdBook, which is not installed (scripts/book.sh --fetch)" >&2
        exit 0
    fi
    # Not what serves and searches a book; without optimisation, which would take longer than it saves.
    cargo install mdbook --version "$version" --locked --no-default-features --debug \
        --root "$own" --target-dir "$own/build"
    rm -r "$own/build"
fi
# A warning is of a page or link that is not there.
log=$(mdbook build docs 2>&1) || { echo "$log" >&2; exit 1; }
echo "$log" >&2
if grep -qE '\b(WARN|ERROR)\b' <<<"$log"; then
    echo "book: mdBook warns, see above" >&2
    exit 1
fi
echo "wrote target/book/index.html" >&2
