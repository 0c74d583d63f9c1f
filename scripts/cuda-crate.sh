#!/usr/bin/env bash
# Prints the folder with the source of a crate that the CUDA build depends on.
#
#   scripts/cuda-crate.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."
manifest=$(cargo metadata --format-version 1 --locked --features cuda | tr ',' '\n' |
    sed -n "s|.*\"manifest_path\":\"\(.*/$1-[0-9.]*/Cargo.toml\)\".*|\1|p")
echo "${manifest%/*}"
