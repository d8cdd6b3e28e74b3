#!/usr/bin/env bash
# The real lm-train: what a run leaves behind, tokenisers, formats, templates, models that it starts from and exports, resuming, bad input, messages.
# usage: lm_train_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need lm-train lm-score
command=("$bin/lm-train")

last_score() { sed -En "s/.*\"split\":\"valid\",.*\"$2\":([0-9.e+-]+).*/\1/p" "$1/metrics.jsonl" | tail -n 1; }

# near NAME A B: two numbers are the same to five digits
near() { awk -v a="$2" -v b="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d <= 1e-5 * (a < 0 ? -a : a)) }' || report "$1: '$2' and '$3' differ"; }

toy_language 300 2 7 train.txt answers
head -n 40 train.txt > valid.txt
gzip -c train.txt > train.txt.gz
sed 's/.*/{"text":"&","id":7}/' train.txt > train.jsonl
paste -d '|' train.txt answers | sed -E 's/^(.*)\|(.*)$/{"prompt":"\1","response":"\2"}/' > train.chat
head -n 20 train.chat > valid.chat

cat > conf.yaml << 'END'
train:
  - train.txt
valid:
  - valid.txt
vocab-size: 330
threads: 1
window: 32
batch-tokens: 256
learning-rate: 0.003
warmup: 2
max-updates: 3
model:
  dim: 32
  ffn: 48
  heads: 2
  layers: 1
  max-positions: 64
END

# What a run leaves behind.
runs 'first run' 'training data: ' --run run --max-updates 60 --save-every 20 --validate-every 20 --log-every 20 --average 2
grep -qF ' of 1 documents (0 without text left out)' err || report "first run: no counts: $(cat err)"
for file in config.yaml command.txt log metrics.jsonl vocab.spm ckpt/last/model.safetensors ckpt/last/state.json ckpt/best/model.safetensors \
  average/model.safetensors average/config.yaml average/vocab.spm; do
  [[ -s run/$file ]] || report "first run: no $file"
done
grep -q 'exit code 0$' run/command.txt || report "first run: command.txt: $(cat run/command.txt)"
grep -qF 'lr 0,' err || report "first run: the cosine does not end at 0: $(cat err)"
weights_hold run 'model.layers.0.self_attn.q_proj.weight' || report "first run: not the names of Hugging Face"
sed -En 's/.*"split":"valid","loss":([0-9.]+).*/\1/p' run/metrics.jsonl | awk 'NR == 1 { first = $1 } END { exit !($1 < first) }' ||
  report 'first run: the validation loss did not fall'

# What lm-score finds is what validation found.
"$bin/lm-score" --model run/ckpt/last --threads 1 --perplexity --window 32 --json < valid.txt > score 2> err || report "lm-score: $(cat err)"
for name in ppl word-ppl bits-per-byte; do near "$name of lm-score" "$(sed -En "s/.*\"$name\":([0-9.e+-]+).*/\1/p" score)" "$(last_score run "$name")"; done

# Formats, and several files.
runs 'compressed' 'training ends' --run gz --train train.txt.gz
runs 'plain' 'training ends' --run plain
same gz plain || report 'compressed text trains another model'
runs 'two files' ' of 2 documents' --run two --train train.txt --train valid.txt
runs 'documents' ' of 300 documents' --run documents --format jsonl --train train.jsonl --valid train.jsonl
runs 'conversations' 'training data: 300 of 300 conversations' --run chat --format chat --train train.chat --valid valid.chat --chat.template alpaca --window 64
grep -qE '"split":"valid","loss":[0-9.]+,"ppl":[0-9.]+,"seconds"' chat/metrics.jsonl || report "conversations: $(cat chat/metrics.jsonl)"
runs 'cut conversations' ' 0 with too long an answer left out' --run cut --format chat --train train.chat --valid valid.chat --chat.template alpaca --window 50
grep -qE 'more than 50 tokens: [1-9][0-9]* cut on the left' err || report "cut conversations: $(cat err)"
runs 'checkpointing' 'training ends' --run checkpointing --checkpointing
same checkpointing plain || report '--checkpointing trains another model'
runs 'cache' 'training ends' --run plain --max-updates 4
inode=$(stat -c %i plain/cache/train.tokens)
runs 'cache again' 'training ends' --run plain --max-updates 5
[[ $(stat -c %i plain/cache/train.tokens) == "$inode" ]] || report 'the token cache is made anew although nothing changed'

# Tokenisers.
runs 'given tokeniser' 'training ends' --run given --vocab-size 0 --vocab run/vocab.spm
same given plain || report 'the same tokeniser, given, trains another model'
runs 'tokeniser of a directory' 'training ends' --run directory --vocab-size 0 --vocab run
runs 'a gone tokeniser' 'is gone' --run given --vocab-size 0 --vocab nowhere.spm --max-updates 4
runs 'a larger tokeniser' '340 tokens in its vocabulary' --run larger --vocab-size 340
fails 'another tokeniser' 2 'is another tokeniser than given/vocab.spm' -c conf.yaml --run given --vocab-size 0 --vocab larger/vocab.spm
fails 'another size' 2 'begun with a vocabulary of 330 pieces' -c conf.yaml --run run --vocab-size 340
refuses 'two tokenisers' 2 'not both' --vocab run/vocab.spm
refuses 'no tokeniser' 2 'give --vocab PATH, --vocab-size N or --init-from MODEL' --vocab-size 0
refuses 'missing tokeniser' 1 'nowhere.spm' --vocab-size 0 --vocab nowhere.spm
refuses 'size too large' 1 'at most' --vocab-size 100000

# Templates.
cat > own.yaml << 'END'
user: "Q {content}\n"
assistant: "A {content}\n"
END
runs 'template file' 'training ends' --run own --format chat --train train.chat --valid valid.chat --chat.template own.yaml
cmp -s own.yaml own/chat.yaml || report 'the template is not kept in the run'
cp own.yaml kept.yaml
printf '%s\n' 'system: "S {content}"' >> own.yaml
fails 'another template' 2 'own.yaml is another template than own/chat.yaml' -c own/config.yaml --max-updates 4
rm own.yaml
runs 'a gone template' 'own.yaml is gone' -c own/config.yaml --max-updates 4
fails 'another name' 2 "--chat.template alpaca: this run was begun with 'own.yaml'" -c own/config.yaml --chat.template alpaca
refuses 'unknown template' 2 "'chatmll' is no chat template" --format chat --train train.chat --valid valid.chat --chat.template chatmll
refuses 'a template of foreign tokens' 2 'im_start' --format chat --train train.chat --valid valid.chat --chat.template chatml

# Models to start from, ours and Hugging Face's, adapters, and back.
small=(--threads 1 --window 32 --batch-tokens 256 --schedule constant)
tune=("${command[@]}" --format chat --train train.chat --valid valid.chat --chat.template alpaca "${small[@]}" --window 64)
"${tune[@]}" --init-from run --run tuned --lora.rank 2 --max-updates 4 --export-hf tuned-hf 2> err || report "adapters: $(tail -n 3 err)"
grep -qF 'dim: 32' tuned/config.yaml || report 'the options of --init-from are not taken'
for file in config.json model.safetensors tokenizer.model; do [[ -s tuned-hf/$file ]] || report "export: no $file"; done
grep -aqF lora tuned-hf/model.safetensors && report 'export: adapters are not merged'
"${command[@]}" --init-from tuned-hf --export-hf again-hf 2> err || report "converting: $(cat err)"
cmp -s tuned-hf/model.safetensors again-hf/model.safetensors || report 'exported, read and exported again, the weights differ'
"${command[@]}" --train train.txt --valid valid.txt "${small[@]}" --init-from tuned-hf --run from-hf --max-updates 1 --learning-rate 0 2> err || report "from Hugging Face: $(tail -n 3 err)"
"$bin/lm-score" --model tuned --threads 1 --perplexity --window 32 --json < valid.txt > score 2> err || report "lm-score of adapters: $(cat err)"
near 'adapters merged' "$(sed -En 's/.*"ppl":([0-9.]+).*/\1/p' score)" "$(last_score from-hf ppl)"
"${command[@]}" --train train.txt --valid valid.txt "${small[@]}" --init-from run --run wider --max-updates 1 --model.dim 64 > out 2> err && report 'a model of another width is taken from'
grep -qF -- '--init-from run does not fit this model' err || report "another width: $(tail -n 2 err)"
mv run moved
"${command[@]}" -c tuned/config.yaml --max-updates 5 > out 2> err || report "what a run began with is missed: $(tail -n 2 err)"
mv moved run
fails 'no such model' 1 'nowhere' --train train.txt --valid valid.txt --run fresh --init-from nowhere --max-updates 1 --schedule constant
mkdir foreign
echo '{"model_type":"gpt2"}' > foreign/config.json
cp tuned-hf/model.safetensors foreign
fails 'foreign architecture' 1 "model_type 'gpt2' is not supported" --train train.txt --valid valid.txt --run fresh --init-from foreign --max-updates 1
fails 'nothing to convert' 2 'needs --init-from' --export-hf x-hf
fails 'export over something' 2 'it exists already' -c conf.yaml --run fresh --export-hf tuned-hf

# Resuming, besides test/e2e/resume.sh.
runs 'further' 'resumed from run/ckpt/step-00000060' --run run --max-updates 61
fails 'other data' 1 'training tokens, now there are' -c conf.yaml --run run --max-updates 62 --train valid.txt
fails 'other model' 2 "--model.dim 64: this run was begun with '32'" -c conf.yaml --run run --model.dim 64
fails 'adapters from now on' 2 "--lora.rank 2: this run was begun with '0'" -c conf.yaml --run run --lora.rank 2
runs 'other window' 'epoch ' --run run --max-updates 62 --window 16
grep -qF 'starts anew' err || report "another window: $(cat err)"

# Bad input: file and line.
broken_texts
: > empty
printf '\n \n\n' > blank
given=(--vocab-size 0 --vocab run/vocab.spm)
for kind in broken:2 nul:1 crlf:1 'empty holds no text' 'blank holds no text'; do
  refuses "$kind" 1 "$kind" "${given[@]}" --train "${kind%%[: ]*}"
done
refuses 'missing file' 1 'cannot open nowhere' "${given[@]}" --train nowhere
refuses 'no JSON' 1 'train.txt:1' "${given[@]}" --format jsonl
refuses 'no such field' 1 'train.jsonl:1: expected an object with the field "body" (--text-field), found one with text, id' "${given[@]}" \
  --format jsonl --train train.jsonl --valid train.jsonl --text-field body
{ head -n 1 train.chat; echo '{"prompt":"x"}'; } > bad.chat
refuses 'no answer' 1 'bad.chat:2' "${given[@]}" --format chat --train bad.chat --valid valid.chat
{ head -n 1 train.chat; echo '{"messages":[{"role":"critic","content":"x"}]}'; } > bad.chat
refuses 'unknown role' 1 'critic' "${given[@]}" --format chat --train bad.chat --valid valid.chat
{ head -n 1 train.chat; echo '{"prompt":"","response":"x"}'; } > bad.chat
refuses 'empty prompt' 1 'bad.chat:2' "${given[@]}" --format chat --train bad.chat --valid valid.chat
echo '{"prompt":"\ud800","response":"x"}' > bad.chat
refuses 'lone surrogate' 1 'bad.chat:1' "${given[@]}" --format chat --train bad.chat --valid valid.chat
refuses 'answers too long' 1 'no conversation of train.chat is left' "${given[@]}" --format chat --train train.chat --valid valid.chat --window 2

# Configuration.
fails 'nothing given' 2 'missing --run, --train, --valid'
refuses 'standard input' 2 'cannot be standard input' "${given[@]}" --train -
refuses 'window too large' 2 '--window 65: the model has 64 positions' --window 65
refuses 'endless' 2 'would never end' --max-updates 0 --schedule constant
refuses 'schedule without an end' 2 '--schedule cosine needs --max-updates or --max-epochs' --max-updates 0 --max-time 1h
runs 'schedule over epochs' 'lr 0,' --run epochs --max-updates 0 --max-epochs 2 --log-every 1
refuses 'no BLEU' 2 "'bleu' is not one of loss" --stop-on bleu
refuses 'wrong model type' 2 "did you mean 'llama'" --model.type lama
gives 'help' 'Usage: lm-train' -h
gives 'defaults of another model' 'dim: 32' --init-from run --dump-config
gives 'list of models' 'llama ' --list-models
gives 'resolved configuration' 'dim: 48' -c conf.yaml --model.dim 48 --dump-config
for option in --help --dump-config; do full "$option" "$option"; done

# A model that no memory holds.
fails 'too large a model' 1 'of memory for weights, gradients and moments' --train train.txt --valid train.txt --vocab-size 300 --run huge --model.dim 65536 --model.heads 64 \
  --model.ffn 200000 --max-updates 200

finish
