#!/usr/bin/env bash
# A language model without exponentials, roots and sines, from its training to integers throughout: what it loses, and what is refused.
# usage: integer_lm_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need lm-train lm-score lm-generate int8-quantize
train=("$bin/lm-train" --train train.txt --valid valid.txt --vocab-size 300 --threads 1 --batch-tokens 512 --window 32 --learning-rate 0.01 --warmup 10 --quiet
  --model.dim 32 --model.ffn 64 --model.heads 4 --model.kv-heads 2 --model.layers 2 --model.max-positions 64)
command=("$bin/int8-quantize" --threads 1)

# Which words follow "the cat" is certain.
awk 'BEGIN {
  split("cat dog hen cow", animal, " "); split("milk bone corn grass", food, " ")
  x = 7
  for (i = 0; i < 1200; i++) { x = (x * 16807) % 2147483647; n = 1 + x % 4; print "the " animal[n] " eats " food[n] " ." }
}' > train.txt
head -n 40 train.txt > valid.txt
"${train[@]}" --run run --max-updates 150 --model.attention polynomial --model.norm l1 --model.activation relu --model.positions learned --model.qkv-bias 2> err ||
  { echo "FAILED: training: $(cat err)"; exit 1; }
"${train[@]}" --run rotary --max-updates 12 --model.attention polynomial --model.norm l1 --model.activation relu 2> err || { echo "FAILED: training: $(cat err)"; exit 1; }

# perplexity MODEL OPTION...: of a token of valid.txt
perplexity() {
  local model=$1
  shift
  "$bin/lm-score" --model "$model" --perplexity --window 32 --json --quiet "$@" < valid.txt > scored 2> err || report "lm-score of $model: $(cat err)"
  sed -En 's/.*"ppl":([0-9.e+-]+).*/\1/p' scored | tail -n 1
}
# near NAME A B SHARE: A differs from B by this share of it at most
near() { awk -v a="$2" -v b="$3" -v s="$4" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b > 1 && d <= s * b) }' || report "$1: '$2' instead of '$3'"; }
# answers MODEL: greedily, in whatever batches
answers() {
  local threads
  printf '{"id":%d,"prompt":"the %s eats"}\n' 1 cat 2 cow 3 hen 4 dog > prompts
  for threads in 1 3; do
    "$bin/lm-generate" --model "$1" --temperature 0 --max-new-tokens 8 --quiet --threads "$threads" < prompts > out 2> err || report "$1: $(cat err)"
    [[ $(grep -oE '"text":" [a-z]+' out | tr -d '\n') == '"text":" milk"text":" grass"text":" corn"text":" bone' ]] || report "$1, $threads threads: $(cat out)"
  done
}

real=$(perplexity run)
answers run
gives 'integers' 'ratio 3.' --model run --output int8 --mode scale-propagation
near 'perplexity of 8 bits' "$(perplexity int8)" "$real" 0.02
[[ $(perplexity int8 --threads 3) == "$(perplexity int8 --threads 1)" ]] || report 'perplexity of 8 bits: not the same with three threads'
answers int8
gives '16 bits' 'ratio 1.' --model run --output sixteen --mode scale-propagation --bits 16
near 'perplexity of 16 bits' "$(perplexity sixteen)" "$real" 0.0005
gives 'heads' '"tensor":"model.layers.1.self_attn.k_proj.weight","module":"attention","quantised":true' --model run --output heads --mode scale-propagation --granularity head --json
near 'perplexity with scales of heads' "$(perplexity heads)" "$real" 0.02
gives 'some' 'ratio' --model run --output some --mode scale-propagation --bits 6 --int8-modules ffn --keep-fp model.layers.1 --keep-fp last-norm
near 'perplexity with some in 6 bits' "$(perplexity some)" "$real" 0.05
"$bin/lm-generate" --model int8 --describe > out 2> err || report "describe: $(cat err)"
grep -q 'in 8 bits' out && grep -q '64 bytes a token' out || report "describe: $(cat out)"

fails 'rotary positions' 2 'model.positions learned (this model has rotary)' --model rotary --output new --mode scale-propagation
fails 'sentences' 2 '--granularity sentence' --model run --output new --mode scale-propagation --granularity sentence
fails 'no sub-layer' 2 'such as model.layers.0.mlp; or last-residual, last-norm' --model run --output new --mode scale-propagation --keep-fp decoder.0.ffn
fails 'twice' 1 'quantised already' --model int8 --output new --mode scale-propagation
[[ ! -e new && -z $(find . -name '.new*') ]] || report 'something is left of what was refused'
command=("$bin/lm-score" --perplexity --quiet)
fails 'LibTorch' 1 'LibTorch does not decode; use --backend engine' --model int8 --backend torch < valid.txt
fails 'LibTorch, 16 bits' 1 'LibTorch does not decode; use --backend engine' --model sixteen --backend torch < valid.txt
cp -r int8 cut
head -c 30000 int8/model.safetensors > cut/model.safetensors
fails 'a file cut short' 1 'cut/model.safetensors' --model cut < valid.txt
cp -r int8 other
sed -i 's/learned/rotary/' other/config.yaml
fails 'another configuration' 1 'model.positions learned (this model has rotary)' --model other < valid.txt
finish
