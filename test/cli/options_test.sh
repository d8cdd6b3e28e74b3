#!/usr/bin/env bash
# What every tool shares, tried on seq-eval, which starts fastest: flags, configuration files, help, exit codes, closed descriptors.
# usage: options_test.sh DIRECTORY_OF_BINARIES
set -u
bin=$(cd "${1:?usage: options_test.sh DIRECTORY_OF_BINARIES}" && pwd)/seq-eval
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

report() { echo "FAILED: $1"; failures=$((failures + 1)); }

# dumps NAME TEXT ARGUMENT...: --dump-config prints the line TEXT
dumps() {
  local name=$1 text=$2
  shift 2
  "$bin" "$@" --dump-config >out 2>err || report "$name: exit $?: $(cat err)"
  grep -qxF -- "$text" out || report "$name: no '$text' in: $(cat out)"
}

# fails NAME CODE TEXT COMMAND...
fails() {
  local name=$1 code=$2 text=$3
  shift 3
  "$@" >out 2>err
  local found=$?
  [ "$found" = "$code" ] || report "$name: exit $found instead of $code: $(cat err)"
  [ -s out ] && report "$name: wrote to standard output: $(cat out)"
  grep -qF -- "$text" err || report "$name: no '$text' in: $(cat err)"
  grep -q 'terminate called' err && report "$name: aborted"
}

printf 'chrf-beta: 3\nlowercase: true\nmetric: ter\n' >a.yaml
printf 'chrf-beta: 4\n' >b.yaml
dumps 'default' 'chrf-beta: 2'
dumps 'flag' 'chrf-beta: 5' --chrf-beta 5
dumps 'flag with =' 'chrf-beta: 5' --chrf-beta=5
dumps 'file' 'chrf-beta: 3' -c a.yaml
dumps 'attached file' 'chrf-beta: 3' -ca.yaml
dumps 'long file' 'chrf-beta: 3' --config=a.yaml
dumps 'later file wins' 'chrf-beta: 4' -c a.yaml -c b.yaml
dumps 'earlier file counts' 'lowercase: true' -c a.yaml -c b.yaml
dumps 'flag over files' 'chrf-beta: 6' -c a.yaml --chrf-beta 6 -c b.yaml
dumps 'last flag wins' 'chrf-beta: 7' --chrf-beta 6 --chrf-beta 7
dumps 'last switch wins' 'lowercase: false' --lowercase --no-lowercase
dumps 'last switch wins, the other way' 'lowercase: true' --no-lowercase --lowercase
dumps 'switch over file' 'lowercase: false' -c a.yaml --no-lowercase

"$bin" --dump-config --chrf-beta 5 --metric ter --tokenize zh --hyp 'a "b": #c' >first.yaml
"$bin" -c first.yaml --dump-config >second.yaml
cmp -s first.yaml second.yaml || report "a dumped configuration reads back as another: $(diff first.yaml second.yaml)"

fails 'unknown flag' 2 "did you mean '--metric'" "$bin" --metrc bleu
fails 'wrong type' 2 "'x' is not an integer" "$bin" --seed x
fails 'sign twice' 2 "'+-3' is not an integer" "$bin" --seed +-3
fails 'out of range' 2 'outside 1..32' "$bin" --max-ngram-order 40
fails 'wrong choice' 2 "is not one of" "$bin" --tokenize 13b
fails 'value missing' 2 'seed' "$bin" --seed
fails 'positional' 2 "unexpected argument 'file'" "$bin" file
fails 'not UTF-8' 2 'not valid UTF-8' "$bin" --hyp $'r\xe9'
fails 'no such file' 1 'none.yaml' "$bin" -c none.yaml
printf 'seed: 1\nlowercase: true\nseed: 2\n' >twice.yaml
fails 'duplicate key' 2 'twice.yaml:3' "$bin" -c twice.yaml
printf 'seed: 1\nmetrik: bleu\n' >unknown.yaml
fails 'unknown key' 2 "unknown.yaml:2: unknown key 'metrik'; did you mean 'metric'?" "$bin" -c unknown.yaml
fails 'unknown key, attached' 2 'unknown.yaml:2' "$bin" -cunknown.yaml
printf 'seed: many\n' >type.yaml
fails 'wrong type in a file' 2 "type.yaml:1" "$bin" -c type.yaml
printf '\xef\xbb\xbfa b\n' >bom
fails 'byte order mark' 1 'bom:1' "$bin" --ref bom --hyp bom

"$bin" --help >out || report "--help: exit $?"
grep -q 'Examples:' out && grep -q 'Exit status' out || report '--help: no examples or exit codes'
"$bin" --help >/dev/full 2>err
[ $? = 1 ] || report '--help to a full device: exit code'
"$bin" --version | grep -q '^compiler: ' || report '--version names no compiler'

printf 'a b c d\n' >line
"$bin" --ref line --hyp line --metric bleu >&- 2>err
[ $? = 1 ] || report "closed standard output: $(cat err)"
"$bin" --ref line --hyp line --metric bleu 2>&- | grep -q '100' || report 'closed standard error'
NO_COLOR=1 "$bin" --color always --ref none --hyp line 2>err && report 'a missing reference goes unnoticed'
grep -q $'\033' err || report '--color always: no colour'
"$bin" --ref none --hyp line 2>err
grep -q $'\033' err && report 'colour in a file'
"$bin" --quiet --log-level off --ref none --hyp line 2>err && report 'quiet: exit code'

[ "$failures" = 0 ] && echo 'all checks of options passed'
exit $((failures > 0))
