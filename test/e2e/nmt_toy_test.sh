#!/usr/bin/env bash
# Every architecture learns a toy language; variants of the Transformer begin to learn it and decode.
# usage: nmt_toy_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need nmt-train nmt-translate seq-eval
train=$bin/nmt-train translate=$bin/nmt-translate evaluate=$bin/seq-eval

toy_language 2100 2 6 all.a all.b
for side in a b; do
  head -n 2000 "all.$side" > "train.$side"
  tail -n 100 "all.$side" | tee "valid.$side" > "test.$side"
done

{
  toy_configuration
  cat << 'END'
batch-tokens: 600
label-smoothing: 0
learning-rate: 0.003
warmup: 100
validate-every: 100
END
} > conf.yaml

# small TYPE: sets `options` to a small size for whichever of these options the architecture has
small() {
  local pair
  options=(--model.type "$1")
  "$train" --model.type "$1" --dump-config | sed -n '/^model:$/,/^[^ ]/s/^  \([a-z-]*\):.*/\1/p' > keys
  for pair in dim=64 ffn=128 hidden=64 heads=4 layers=1 encoder-layers=1 decoder-layers=1 dropout=0 attention-dropout=0 activation-dropout=0; do
    if grep -qxF -- "${pair%%=*}" keys; then options+=("--model.${pair%%=*}" "${pair#*=}"); fi
  done
}

# learn NAME UPDATES OPTION...: trains; the loss has to fall
learn() {
  local name=$1 updates=$2
  shift 2
  if ! "$train" -c conf.yaml --quiet --run "$name" --max-updates "$updates" "$@" 2> err; then
    report "$name: training: $(cat err)"
    return 1
  fi
  sed -En 's/.*"split":"valid","loss":([0-9.e+-]+).*/\1/p' "$name/metrics.jsonl" > losses
  awk 'NR == 1 { first = $1 } { last = $1 } END { exit !(NR > 1 && last < 0.8 * first) }' losses ||
    report "$name: the loss of validation does not fall: $(tr '\n' ' ' < losses)"
}

# decode NAME BEAM: translates the held-out sentences; sets `bleu`
decode() {
  local name=$1 beam=$2
  bleu=0
  if ! "$translate" --model "$name" --beam "$beam" --threads 1 --quiet < test.a > out 2> err; then
    report "$name, beam $beam: $(cat err)"
    return 1
  fi
  [[ $(wc -l < out) == 100 ]] || report "$name, beam $beam: $(wc -l < out) lines for 100"
  bleu=$("$evaluate" --metric bleu --ref test.b --json < out | sed -E 's/.*"score":([0-9.]+).*/\1/')
  echo "$name: beam $beam, BLEU $bleu"
}

"$train" --list-models > models || report "--list-models: exit $?"
types=$(awk '{ print $1 }' models)
[[ -n $types ]] || report '--list-models lists nothing'
for type in $types; do
  small "$type"
  learn "$type" 1500 "${options[@]}" || continue
  for beam in 1 5; do
    decode "$type" "$beam" && { awk -v x="$bleu" 'BEGIN { exit !(x >= 80) }' || report "$type, beam $beam: BLEU $bleu, expected 80 or more"; }
  done
done

small transformer
while read -r name variant; do
  # shellcheck disable=SC2086
  learn "$name" 200 "${options[@]}" $variant || continue
  decode "$name" 5
done <<'END'
post-norm --model.norm post
learned-positions --model.positions learned
rotary-positions --model.positions rotary
untied --model.tie none
all-tied --model.tie all
END

finish
