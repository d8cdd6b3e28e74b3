#!/usr/bin/env bash
# Installs what is missing, builds build/ and runs every test.
set -euo pipefail
export LC_ALL=C.UTF-8

usage() {
  cat <<'END'
Usage: scripts/test.sh [CTEST-OPTION...]

Installs missing packages (scripts/setup.sh), builds the preset `release` in build/, runs ctest. Options go to ctest:

  scripts/test.sh                  everything
  scripts/test.sh -R metric        the tests whose name has "metric" in it
  scripts/test.sh -j 4 -E e2e      four at a time, without the end-to-end tests
  scripts/test.sh -N               names only
END
}
case ${1-} in -h | --help) usage; exit 0 ;; esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
cmake --preset release
cmake --build --preset release
exec ctest --test-dir build --output-on-failure --no-tests=error "$@"
