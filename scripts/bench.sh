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
  --data DIR   folder that holds mt-multi30k/ and lm-wikitext2/ (default: \$DATA, else ../shared/data beside the repository)

Options of one bench: scripts/bench.sh NAME --help. Those that compare with PyTorch need Debian's python3-torch, which scripts/setup.sh --bench
installs. Nothing else should run meanwhile.
END
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  "" | -*) usage >&2; exit 2 ;;
esac
program=$root/test/bench/$1_bench.py
[[ -e $program ]] || { echo "bench.sh: no bench named '$1'" >&2; usage >&2; exit 2; }
case $1 in
  lm) targets=(lm-train lm-generate int8-quantize gemm-rate memory-rate) ;;
  rm) targets=(lm-train rm-train rm-score) ;;
  startup) targets=(nmt-train nmt-translate seq-eval int8-quantize lm-train lm-generate lm-score) ;;
  *) targets=(nmt-train nmt-translate int8-quantize gemm-rate encoder-rate) ;;
esac
shift
"$root/scripts/setup.sh" --bench >&2
cd "$root"
cmake --preset release >&2
cmake --build --preset release --target "${targets[@]}" >&2
cd "$OLDPWD"
exec /usr/bin/python3 "$program" "$@"
