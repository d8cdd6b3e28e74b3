#!/usr/bin/env bash
# The real nmt-train: what a run leaves behind, vocabularies, options of model and training, resuming, bad input, messages.
# usage: nmt_train_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need nmt-train nmt-translate
translate=$bin/nmt-translate
command=("$bin/nmt-train")

state_holds() { grep -qE -- "$2" "$1/ckpt/last/state.json"; }
checkpoints() { find "$1/ckpt" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | tr '\n' ' '; }
translates() {
  "$translate" --model "$1" --threads 1 --quiet --beam 1 < valid.a > out 2> err || return 1
  [[ $(wc -l < out) == 20 ]]
}

toy_language 300 2 7 train.a train.b
for side in a b; do
  head -n 20 "train.$side" > "valid.$side"
  gzip -c "train.$side" > "train.$side.gz"
done
paste train.a train.b > train.tsv
paste valid.a valid.b > valid.tsv

tiny_configuration conf.yaml << 'END'
  dropout: 0.1
batch-tokens: 150
learning-rate: 0.003
warmup: 10
max-updates: 3
END

# What a run leaves behind.
runs 'first run' '300 of 300 pairs' --run run --max-updates 40 --save-every 10 --validate-every 20 --keep-last 3 --average 2 --log-every 10
grep -qF 'training ends: --max-updates is reached; 40 updates, 0 skipped' err || report "first run: no reason of the end: $(tail -n 2 err)"
for file in config.yaml command.txt log metrics.jsonl vocab.spm ckpt/last/model.safetensors ckpt/last/optim.safetensors \
  ckpt/last/state.json ckpt/best/model.safetensors average/model.safetensors average/config.yaml average/vocab.spm; do
  [[ -s run/$file ]] || report "first run: no $file"
done
[[ $(checkpoints run) == 'step-00000020 step-00000030 step-00000040 ' ]] || report "first run: --keep-last 3 left $(checkpoints run)"
[[ $(readlink run/ckpt/last) == step-00000040 ]] || report "first run: ckpt/last is $(readlink run/ckpt/last)"
grep -q 'exit code 0$' run/command.txt || report "first run: command.txt: $(cat run/command.txt)"
grep -qF 'vocab-size: 350' run/config.yaml || report 'first run: config.yaml lacks an option that was given'
cmp -s run/log err || report 'first run: log is not what went to standard error'
[[ $(grep -cE '^\{"step":[0-9]+,"wall":[0-9.e+-]+,"epoch":[0-9.]+,"split":"(train|valid|average)",.*\}$' run/metrics.jsonl) == 7 ]] ||
  report "first run: metrics.jsonl: $(cut -c 1-80 run/metrics.jsonl)"
sed -En 's/.*"split":"valid","loss":([0-9.]+).*/\1/p' run/metrics.jsonl | awk 'NR == 1 { first = $1 } END { exit !($1 < first) }' ||
  report 'first run: the validation loss did not fall'
translates run || report "a run cannot be translated with: $(cat err)"
translates run/average || report "the average cannot be translated with: $(cat err)"
OMP_NUM_THREADS=1 runs 'OMP_NUM_THREADS' ', 1 threads,' --run omp --threads 0 --max-updates 1
grep -qx 'threads: 1' omp/config.yaml || report "OMP_NUM_THREADS=1: the run has $(grep threads omp/config.yaml)"

# Parts of a batch: the same again with as many threads, nearly the same with another number.
last_loss() { sed -En 's/.*"split":"valid","loss":([0-9.]+).*/\1/p' "$1/metrics.jsonl" | tail -n 1; }
for threads in 1 2 3; do
  runs "parts, $threads threads" "6 parts a batch, $threads workers, $threads threads" --run "parts-$threads" --part-tokens 25 --threads "$threads" \
    --max-updates 30 --precision fp32 --log-level debug
done
runs 'parts again' ', 3 threads,' --run parts-again --part-tokens 25 --threads 3 --max-updates 30 --precision fp32
same parts-3 parts-again || report '--part-tokens: not the same again on as many threads'
runs 'whole batches' '1 parts a batch, 1 workers, 3 threads' --log-level debug --run parts-none --threads 3 --max-updates 30 --precision fp32
for threads in 2 3; do
  awk -v a="$(last_loss parts-1)" -v b="$(last_loss "parts-$threads")" 'BEGIN { exit !(a > 0 && a - b < 1e-4 && b - a < 1e-4) }' ||
    report "--part-tokens: 1 and $threads threads end with losses $(last_loss parts-1) and $(last_loss "parts-$threads")"
done
[[ $(last_loss parts-1) != "$(last_loss parts-none)" ]] || report '--part-tokens changes no dropout'
refuses 'parts of nothing' 2 'part-tokens' --part-tokens 0

# The same from its own config.yaml, from .gz, from the vocabulary it made, from TSV.
"${command[@]}" -c run/config.yaml --run repeated --quiet 2> err || report "from config.yaml: $(cat err)"
same run repeated || report 'a run from config.yaml is not the same run'
[[ -s err ]] && report "--quiet is not quiet: $(cat err)"
runs 'gz' '300 of 300 pairs' --run gz --train-src train.a.gz --train-tgt train.b.gz --max-updates 40
cmp -s gz/vocab.spm run/vocab.spm || report 'the vocabulary of .gz text differs'
same run gz || report 'training on .gz text differs'
given=(--vocab-size 0 --vocab run/vocab.spm)
runs 'given vocabulary' 'training data' --run given "${given[@]}" --max-updates 40
same run given || report 'training with a given vocabulary differs'
runs 'tsv' '300 of 300 pairs' --run tsv "${given[@]}" --train-src train.tsv --train-tgt '' --valid-src valid.tsv --valid-tgt '' --max-updates 40
same run tsv || report 'training on TSV differs'
runs 'separate unigram vocabularies' 'unigram vocabulary' --run separate --vocab-separate --vocab-type unigram --vocab-size 120 --no-vocab-byte-fallback
[[ -s separate/vocab.src.spm && -s separate/vocab.tgt.spm && ! -e separate/vocab.spm ]] || report "separate vocabularies: $(ls separate)"
runs 'two given vocabularies' 'training data' --run two --vocab-size 0 --vocab-src separate/vocab.src.spm --vocab-tgt separate/vocab.tgt.spm
cmp -s two/vocab.tgt.spm separate/vocab.tgt.spm || report 'a given vocabulary does not travel with the model'

# Pairs that are left out are counted.
{ printf '\n\n  \nbaba\n'; head -n 60 train.a; tr '\n' ' ' < train.a; echo; printf 'baba\n'; } > odd.a
{ printf 'x\n\nx\n\n'; head -n 60 train.b; printf 'baba\n'; head -n 6 train.b | tr '\n' ' '; echo; } > odd.b
runs 'left out' '60 of 66 pairs' --run odd "${given[@]}" --train-src odd.a --train-tgt odd.b --max-length 100 --max-length-ratio 8
grep -qF 'left out: 4 empty, 1 too long, 1 by length ratio' err || report "left out: $(grep 'training data' err)"

# Starting from another model.
runs 'init-from' 'tensors taken' --run init "${given[@]}" --init-from run --learning-rate 0 --max-updates 1
cmp -s init/ckpt/last/model.safetensors run/ckpt/best/model.safetensors || report '--init-from does not start from the weights given'
grep -qF 'taken: decoder.0.ffn.up.weight' err || report "--init-from lists nothing: $(cat err)"
runs 'init-from in part' 'taken: decoder.embedding.weight' --run part "${given[@]}" --init-from run/ckpt/last --model.ffn 48 --model.encoder-layers 2
grep -qF 'not taken: decoder.0.ffn.up.weight: shape [64, 32] where [48, 32] is needed' err || report '--init-from: misfits are not listed'
grep -qF 'not taken: encoder.1.ffn.norm.weight: not in the file' err || report '--init-from: missing tensors are not listed'
runs 'init-from an average' 'not taken: encoder.embedding.weight: the model has no such tensor' --run part2 "${given[@]}" --init-from run/average --model.tie all
runs 'as wide as a vocabulary is large' 'training ends' --run part4 "${given[@]}" --model.ffn 300 --max-updates 1
runs 'init-from another vocabulary' 'taken: encoder.0.ffn.up.weight' --run part3 --vocab-size 300 --model.ffn 300 --init-from part4
grep -qF 'not taken: decoder.embedding.weight: its rows belong to another vocabulary' err || report "--init-from takes rows of another vocabulary: $(cat err)"
refuses 'init-from: nothing fits' 1 'no tensor fits' --init-from run --model.dim 16 --model.ffn 48 --vocab-size 300
refuses 'init-from: no model' 1 'cannot open the model nowhere' --init-from nowhere

# Options of training.
runs 'accumulate' 'training ends' --run accumulate --accumulate 2 --max-updates 3 --schedule constant --warmup 0
state_holds accumulate '"batch": 6' || report "--accumulate 2: $(cat accumulate/ckpt/last/state.json)"
runs 'ema' 'training ends' --run ema --ema 0.9 --max-updates 5
grep -aqF 'output.bias.raw' ema/ckpt/last/optim.safetensors || report '--ema keeps no trained weights beside the averaged ones'
runs 'no ema' 'training ends' --run plain --max-updates 5
same ema plain && report '--ema changes nothing'
runs 'other seed' 'training ends' --run seed --max-updates 5 --seed 2
same seed plain && report '--seed changes nothing'
runs 'early stopping on loss' '2 validations without gain' --run stopped --learning-rate 0 --max-updates 0 --early-stopping 2 --validate-every 2 --keep-last 1 --keep-best 1
[[ $(checkpoints stopped) == 'step-00000002 step-00000006 ' ]] || report "the best and the last checkpoint stay: $(checkpoints stopped)"
[[ $(readlink stopped/ckpt/best) == step-00000002 ]] || report "ckpt/best is $(readlink stopped/ckpt/best)"
runs 'early stopping on BLEU' '1 validations without gain' --run bleu --learning-rate 0 --max-updates 0 --early-stopping 1 --stop-on bleu --valid-beam 2 --validate-every 2
grep -qE '"split":"valid".*"bleu":[0-9]' bleu/metrics.jsonl || report "no BLEU in: $(cat bleu/metrics.jsonl)"
runs 'epochs' '--max-epochs is reached' --run epochs --max-updates 0 --max-epochs 1
state_holds epochs '"epoch": 1' || report "--max-epochs 1: $(cat epochs/ckpt/last/state.json)"
runs 'time' '--max-time is reached' --run time --max-updates 0 --max-time 0.05s
grep -qF 'valid' epochs/metrics.jsonl || report 'no validation at the end of an epoch'

# Options of the model, schedule and optimiser.
runs 'post-norm and others' 'training ends' --run post --model.norm post --model.positions learned --model.max-positions 300 --model.tie none \
  --model.activation gelu --model.attention-dropout 0.1 --model.activation-dropout 0.1 --optimizer adamw --weight-decay 0.01 --schedule cosine --warmup 1
weights_hold post 'encoder.positions.weight' || report 'learned positions have no table'
weights_hold post 'output.weight' || report 'untied output has no weight'
weights_hold post 'encoder.norm.weight' && report 'post-norm has a final norm'
translates post || report "post-norm and others: $(cat err)"
runs 'rotary and others' 'training ends' --run rotary --model.positions rotary --model.tie all --schedule linear --warmup 1 --clip 0 --label-smoothing 0
weights_hold rotary 'encoder.embedding' && report '--model.tie all has two embeddings'
translates rotary || report "rotary and others: $(cat err)"

# Resuming, besides test/e2e/resume.sh.
runs 'nothing left to do' 'resumed from run/ckpt/step-00000040' --run run --max-updates 40
runs 'further' 'training ends: --max-updates is reached; 45 updates' --run run --max-updates 45
grep -qF "changed since the last session of this run: max-updates from '40' to '45'" err || report 'a changed option is not named'
refuses 'resume must' 1 'fresh holds no checkpoint' --resume must
fails 'resume never' 1 'run already holds checkpoints' -c conf.yaml --run run --resume never
cp run/config.yaml kept.yaml
fails 'other data' 1 'state.json: the checkpoint was made with 300 training pairs, now there are 20' -c conf.yaml --run run --train-src valid.a --train-tgt valid.b
fails 'other model' 2 "--model.dim 64: this run was begun with '32'" -c conf.yaml --run run --model.dim 64
translates run || report "a session that could not resume leaves the run unusable: $(cat err)"
fails 'other vocabulary' 2 '--vocab-size 300: this run was begun with' -c conf.yaml --run run --vocab-size 300
fails 'vocabulary of another type' 2 "--vocab-type unigram: this run was begun with 'bpe'" -c conf.yaml --run run --vocab-type unigram
fails 'separate vocabularies' 2 '--vocab-separate' -c conf.yaml --run run --vocab-separate
fails 'a moving average from now on' 2 '--ema 0.9' -c conf.yaml --run run --ema 0.9
cmp -s run/config.yaml kept.yaml || report "a session that was refused changed config.yaml: $(diff run/config.yaml kept.yaml)"
cp run/vocab.spm lent.spm
runs 'a lent vocabulary' 'training ends' --run lent --vocab-size 0 --vocab lent.spm
rm lent.spm
mkdir lent/cache/mine
runs 'a lent vocabulary that is gone' 'lent.spm is gone' --run lent --vocab-size 0 --vocab lent.spm --max-updates 4
[[ -d lent/cache/mine ]] || report "a folder of the user's was removed from cache/"
fails 'with a moving average, then without' 2 '--ema' -c conf.yaml --run ema --ema 0
refuses 'first attempt fails' 2 'not divisible' --model.heads 3
"${command[@]}" -c conf.yaml --run fresh --vocab-size 300 > out 2> err && { weights_hold fresh '"shape":[300,32]' ||
  report 'the vocabulary of a failed first attempt is used although another --vocab-size is asked for'; }

# Divergence: exit 3, and what was saved before stays and works.
for save in 0 3; do
  rm -rf diverged
  cp -r plain diverged
  fails "diverged after a checkpoint, --save-every $save" 3 'the last good checkpoint is step-00000005' -c conf.yaml --run diverged --learning-rate 1e30 --max-updates 100 --save-every "$save" --keep-last 1
  grep -q 'exit code 3$' diverged/command.txt || report 'diverged: command.txt does not tell the exit code'
  translates diverged/ckpt/last || report "diverged, --save-every $save: the last checkpoint holds weights that are not finite: $(cat err)"
done

# Bad input: file and line or byte.
broken_texts
: > empty
printf '\n\n' > blank
head -c 500 train.a.gz > cut.gz
printf 'a\tb\na\tb\tc\n' > three.tsv
cat train.a valid.a > long.a
for kind in broken:2 nul:1 crlf:1 'mega:2: the line has 1000000 bytes' empty 'cut.gz: byte 500'; do
  file=${kind%%:*}
  refuses "$file" 1 "$kind" "${given[@]}" --train-src "$file" --train-tgt "$file"
done
refuses 'invalid UTF-8, no vocabulary yet' 1 'broken:2: byte 1' --train-src broken --train-tgt broken
refuses 'truncated gz, no vocabulary yet' 1 'cut.gz: byte 500' --train-src cut.gz --train-tgt cut.gz
refuses 'misaligned' 1 'train.b ends after line 300, long.a goes on' "${given[@]}" --train-src long.a
refuses 'misaligned validation' 1 'train.b' --valid-tgt train.b
refuses 'empty validation' 1 'empty' "${given[@]}" --valid-src empty --valid-tgt empty
refuses 'blank' 1 '2 empty' "${given[@]}" --train-src blank --train-tgt blank
refuses 'no TSV' 1 'three.tsv:2: found 3 fields' "${given[@]}" --train-src three.tsv --train-tgt ''
refuses 'missing file' 1 'cannot open nowhere' "${given[@]}" --train-src nowhere
refuses 'all too long' 1 'no pair of train.a is left' "${given[@]}" --max-length 1
refuses 'positions too few' 2 'max-positions' --model.positions learned --model.max-positions 5
refuses 'vocabulary too large' 1 'at most' --vocab-size 100000
refuses 'vocabulary too small' 1 'at least' --vocab-size 10
refuses 'standard input' 2 'cannot be standard input' "${given[@]}" --train-tgt -
head -c 1000 run/vocab.spm > cut.spm
refuses 'truncated vocabulary' 1 'cut.spm: damaged vocabulary' --vocab-size 0 --vocab cut.spm
: > file
fails 'run is a file' 1 'file' -c conf.yaml --run file

# Checkpoints that cannot be gone on from.
spoilt() { rm -rf spoilt; cp -r plain spoilt; }
resume=(-c conf.yaml --run spoilt --max-updates 9)
spoilt; head -c 30000 plain/ckpt/last/optim.safetensors > spoilt/ckpt/last/optim.safetensors
fails 'truncated optim.safetensors' 1 'optim.safetensors' "${resume[@]}"
spoilt; printf '\377\377\377\377\377\377\377\177' | dd of=spoilt/ckpt/last/model.safetensors conv=notrunc 2> /dev/null
fails 'huge header' 1 'give a header of 9223372036854775807 bytes' "${resume[@]}"
spoilt; weights_file spoilt/ckpt/last/model.safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}' 12
fails 'overlapping tensors' 1 'overlap' "${resume[@]}"
spoilt; echo '{' > spoilt/ckpt/last/state.json
fails 'broken state.json' 1 'state.json: not valid JSON' "${resume[@]}"
spoilt; sed -i 's/"format": 1/"format": 99/' spoilt/ckpt/last/state.json
fails 'state.json of another format' 1 'format version 99' "${resume[@]}"

# Configuration: exit 2, file and line.
printf 'seed: 1\nseed: 2\n' > duplicate.yaml
printf 'seed: 1\nmodel:\n  dimm: 3\n' > unknown.yaml
printf 'model:\n  type: transformr\n' > model.yaml
fails 'duplicate key' 2 'duplicate.yaml:2' -c duplicate.yaml
fails 'unknown key' 2 "unknown.yaml:3: unknown key 'model.dimm'; did you mean 'model.dim'?" -c unknown.yaml
fails 'wrong model type in a file' 2 "did you mean 'transformer'" -c model.yaml
fails 'wrong model type' 2 "'transformr' is not one of integer-transformer, transformer; did you mean 'transformer'?" -c conf.yaml --model.type transformr
fails 'unknown flag' 2 "did you mean '--max-updates'?" --max-update 3
fails 'nothing given' 2 'missing --run, --train-src, --valid-src'
refuses 'no vocabulary asked for' 2 '--vocab-size' --vocab-size 0
refuses 'half a vocabulary' 2 'go together' --vocab-size 0 --vocab-src run/vocab.spm
refuses 'tie with separate vocabularies' 2 'model.tie all' --vocab-separate --vocab-size 300 --model.tie all
refuses 'endless' 2 'would never end' --max-updates 0
refuses 'no time' 2 "'5x' is not a time" --max-time 5x
refuses 'schedule without an end' 2 '--max-updates' --schedule cosine --max-updates 0 --max-time 1h
refuses 'average of too few' 2 '--keep-last' --average 9

# What every tool has, besides test/cli/options_test.sh.
gives 'help' 'Usage: nmt-train' -h
grep -qF -- '--model.dim N' out || report 'help: no options of the model'
gives 'version' 'LibTorch' --version
gives 'list of models' 'transformer ' --list-models
gives 'resolved configuration' 'dim: 48' -c conf.yaml --model.dim 48 --dump-config
cp out dumped.yaml
gives 'resolved configuration' 'dim: 48' -c dumped.yaml --dump-config
cmp -s out dumped.yaml || report "--dump-config does not read back: $(diff out dumped.yaml)"
for option in --help --dump-config; do
  full "$option" "$option"
done

finish
