#!/usr/bin/env bash
# The real pref-train: every loss learns a toy preference, what a run leaves behind, references that are kept, adapters, resuming, two processes, bad input, messages.
# usage: pref_train_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need pref-train lm-train lm-score
command=("$bin/pref-train")

# Every animal is fed everything; what it should have been given is preferred.
awk 'BEGIN {
  split("cat dog hen cow ant bee", animal, " "); split("milk bone corn grass sugar honey", food, " ")
  for (i = 0; i < 180; i++) {
    n = 1 + i % 6; m = 1 + int(i / 6) % 6
    ask = "\"prompt\":\"What does the " animal[n] " eat?\","
    print "{" ask "\"response\":\"" food[m] "\"}" > "chats.jsonl"
    if (m != n) print "{" ask "\"chosen\":\"" food[n] "\",\"rejected\":\"" food[m] "\"}" > "pairs.jsonl"
  }
}'
head -n 30 pairs.jsonl > valid.jsonl
"$bin/lm-train" --train chats.jsonl --valid chats.jsonl --format chat --chat.template alpaca --vocab-size 300 --model.dim 32 --model.ffn 64 --model.heads 2 --model.layers 1 \
  --model.max-positions 64 --batch-tokens 512 --learning-rate 0.01 --warmup 5 --max-updates 40 --threads 1 --run sft --quiet 2> err || { echo "FAILED: no model: $(cat err)"; exit 1; }

cat > conf.yaml << 'END'
init-from: sft
train:
  - pairs.jsonl
valid:
  - valid.jsonl
threads: 1
precision: fp32
batch-tokens: 512
part-tokens: 256
learning-rate: 0.003
warmup: 2
log-every: 5
schedule: constant
END

scores() { sed -En "s/.*\"split\":\"valid\",.*\"$2\":([0-9.e+-]+).*/\1/p" "$1/metrics.jsonl"; }
# above NAME A B: A is the larger number
above() { awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && b != "" && a > b) }' || report "$1: '$2' is not above '$3'"; }
# near NAME A B DIFFERENCE: they differ by less
near() { awk -v a="$2" -v b="$3" -v most="$4" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d < most) }' || report "$1: '$2' instead of '$3'"; }
last() { scores "$1" "$2" | tail -n 1; }

# Every loss.
for loss in $("$bin/pref-train" --list-losses | cut -d ' ' -f 1); do
  runs "$loss" 'training data: 150 pairs of 150 comparisons' --run "$loss" --loss "$loss" --max-epochs 5
  above "$loss: accuracy" "$(last "$loss" accuracy)" 0.8
  above "$loss: loss" "$(scores "$loss" loss | head -n 1)" "$(last "$loss" loss)"
  above "$loss: margin" "$(last "$loss" margin)" "$(scores "$loss" margin | head -n 1)"
done
[[ $(find . -maxdepth 2 -name metrics.jsonl | wc -l) == 8 ]] || report "not the runs of seven losses and a model: $(ls)"

# What a run leaves behind.
for file in config.yaml command.txt log metrics.jsonl vocab.spm reference.json cache/reference.safetensors ckpt/last/model.safetensors ckpt/last/optim.safetensors ckpt/best/model.safetensors; do
  [[ -s dpo/$file ]] || report "dpo: no $file"
done
for name in accuracy margin chosen-logprob rejected-logprob chosen-reward rejected-reward chosen-tokens rejected-tokens kl; do
  for split in train valid; do grep -qE "\"split\":\"$split\",.*\"$name\":-?[0-9]" dpo/metrics.jsonl || report "dpo: no $name in $split"; done
done
grep -qF '"pairs-per-second"' dpo/metrics.jsonl || report 'dpo: no pairs-per-second'
grep -qF ppl dpo/metrics.jsonl && report 'dpo: pairs have no perplexity'
grep -qF '"kl"' simpo/metrics.jsonl && report 'simpo: a kl without a reference'
[[ -e simpo/cache/reference.safetensors ]] && report 'simpo: asks a reference'
grep -qF 'template: alpaca' dpo/config.yaml || report 'dpo: not the template of its model'

# What lm-score finds is what validation found.
head -n 1 valid.jsonl > one.jsonl
sed -E 's/"chosen":("[^"]*"),"rejected":("[^"]*")/"responses":[\1,\2]/' one.jsonl | "$bin/lm-score" --model dpo/ckpt/last --threads 1 --quiet > out 2> err || report "lm-score: $(cat err)"
logprob=$(grep -oE '"logprob":-?[0-9.e-]+' out | head -n 1 | cut -d : -f 2)
runs 'one pair' 'validation data: 1 pairs' --model dpo/ckpt/last --run one --valid one.jsonl --learning-rate 0 --max-updates 1
near 'lm-score and validation' "$(last one chosen-logprob)" "$logprob" 1e-4
near 'a model that is its reference' "$(last one loss)" 0.693147 1e-5

# Options of losses, of batches and of data.
runs 'kl without need' '' --run measured --loss orpo --measure-kl --max-updates 2
grep -qF '"kl"' measured/metrics.jsonl || report '--measure-kl measures none'
runs 'copied prompts' '' --run copied --no-share-prompts --max-epochs 5
near 'prompts that are not shared' "$(last copied loss)" "$(last dpo loss)" 1e-2
sed -E 's/"chosen":(.*),"rejected":(.*)}/"responses":[\1,\2],"scores":[2,1]}/' pairs.jsonl > lists.jsonl
runs 'another shape' 'training data: 150 pairs' --run lists --train lists.jsonl --max-epochs 5
same lists dpo || report 'lists of two train another model than pairs'

# The reference is the model as this run has it.
runs 'an option of its own' '' --run theta --model.rope-theta 50 --learning-rate 0 --max-updates 1
near 'an option of its own: loss' "$(last theta loss)" 0.693147 1e-5
rm -r theta/cache
runs 'an option of its own, and no cache' 'resumed from' --run theta --model.rope-theta 50 --learning-rate 0 --max-updates 2
near 'an option of its own, and no cache: loss' "$(last theta loss)" 0.693147 1e-5

# Adapters, and export.
runs 'adapters' '' --run adapted --lora.rank 4 --learning-rate 0.02 --max-epochs 5 --export-hf adapted-hf
above 'adapters: accuracy' "$(last adapted accuracy)" 0.7
for file in config.json model.safetensors tokenizer.model; do [[ -s adapted-hf/$file ]] || report "export: no $file"; done
runs 'from Hugging Face' '' --model adapted-hf --run from-hf --max-updates 1 --learning-rate 0
fails 'export over something' 2 'it exists already' -c conf.yaml --run fresh --export-hf adapted-hf

# Going on: to the same bits, without the model that it began with.
going=(--save-every 5 --model.dropout 0.1 --max-epochs 0)
runs 'whole' '' --run whole --max-updates 24 "${going[@]}"
runs 'the first half' '' --run halves --max-updates 11 "${going[@]}"
inode=$(stat -c %i halves/cache/reference.safetensors)
mv sft moved
runs 'the second half' 'resumed from halves/ckpt/step-00000011' -c halves/config.yaml --max-updates 24
mv moved sft
same halves whole || report 'stopped and gone on with, the weights are others'
[[ $(stat -c %i halves/cache/reference.safetensors) == "$inode" ]] || report 'the reference is asked again although nothing changed'
"${command[@]}" -c conf.yaml --run killed --max-updates 100000 "${going[@]}" --quiet 2> err &
child=$!
for ((i = 0; i < 1000; i++)); do
  if [[ -e killed/ckpt/step-00000010 ]]; then break; fi
  sleep 0.01
done
kill -9 "$child"
wait "$child" 2> /dev/null
child=""
step=$(readlink killed/ckpt/last)
updates=$((10#${step##*step-} + 7))
runs 'after a kill' 'resumed from killed/ckpt/step-' --run killed --max-updates "$updates" "${going[@]}"
runs 'without a kill' '' --run unkilled --max-updates "$updates" "${going[@]}"
same killed unkilled || report 'killed and gone on with, the weights are others'
head -c 100 halves/cache/reference.safetensors > cut && mv cut halves/cache/reference.safetensors
runs 'a broken cache' 'made anew' --run halves --max-updates 25 "${going[@]}"
"$bin/lm-train" --train chats.jsonl --valid chats.jsonl --format chat --init-from sft --run another --max-updates 2 --warmup 1 --threads 1 --quiet 2> err || report "another model: $(cat err)"
mv sft moved
cp -r another sft
head -c 100 halves/cache/reference.safetensors > cut && mv cut halves/cache/reference.safetensors
fails 'a broken cache and another model' 1 'sft is not the model any more that this run began with' -c conf.yaml --run halves --max-updates 26 "${going[@]}"
rm -r sft
mv moved sft
runs 'another loss' "changed since the last session of this run: loss.type from 'dpo' to 'kto'" --run halves --loss kto --max-updates 26 "${going[@]}"
fails 'other data' 1 'training comparisons, now there are' -c conf.yaml --run halves --train valid.jsonl --max-updates 27

# Two processes are as one.
if "${command[@]}" --version | grep -q '^data parallel: '; then
  for loss in dpo kto; do
    options=(-c conf.yaml --loss "$loss" --max-epochs 2 --validate-every 1000 --accumulate 2 --quiet)
    "${command[@]}" "${options[@]}" --run "alone-$loss" 2> err || report "one process: $(cat err)"
    in_two "${options[@]}" --run "shared-$loss" || report "$loss in two processes: $(cat err.0 err.1)"
    for name in loss margin kl; do near "two processes: $name of $loss" "$(last "shared-$loss" $name)" "$(last "alone-$loss" $name)" 2e-3; done
  done
  rm -r shared-dpo/cache
  in_two -c conf.yaml --max-epochs 2 --validate-every 1000 --accumulate 2 --max-updates 1000 --run shared-dpo || report "two processes without the cache: $(cat err.0 err.1)"
  [[ -s shared-dpo/cache/reference.safetensors ]] || report 'two processes: the reference is not asked again'
  { head -n 1 pairs.jsonl; echo '{"id":"x","prompt":"p"}'; } > bad.jsonl
  in_two -c conf.yaml --train bad.jsonl --run fresh && report 'two processes: bad data is taken'
  [[ $(cat err.0 err.1 | grep -c 'error: ') == 1 ]] || report "two processes: bad data is not said once: $(cat err.0 err.1)"
  grep -q 'bad.jsonl:2: record x' err.0 || report "two processes: bad data: $(cat err.0)"
fi

# Bad input: file, line and record.
bad() {
  local name=$1 record=$2
  { head -n 1 pairs.jsonl; echo "$record"; } > bad.jsonl
  refuses "$name" 1 'bad.jsonl:2: record x' --train bad.jsonl
  rm -rf fresh
  runs "$name, skipped" 'training data: 1 pairs' --train bad.jsonl --run fresh --skip-bad --max-updates 1
}
bad 'no answer' '{"id":"x","prompt":"p","chosen":"a"}'
bad 'the same answers' '{"id":"x","prompt":"p","chosen":"a","rejected":"a"}'
bad 'an empty answer' '{"id":"x","prompt":"p","chosen":"a","rejected":""}'
bad 'an empty prompt' '{"id":"x","prompt":"","chosen":"a","rejected":"b"}'
refuses 'missing file' 1 'nowhere.jsonl' --train nowhere.jsonl
: > empty.jsonl
refuses 'empty file' 1 'empty.jsonl' --train empty.jsonl
refuses 'one prompt' 1 'have the same prompt' --loss kto --train one.jsonl --valid one.jsonl
runs 'too long' 'training data: 150 pairs' --run long --window 36 --max-updates 1
grep -qE 'more than 36 tokens: [1-9][0-9]* prompts cut on the left' err || report "too long: $(grep cut err)"
refuses 'no room' 1 'record 1' --window 2

# Configuration.
fails 'nothing given' 2 'missing --model, --run, --train, --valid'
refuses 'no model there' 1 'nowhere' --model nowhere
refuses 'standard input' 2 'cannot be standard input' --train -
refuses 'window too large' 2 '--window 65: the model has 64 positions' --window 65
refuses 'no such loss' 2 "did you mean 'simpo'" --loss sinpo
refuses 'an option of another loss' 2 '--loss.eps' --loss dpo --loss.eps 0.1
refuses 'a wrong value' 2 'outside 0..0.5' --loss cdpo --loss.eps 0.6
refuses 'another width' 1 '--model sft does not fit this model' --model.dim 64
gives 'help' 'Usage: pref-train' -h
gives 'help of a loss' '--loss.gamma' --loss simpo -h
gives 'list of losses' 'Rafailov et al., 2023' --list-losses
gives 'resolved configuration' 'type: kto' -c conf.yaml --loss kto --dump-config
gives 'what a run says' 'type: orpo' -c orpo/config.yaml --dump-config
gives 'defaults of its model' 'dim: 32' --model sft --dump-config
for option in --help --dump-config; do full "$option" "$option"; done

finish
