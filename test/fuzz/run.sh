#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other, and reports executions and findings.
# usage: run.sh DIRECTORY_OF_TARGETS [SECONDS] [TARGET...]      (cmake --preset fuzz && cmake --build --preset fuzz --target fuzz)
set -euo pipefail
targets=$(cd "${1:?usage: run.sh DIRECTORY_OF_TARGETS [SECONDS] [TARGET...]}" && pwd)
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))
seeds=$(cd "$(dirname "$0")" && pwd)/seeds
[ $# -gt 0 ] || set -- $(cd "$targets" && ls | grep '_fuzz$')
status=0
for target in "$@"; do
  work=$targets/$target.work
  mkdir -p "$work/corpus"
  options=()
  [ ! -e "$seeds/$target.dict" ] || options+=("-dict=$seeds/$target.dict")
  if "$targets/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$work/" \
      "${options[@]}" "$work/corpus" "$seeds/$target" > "$work/log" 2>&1; then
    result='nothing found'
  else
    result="FOUND something, see $work/log"
    status=1
  fi
  echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") executions, $result"
done
exit $status
