#!/usr/bin/env bash
# What every tool shares, tried on seq-eval, which starts fastest: flags, configuration files, help, exit codes, closed descriptors.
# usage: options_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need seq-eval
command=("$bin/seq-eval")

# dumps NAME TEXT ARGUMENT...: --dump-config prints the line TEXT
dumps() {
  local name=$1 text=$2
  shift 2
  "${command[@]}" "$@" --dump-config > out 2> err || report "$name: exit $?: $(cat err)"
  grep -qxF -- "$text" out || report "$name: no '$text' in: $(cat out)"
}

printf 'chrf-beta: 3\nlowercase: true\nmetric: ter\n' > a.yaml
printf 'chrf-beta: 4\n' > b.yaml
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
dumps 'empty value' 'hyp: ""' --hyp= --lowercase
grep -qxF 'lowercase: true' out || report 'an empty value takes the next word'

"${command[@]}" --dump-config --chrf-beta 5 --metric ter --tokenize zh --hyp 'a "b": #c' > first.yaml
"${command[@]}" -c first.yaml --dump-config > second.yaml
cmp -s first.yaml second.yaml || report "a dumped configuration reads back as another: $(diff first.yaml second.yaml)"

fails 'unknown flag' 2 "did you mean '--metric'" --metrc bleu
fails 'wrong type' 2 "'x' is not an integer" --seed x
fails 'sign twice' 2 "'+-3' is not an integer" --seed +-3
fails 'out of range' 2 'outside 1..32' --max-ngram-order 40
fails 'wrong choice' 2 "is not one of" --tokenize 13b
fails 'value missing' 2 'seed' --seed
fails 'positional' 2 "unexpected argument 'file'" file
fails 'not UTF-8' 2 'not valid UTF-8' --hyp $'r\xe9'
fails 'no such file' 1 'none.yaml' -c none.yaml
printf 'seed: 1\nlowercase: true\nseed: 2\n' > twice.yaml
fails 'duplicate key' 2 'twice.yaml:3' -c twice.yaml
printf 'seed: 1\nmetrik: bleu\n' > unknown.yaml
fails 'unknown key' 2 "unknown.yaml:2: unknown key 'metrik'; did you mean 'metric'?" -c unknown.yaml
fails 'unknown key, attached' 2 'unknown.yaml:2' -cunknown.yaml
printf 'seed: many\n' > type.yaml
fails 'wrong type in a file' 2 "type.yaml:1" -c type.yaml
printf '\xef\xbb\xbfa b\n' > bom
fails 'byte order mark' 1 'bom:1' --ref bom --hyp bom

"${command[@]}" --help > out || report "--help: exit $?"
grep -q 'Examples:' out && grep -q 'Exit status' out || report '--help: no examples or exit codes'
full '--help' --help
"${command[@]}" --version | grep -q '^compiler: ' || report '--version names no compiler'

printf 'a b c d\n' > line
"${command[@]}" --ref line --hyp line --metric bleu >&- 2> err
[ $? = 1 ] || report "closed standard output: $(cat err)"
fails 'closed standard input' 1 'standard input' --ref line --metric bleu <&-
"${command[@]}" --ref line --hyp line --metric bleu 2>&- | grep -q '100' || report 'closed standard error'
NO_COLOR=1 "${command[@]}" --color always --ref none --hyp line 2> err && report 'a missing reference goes unnoticed'
grep -q $'\033' err || report '--color always: no colour'
"${command[@]}" --ref none --hyp line 2> err
grep -q $'\033' err && report 'colour in a file'
"${command[@]}" --quiet --log-level off --ref none --hyp line 2> err && report 'quiet: exit code'

finish
