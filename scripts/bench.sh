#!/usr/bin/env bash
# Measures speed: see usage().
set -euo pipefail
export LC_ALL=C.UTF-8

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
usage() {
  cat <<END
Usage: scripts/bench.sh NAME [--json FILE] [--runs N] [--threads N] [OPTION...]

Builds, then measures side by side in one run and prints a table of medians. NAME is one of: $(cd "$root/test/bench" && echo *_bench.py | sed 's/_bench\.py//g').

  --json FILE  append one JSON line per figure: {bench, case, metric, value, unit, peer, peer-value, ratio}
  --runs N     runs of each case, interleaved (default: 3)
  --data DIR   folder that holds mt-multi30k/ (default: \$DATA, else ../shared/data beside the repository)

Options of one bench: scripts/bench.sh NAME --help. \`train\` needs Debian's python3-torch, which scripts/setup.sh --bench installs. Nothing
else should run meanwhile.
END
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  "" | -*) usage >&2; exit 2 ;;
esac
program=$root/test/bench/$1_bench.py
[[ -e $program ]] || { echo "bench.sh: no bench named '$1'" >&2; usage >&2; exit 2; }
shift
"$root/scripts/setup.sh" --bench >&2
cd "$root"
cmake --preset release >&2
cmake --build --preset release --target nmt-train nmt-translate seq-eval int8-quantize gemm-rate encoder-rate >&2
cd "$OLDPWD"
exec /usr/bin/python3 "$program" "$@"
