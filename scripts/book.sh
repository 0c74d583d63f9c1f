#!/usr/bin/env bash
# Renders the guide under docs/ into target/book, where mdBook is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v mdbook >/dev/null; then
    echo "skipped: the guide is rendered by mdBook, which is not installed (cargo install mdbook --locked)" >&2
    exit 0
fi
mdbook build docs
echo "wrote target/book/index.html" >&2
