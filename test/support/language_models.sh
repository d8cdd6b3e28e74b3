# To be sourced before checks.sh: directories of random language models, for tests of the tools that read them.
#
# shellcheck shell=bash

reference=$(cd "$(dirname "${BASH_SOURCE[0]}")/../reference" && pwd)/llama_reference.py

# random_model DIRECTORY SHAPE OPTION...: made by the reference of the tests; the script is skipped where that cannot run
random_model() {
  local directory=$1 shape=$2 found=0
  shift 2
  /usr/bin/python3 "$reference" make "$directory" --shape "$shape" "$@" > made 2>&1 || found=$?
  if [[ $found == 77 ]]; then cat made; exit 77; fi
  [[ $found == 0 ]] || { echo "FAILED: cannot make a model: $(cat made)"; exit 1; }
}
