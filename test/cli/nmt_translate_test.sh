#!/usr/bin/env bash
# The real nmt-translate: searches, scoring, records, streams, bad models and bad input, messages.
# usage: nmt_translate_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need nmt-train nmt-translate
train=$bin/nmt-train translate=$bin/nmt-translate
command=("$translate" --threads 1)

learnable_toy conf.yaml
"$train" -c conf.yaml --run run 2> err || { echo "FAILED: training: $(cat err)"; exit 1; }
"$train" -c conf.yaml --run second --seed 2 --vocab-size 0 --vocab run/vocab.spm --max-updates 100 --average 2 2> err || report "training: $(cat err)"
"$train" -c conf.yaml --run foreign --vocab-size 360 --max-updates 2 2> err || report "training: $(cat err)"
"$train" -c conf.yaml --run positions --model.positions learned --model.max-positions 24 --max-length 23 --max-updates 2 --warmup 1 2> err ||
  report "training: $(cat err)"
run=(--model run)

# One line in, one line out, in input order; an empty line stays empty.
{ printf '\n'; cat test.a; printf '  \n'; tr '\n' ' ' < test.a | cut -c 1-300; printf 'x\xe2\x82\xac\xf0\x9d\x84\x9e\ty'; } > in
"$translate" "${run[@]}" --threads 1 < in > out 2> err || report "translate: exit $?: $(cat err)"
lines 'translate' 34
[[ -z $(sed -n 1p out) && -z $(sed -n 32p out) && -n $(sed -n 2p out) ]] || report "empty lines: $(head -n 3 out)"
grep -qF '34 lines (2 empty)' err || report "translate: no summary: $(cat err)"
cp out beam
paste -d '|' <(sed -n 2,31p out) test.b | awk -F '|' '$1 == $2 { same++ } END { exit !(same >= 10) }' || report "the model has not learned: $(paste out test.b | head -n 5)"
gives 'files' '' "${run[@]}" --input in --output written < /dev/null
cmp -s written beam || report '--input and --output: other translations'
gzip -c in > in.gz
gives 'gz' '' "${run[@]}" --quiet < in.gz
cmp -s out beam || report 'gz: other translations'
grep -v 'warning: ' err && report '--quiet is not quiet'
gives 'nothing' '' "${run[@]}" < /dev/null
lines 'nothing' 0

# The same output for every size of batch, number of threads and window.
for mode in '--beam 1 --json' '--beam 4 --n-best 3 --length-penalty gnmt' '--sample --n-best 2 --temperature 2' '--score in --json'; do
  # shellcheck disable=SC2086
  "$translate" "${run[@]}" --quiet --threads 1 $mode < in > one 2> err || report "$mode: $(cat err)"
  for other in '--threads 1 --batch-tokens 1' '--threads 3 --batch-tokens 100 --window 5'; do
    # shellcheck disable=SC2086
    "$translate" "${run[@]}" --quiet $mode $other < in > out 2> err || report "$mode $other: $(cat err)"
    cmp -s out one || report "$mode: other output with $other: $(diff one out | head -n 4 | cut -c 1-300)"
  done
done

# What computes: the engine or LibTorch, with the same result.
gives 'engine' '' "${run[@]}" --backend engine --quiet < in
cmp -s out beam || report '--backend engine is not the default'
gives 'torch' '' "${run[@]}" --backend torch --quiet < in
cmp -s out beam || report "--backend torch: other translations: $(diff out beam | head -n 4 | cut -c 1-300)"
for backend in engine torch; do
  for mode in '--beam 4 --n-best 2' '--score in --json' '--average 2'; do
    # shellcheck disable=SC2086
    "$translate" "${run[@]}" --quiet --threads 2 --backend "$backend" $mode < in > "$backend${mode//[^a-z]/}" 2> err || report "$backend $mode: $(cat err)"
  done
done
for mode in beamnbest scoreinjson average; do
  python3 - "engine$mode" "torch$mode" << 'END' || report "$mode: engine and torch differ: $(head -c 300 "engine$mode") and $(head -c 300 "torch$mode")"
import re, sys
number = re.compile(r"-?[0-9]+[.][0-9e-]+")
ours, theirs = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
assert number.sub("#", ours) == number.sub("#", theirs)
for a, b in zip(number.findall(ours), number.findall(theirs)):
    assert abs(float(a) - float(b)) < 1e-3, (a, b)
END
done
fails 'engine on another device' 2 'needs --backend torch' "${run[@]}" --backend engine --device cuda < in
if grep -q avx512_bf16 /proc/cpuinfo; then
  gives 'bf16' '' "${run[@]}" --precision bf16 --quiet < in
  [[ $(diff out beam | grep -c '^<') -le 6 ]] || report "bf16: other translations: $(diff out beam | head -n 4 | cut -c 1-300)"
  fails 'bf16 in LibTorch' 2 "--precision bf16 is the engine's" "${run[@]}" --precision bf16 --backend torch < in
else
  fails 'bf16' 2 'this CPU has no bfloat16 products' "${run[@]}" --precision bf16 < in
fi
fails 'no such backend' 2 'backend' "${run[@]}" --backend marian < in
if ldd "$translate" | grep -q libtorch; then report 'nmt-translate is linked to LibTorch'; fi

# Searches.
gives 'n-best' '{"id":1,"source":"' "${run[@]}" --n-best 3 --beam 4 < in
lines 'n-best' 34
grep -qxF '{"id":0,"source":"","hypotheses":[]}' out || report "n-best of an empty line: $(head -n 1 out)"
python3 - <<'END' || report "n-best: wrong records: $(cut -c 1-400 out | sed -n 2p)"
import json
records = [json.loads(line) for line in open("out", encoding="utf-8")]
best = open("beam", encoding="utf-8").read().split("\n")
for n, record in enumerate(records):
    assert record["id"] == n
    hypotheses = record["hypotheses"]
    assert len(hypotheses) == (3 if record["source"].strip() else 0), n
    scores = [h["scores"]["search"] for h in hypotheses]
    assert scores == sorted(scores, reverse=True), n
    assert len({h["text"] for h in hypotheses}) > 1 or not hypotheses, n
    for h in hypotheses:
        assert h["logprob"] < 0 and h["origin"] == "run" and h["length"] > 0, n
END
gives 'no length penalty' '"scores":{"search":-' "${run[@]}" --json --length-penalty none < test.a
python3 -c 'import json
for line in open("out"):
    h = json.loads(line)["hypotheses"][0]
    assert h["scores"]["search"] == h["logprob"]' || report '--length-penalty none: scores are not log-probabilities'
gives 'GNMT' '' "${run[@]}" --json --length-penalty gnmt --length-penalty-alpha 0.6 < test.a
python3 -c 'import json
for line in open("out"):
    h = json.loads(line)["hypotheses"][0]
    assert abs(h["scores"]["search"] - h["logprob"] / ((6 + h["length"]) / 6) ** 0.6) < 1e-6' || report "GNMT's length penalty"
gives 'max-length' '' "${run[@]}" --json --max-length 3 < test.a
grep -q '"length":[4-9]' out && report '--max-length 3: longer output'
grep -qF 'reached the length limit' err || report '--max-length: no warning'
gives 'min-length' '' "${run[@]}" --json --min-length 12 < test.a
grep -qE '"length":([0-9]|1[01]),' out && report '--min-length 12: shorter output'
gives 'diverse' '' "${run[@]}" --beam 4 --n-best 4 --diverse-groups 4 --diverse-strength 3 < test.a
cp out diverse
gives 'not diverse' '' "${run[@]}" --beam 4 --n-best 4 < test.a
cmp -s out diverse && report '--diverse-groups changes nothing'
gives 'max-source' '' "${run[@]}" --max-source 2 --no-early-stop < test.a
grep -qF 'longer than --max-source and were cut' err || report "--max-source: $(cat err)"

# Sampling: a stream per line, other lines do not matter.
gives 'sample' '' "${run[@]}" --sample --temperature 3 < test.a
cp out sampled
gives 'sample again' '' "${run[@]}" --sample --temperature 3 < <(head -n 7 test.a)
cmp -s out <(head -n 7 sampled) || report 'samples depend on the lines that follow'
gives 'other seed' '' "${run[@]}" --sample --temperature 3 --seed 2 < test.a
cmp -s out sampled && report 'the seed changes no sample'
gives 'greedy' '' "${run[@]}" --beam 1 < test.a
cp out greedy
gives 'top-k' '' "${run[@]}" --sample --top-k 1 < test.a
cmp -s out greedy || report '--top-k 1 is not greedy'
gives 'top-p' '' "${run[@]}" --sample --top-p 0.000001 < test.a
cmp -s out greedy || report 'a tiny --top-p is not greedy'

# Forced prefixes, scores.
cut -d ' ' -f 1 test.b > prefix
gives 'prefix' '' "${run[@]}" --prefix prefix < test.a
awk 'NR == FNR { p[NR] = $1; next } index($0, p[FNR]) != 1 { exit 1 }' prefix out || report "--prefix is not followed: $(paste prefix out | head -n 3)"
gives 'json' '' "${run[@]}" --beam 1 --json < test.a
cp out json
gives 'score' '-' "${run[@]}" --score greedy < test.a
lines 'score' 30
python3 -c 'import json
for line, score in zip(open("json"), open("out")):
    h = json.loads(line)["hypotheses"][0]
    # What was cut off at the length limit has no end symbol, which --score counts.
    assert abs(float(score) - h["logprob"]) < 1e-3 or h["length"] > 12, (line, score)' || report '--score differs from the log-probability of the search'
gives 'positions' '' --model positions --beam 1 < <(tr '\n' ' ' < test.a)
grep -qF 'cut' err || report "a source beyond the learned positions: $(cat err)"
gives 'score of empty lines' '-' "${run[@]}" --score <(printf 'x\n\n') < <(printf '\nx\n')
lines 'score of empty lines' 2

# Ensembles, averages, every kind of model directory.
gives 'ensemble of equals' '' --model run --model run --beam 1 < test.a
cmp -s out greedy || report 'a model twice translates otherwise than once'
gives 'ensemble' '' --model run --model second --json < test.a
cmp -s out json && report 'the second model has no vote'
gives 'average' '' --model second --average 2 --json < test.a
cp out averaged
gives 'average of the training' '' --model second/average --json < test.a
cmp -s <(sed 's/"origin":"[^"]*"//g' out) <(sed 's/"origin":"[^"]*"//g' averaged) || report '--average 2 differs from RUN/average'
mkdir plain
cp run/config.yaml run/vocab.spm run/ckpt/last/model.safetensors plain
gives 'model directory and checkpoint' '' --model plain --model run/ckpt/last --beam 1 < test.a
lines 'model directory and checkpoint' 30
fails 'vocabularies differ' 1 'run and foreign have different vocabularies' --model run --model foreign < test.a
fails 'average of no run' 1 'second/ckpt/last' --model second/ckpt/last --average 2 < test.a
fails 'average of too few' 1 'second holds 3 checkpoints, 9 are to be averaged' --model second --average 9 < test.a
fails 'no model' 1 'cannot open the model nowhere' --model nowhere < test.a
fails 'not a model' 1 'is no model' --model . < test.a

# --stream answers before the input ends. The limits of read only keep a failure from waiting for ever.
mkfifo to from
"$translate" "${run[@]}" --stream --threads 1 --quiet < to > from 2> err &
child=$!
exec 8> to 9< from
for n in 1 2; do
  sed -n "${n}p" test.a >&8
  if read -r -t 100 answer <&9; then
    [[ $answer == "$(sed -n "$((n + 1))p" beam)" ]] || report "--stream: '$answer'"
  else
    report "--stream: no answer to line $n before the end of the input"
  fi
done
exec 8>&- 9<&-
wait "$child" || report "--stream: exit $?: $(cat err)"
child=""

# Bad input: file and line or byte.
broken_texts
head -c 60 in.gz > cut.gz
fails 'invalid UTF-8' 1 'standard input:2: byte 1' "${run[@]}" < broken
fails 'NUL' 1 'standard input:1: byte 3' "${run[@]}" < nul
fails 'CR' 1 'crlf:1' "${run[@]}" --input crlf < /dev/null
fails '1 MB line' 1 'mega:2: the line has 1000000 bytes' "${run[@]}" --input mega < /dev/null
fails 'truncated gz' 1 'standard input: byte 60' "${run[@]}" < cut.gz
head -n 29 test.b > short
cat test.b prefix > long
fails 'too few targets' 1 'short ends after line 29' "${run[@]}" --score short < test.a
fails 'too many targets' 1 'long' "${run[@]}" --score long < test.a
fails 'too few prefixes' 1 'short ends after line 29' "${run[@]}" --prefix short < test.a
fails 'too many prefixes' 1 'long' "${run[@]}" --prefix long < test.a
rm -f written
fails 'bad input, file output' 1 'broken:2' "${run[@]}" --input broken --output written < /dev/null
[[ -e written ]] && report 'a failed translation leaves an output file'
fails 'output directory' 1 'is a directory' "${run[@]}" --output plain < test.a

# Bad models.
good=run/ckpt/last/model.safetensors bad=plain/model.safetensors
head -c 50000 "$good" > $bad
fails 'truncated weights' 1 "$bad: tensor " --model plain < test.a
cp "$good" $bad
printf '\377\377\377\377\377\377\377\177' | dd of=$bad conv=notrunc 2> /dev/null
fails 'huge header' 1 "$bad: the first 8 bytes give a header of 9223372036854775807 bytes" --model plain < test.a
weights_file $bad '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}' 12
fails 'overlapping tensors' 1 "$bad: tensor \"b\": its data begin at byte 4 and overlap" --model plain < test.a
weights_file $bad '{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}' 8
fails 'unknown dtype' 1 "$bad: tensor \"a\": dtype is 'F31'" --model plain < test.a
weights_file $bad '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8
fails 'other tensors' 1 'unexpected: a' --model plain < test.a
LC_ALL=C sed '1,/F32/s/"dtype":"F32"/"dtype":"I32"/' "$good" > $bad
fails 'weights that are integers' 1 "$bad" --model plain < test.a
cp "$good" $bad
head -c 1000 run/vocab.spm > plain/vocab.spm
fails 'truncated vocabulary' 1 'plain/vocab.spm: damaged vocabulary' --model plain < test.a
rm plain/vocab.spm
fails 'no vocabulary' 1 'cannot open plain/vocab.spm' --model plain < test.a
cp run/vocab.spm plain
sed 's/^  dim: 32/  dim: 64/' run/config.yaml > plain/config.yaml
fails 'other configuration' 1 'shape [350, 32] where [350, 64] is needed' --model plain < test.a
sed 's/^  dim: 32/  dimm: 32/' run/config.yaml > plain/config.yaml
fails 'unknown option of the model' 1 "have no option 'model.dimm'" --model plain < test.a
sed 's/type: transformer/type: transformr/' run/config.yaml > plain/config.yaml
"$translate" --model plain < test.a > out 2> err && report 'unknown model type: exit 0'
grep -q "config.yaml:[0-9]*: model.type: 'transformr' is not one of .*did you mean 'transformer'?" err || report "unknown model type: $(cat err)"
printf 'beam: 3\n' > plain/config.yaml
fails 'no configuration of a model' 1 'model.type' --model plain < test.a

# Configuration: exit 2, file and line.
printf 'beam: 1\nbeam: 2\n' > duplicate.yaml
printf 'beam: 1\nbeem: 2\n' > unknown.yaml
printf 'model: []\n' > none.yaml
fails 'duplicate key' 2 'duplicate.yaml:2' "${run[@]}" -c duplicate.yaml < test.a
fails 'unknown key' 2 "unknown.yaml:2: unknown key 'beem'; did you mean 'beam'?" "${run[@]}" -c unknown.yaml < test.a
fails 'an empty list of models' 2 'model' -c none.yaml < test.a
fails 'unknown flag' 2 "unknown option '--beem'; did you mean '--beam'?" "${run[@]}" --beem 3 < test.a
fails 'nothing given' 2 'missing --model' < test.a
fails 'n-best above the beam' 2 '--n-best 6 is more than --beam 5' "${run[@]}" --n-best 6 < test.a
fails 'top-k without sampling' 2 '--top-k has no effect without --sample' "${run[@]}" --top-k 3 < test.a
fails 'top-p of nothing' 2 '--top-p' "${run[@]}" --sample --top-p 0 < test.a
fails 'standard input twice' 2 'standard input' "${run[@]}" --prefix - < test.a
fails 'score and sample' 2 '--sample' "${run[@]}" --score test.b --sample < test.a
fails 'score and prefix' 2 '--prefix' "${run[@]}" --score test.b --prefix prefix < test.a

# What every tool has, besides test/cli/options_test.sh.
gives 'help' 'Usage: nmt-translate' -h < /dev/null
gives 'version' 'kernels: ' --version < /dev/null
gives 'resolved configuration' 'beam: 3' --model 'a b' --model b --beam 3 --dump-config < /dev/null
cp out dumped.yaml
gives 'resolved configuration' '"a b"' -c dumped.yaml --dump-config < /dev/null
cmp -s out dumped.yaml || report "--dump-config does not read back: $(diff out dumped.yaml)"
full 'translations' --model run --beam 1 < test.a
full '--help' --help < test.a
for _ in 1 2 3 4 5 6 7 8 9 10; do cat train.a; done > many
"$translate" "${run[@]}" --threads 1 --beam 1 --window 40 --quiet < many 2> err | head -n 1 > out
[[ $(cat out) == "$(head -n 1 greedy)" && ! -s err ]] || report "closed pipe: $(cat out err)"

finish
