#!/usr/bin/env bash
# Language models from the shell: text -> lm-train -> lm-generate -> lm-score, then tuned on instructions, with adapters too, exported and read again; the same
# in two processes.
# usage: lm_toy_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need lm-train lm-generate lm-score
train=$bin/lm-train generate=$bin/lm-generate score=$bin/lm-score

# Sentences of a grammar: which words follow "the cat" is certain, so that a model that has learned it is seen at once.
awk 'BEGIN {
  split("cat dog hen cow", animal, " "); split("milk bone corn grass", food, " ")
  x = 7
  for (i = 0; i < 1200; i++) { x = (x * 16807) % 2147483647; n = 1 + x % 4; print "the " animal[n] " eats " food[n] " ." }
}' > train.txt
head -n 40 train.txt > valid.txt
awk 'BEGIN {
  split("cat dog hen cow", animal, " "); split("milk bone corn grass", food, " ")
  for (i = 0; i < 200; i++) { n = 1 + i % 4; printf "{\"prompt\":\"What does the %s eat?\",\"response\":\"%s\"}\n", animal[n], food[n] }
}' > chats.jsonl

cat > conf.yaml << 'END'
vocab-size: 300
threads: 2
batch-tokens: 512
part-tokens: 256
window: 32
learning-rate: 0.01
warmup: 10
validate-every: 20
quiet: true
END

# learn NAME UPDATES OPTION...: trains; the validation loss has to fall
learn() {
  local name=$1 updates=$2
  shift 2
  "$train" -c conf.yaml --run "$name" --max-updates "$updates" "$@" 2> err || { report "$name: $(cat err)"; return; }
  sed -En 's/.*"split":"valid","loss":([0-9.e+-]+).*/\1/p' "$name/metrics.jsonl" | awk 'NR == 1 { first = $1 } END { exit !(NR > 1 && $1 < first) }' ||
    report "$name: the validation loss did not fall: $(grep valid "$name/metrics.jsonl")"
}
field() { sed -En "s/.*\"$2\":([0-9.e+-]+).*/\1/p" "$1" | tail -n 1; }
# near NAME A B: the same to four digits
near() { awk -v a="$2" -v b="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d <= 1e-4 * b) }' || report "$1: '$2' instead of '$3'"; }
# answers NAME PROMPT TEXT OPTION...: greedily
answers() {
  local name=$1 prompt=$2 text=$3
  shift 3
  printf '{"id":1,"prompt":"%s"}\n' "$prompt" | "$generate" --model "$name" --temperature 0 --max-new-tokens 8 --quiet "$@" > out 2> err || report "$name: $(cat err)"
  grep -qF "\"text\":\"$text" out || report "$name: '$prompt' is not answered by '$text' but: $(cat out)"
}

model=(--model.dim 32 --model.ffn 64 --model.heads 2 --model.layers 2 --model.max-positions 64)
learn text 150 --train train.txt --valid valid.txt "${model[@]}"
answers text 'the cat eats' ' milk'
answers text 'the cow eats' ' grass'
"$score" --model text/ckpt/last --perplexity --window 32 --json --quiet < valid.txt > found || report 'lm-score of text'
near 'perplexity per word' "$(field found word-ppl)" "$(field text/metrics.jsonl word-ppl)"
printf '{"id":1,"prompt":"the dog eats","responses":[" bone ."," corn ."]}\n' | "$score" --model text --no-end --quiet > out 2> err || report "lm-score: $(cat err)"
[[ $(grep -oE '"logprob":-?[0-9.e-]+' out | cut -d: -f2 | head -n 2 | sort -g | tail -n 1) == $(grep -oE '"logprob":-?[0-9.e-]+' out | cut -d: -f2 | head -n 1) ]] ||
  report "a dog would rather eat corn: $(cat out)"

# The other shapes begin to learn.
learn grouped 60 --train train.txt --valid valid.txt --model.dim 32 --model.ffn 64 --model.heads 4 --model.kv-heads 2 --model.layers 1 --model.qkv-bias --model.tie
learn learned 60 --train train.txt --valid valid.txt --model.dim 32 --model.ffn 64 --model.heads 2 --model.layers 1 --model.norm layer --model.positions learned \
  --model.activation gelu --model.max-positions 64
learn polynomial 60 --train train.txt --valid valid.txt --model.dim 32 --model.ffn 64 --model.heads 2 --model.layers 1 --model.norm l1 --model.activation relu --model.attention polynomial

# Instructions: all weights of the model of text, then adapters of the tuned one for animals that have changed their minds.
chat=(--format chat --chat.template alpaca --vocab-size 0 --window 64)
learn tuned 250 "${chat[@]}" --train chats.jsonl --valid chats.jsonl --init-from text
answers tuned 'What does the hen eat?' 'corn"'
sed 's/bone/fish/; s/corn/milk/; s/fish/corn/' chats.jsonl > others.jsonl
learn adapted 250 "${chat[@]}" --train others.jsonl --valid others.jsonl --init-from tuned --lora.rank 4 --lora.targets q_proj --lora.targets v_proj --lora.targets o_proj \
  --lora.targets up_proj --lora.targets down_proj --lora.targets gate_proj --export-hf adapted-hf
answers adapted 'What does the hen eat?' 'milk"'
answers adapted-hf 'What does the hen eat?' 'milk"' --chat alpaca
"$train" --init-from adapted-hf --export-hf again-hf --quiet 2> err || report "converting: $(cat err)"
cmp -s adapted-hf/model.safetensors again-hf/model.safetensors || report 'import and export do not come round'

# In two processes: what one process trains, but for the rounding of sums.
if "$train" --version | grep -q '^data parallel: '; then
  options=(-c conf.yaml --train train.txt --valid valid.txt "${model[@]}" --max-updates 30 --accumulate 2 --precision fp32)
  "$train" "${options[@]}" --run alone 2> err || report "one process: $(cat err)"
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  for rank in 1 0; do
    RANK=$rank WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$train" "${options[@]}" --run shared 2> "err.$rank" &
    child=$!
  done
  wait "$child" || report "rank 0: $(cat err.0)"
  child=""
  wait || true
  near 'two processes' "$(field shared/metrics.jsonl loss)" "$(field alone/metrics.jsonl loss)"
fi

finish
