# To be sourced, with the arguments of the script. What the scripts of test/cli and test/e2e set up and check with.
#
#   bin       folder of the tools, the script's first argument
#   command   what `gives` and `fails` run, before the options of each check; the script sets it
#   work      a temporary folder, also the current one; removed at the end
#   child     number of a background process to end with the script; empty when there is none
#
# shellcheck shell=bash

bin=$(cd "${1:?usage: ${0##*/} DIRECTORY_OF_TOOLS}" && pwd) || exit 1
child=""
failures=0
work=$(mktemp -d) || exit 1
clean_up() {
  if [[ -n $child ]]; then kill -9 "$child" 2> /dev/null || true; fi
  rm -rf "$work"
}
trap clean_up EXIT
cd "$work" || exit 1

# need TOOL...: the script is skipped where one of these is not built
need() {
  local tool
  for tool in "$@"; do
    [[ -x $bin/$tool ]] || { echo "no $bin/$tool: skipped"; exit 77; }
  done
}

report() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# finish: to be called last
finish() {
  if ((failures > 0)); then echo "$failures failures"; exit 1; fi
  echo "all checks of ${0##*/} passed"
  exit 0
}

# gives NAME TEXT OPTION... < INPUT: the command succeeds and prints TEXT, where one is given; out and err keep what it printed
gives() {
  local name=$1 text=$2
  shift 2
  "${command[@]}" "$@" > out 2> err || report "$name: exit $?: $(tail -n 3 err)"
  [[ -z $text ]] || grep -qF -- "$text" out || report "$name: no '$text' in: $(head -c 400 out)"
}

# fails NAME CODE TEXT OPTION... < INPUT: the command exits with CODE, prints one line of error, with TEXT in it, and no result
fails() {
  local name=$1 code=$2 text=$3 found=0
  shift 3
  "${command[@]}" "$@" > out 2> err || found=$?
  [[ $found == "$code" ]] || report "$name: exit $found instead of $code: $(tail -n 3 err)"
  [[ ! -s out ]] || report "$name: wrote to standard output: $(head -c 400 out)"
  [[ $(grep -c 'error: ' err) == 1 ]] || report "$name: not one error line: $(grep 'error: ' err)"
  grep 'error: ' err | grep -qF -- "$text" || report "$name: no '$text' in: $(tail -n 3 err)"
}

# full NAME OPTION... < INPUT: with a full device as standard output the command says so and exits with 1
full() {
  local name=$1 found=0
  shift
  "${command[@]}" "$@" > /dev/full 2> err || found=$?
  [[ $found == 1 ]] || report "$name > /dev/full: exit $found instead of 1"
  grep -qF 'No space left' err || report "$name > /dev/full: $(cat err)"
}

# lines NAME N: the last command printed N lines
lines() { [[ $(wc -l < out) == "$2" ]] || report "$1: $(wc -l < out) lines instead of $2"; }

# toy_language LINES SHORTEST LONGEST SOURCE_FILE TARGET_FILE: the same lines each time. A language for tests that train: the words of the
# source in reverse order, each with another ending. Its own generator, since awk's differs between versions.
toy_language() {
  awk -v lines="$1" -v shortest="$2" -v longest="$3" -v source="$4" -v target="$5" '
  function draw(n) { x = (x * 16807) % 2147483647; return int(x / 2147483647 * n) }
  BEGIN {
    x = 5; split("ba de fi go ku la me no pu ri sa to", w, " ")
    for (n = 0; n < lines; n++) {
      s = ""; t = ""; words = shortest + draw(longest - shortest + 1)
      for (i = 0; i < words; i++) { y = w[1 + draw(12)] w[1 + draw(12)]; s = s (i ? " " : "") y "en"; t = y "o" (i ? " " : "") t }
      print s > source; print t > target
    }
  }'
}

# toy_configuration: the part of a training's configuration that every test of the toy language begins with
toy_configuration() {
  cat << 'END'
train-src: train.a
train-tgt: train.b
valid-src: valid.a
valid-tgt: valid.b
vocab-size: 350
threads: 1
END
}

# tiny_configuration FILE < MORE: writes toy_configuration and a model whose updates take milliseconds; MORE begins with further lines of `model:`
tiny_configuration() {
  {
    toy_configuration
    cat << 'END'
model:
  dim: 32
  ffn: 64
  heads: 2
  encoder-layers: 1
  decoder-layers: 1
END
    cat
  } > "$1"
}

# learnable_toy FILE: text of the toy language in train.* and the same beginning of it in valid.* and test.*, and in FILE the configuration of a
# training of seconds after which the model has learned some of it
learnable_toy() {
  local side
  toy_language 600 1 4 train.a train.b
  for side in a b; do head -n 30 "train.$side" | tee "valid.$side" > "test.$side"; done
  tiny_configuration "$1" << 'END'
  dropout: 0
batch-tokens: 400
learning-rate: 0.005
label-smoothing: 0
warmup: 40
max-updates: 250
save-every: 50
keep-last: 3
quiet: true
END
}

# weights_file FILE HEADER BYTES: a safetensors file with this header and as many bytes of zeros after it
weights_file() {
  printf '%b\0\0\0\0\0\0\0%s' "\\0$(printf %03o "${#2}")" "$2" > "$1"
  head -c "$3" /dev/zero >> "$1"
}

# Files that no tool may read as text: invalid UTF-8, a NUL byte, CR line ends, a line of a million bytes.
broken_texts() {
  printf 'good\n\xff\xfe\nx\n' > broken
  printf 'ab\0c\n' > nul
  printf 'a b\r\nc\r\n' > crlf
  { echo ok; head -c 1000000 /dev/zero | tr '\0' a; echo; } > mega
}

# Of tools that train, by the configuration conf.yaml.

# runs NAME TEXT OPTION...: trains, succeeds, prints nothing to stdout and TEXT to stderr
runs() {
  local name=$1 text=$2
  shift 2
  "${command[@]}" -c conf.yaml "$@" > out 2> err || report "$name: exit $?: $(tail -n 3 err)"
  [[ -s out ]] && report "$name: wrote to standard output: $(head -c 400 out)"
  grep -qF -- "$text" err || report "$name: no '$text' in: $(tail -n 12 err)"
}

# refuses NAME CODE TEXT OPTION...: `fails` in a fresh run, with the configuration of this test
refuses() {
  local name=$1 code=$2 text=$3
  shift 3
  rm -rf fresh
  fails "$name" "$code" "$text" -c conf.yaml --run fresh "$@"
}

# same RUN RUN: they ended with the same weights
same() { cmp -s "$1/ckpt/last/model.safetensors" "$2/ckpt/last/model.safetensors"; }
# in_two OPTION...: the command in two processes that train together, what each prints in err.0 and err.1; fails as rank 0 does. A port that nobody uses may be taken in between.
in_two() {
  local rank port status=0
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  for rank in 1 0; do
    RANK=$rank WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "${command[@]}" "$@" 2> "err.$rank" &
    child=$!
  done
  wait "$child" || status=$?
  child=""
  wait || true
  return "$status"
}
# weights_hold RUN TEXT: the header of its last weights does
weights_hold() { grep -aqF -- "$2" "$1/ckpt/last/model.safetensors"; }
