#!/usr/bin/env bash
# Pooled rewards and learned metrics, from the real rm-train to the real rm-score: the numbers of validations, whatever computes them; records, correlations, bad input, messages.
# usage: learned_metric_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need rm-train rm-score lm-train int8-quantize
train=("$bin/rm-train") score=("$bin/rm-score" --threads 1)
command=("${train[@]}")

# A toy world: a hypothesis is good where it is its source, or its reference.
toy_language 300 1 3 questions words
paste -d '\n' words questions > text
"$bin/lm-train" --train text --valid text --vocab-size 330 --run lm --threads 1 --window 64 --batch-tokens 512 --max-updates 5 --warmup 1 \
  --model.dim 32 --model.ffn 48 --model.heads 2 --model.layers 1 --model.max-positions 256 2> err || { echo "FAILED: lm-train: $(cat err)"; exit 1; }
paste words questions | awk -F '\t' '{
  source = $1; reference = $2; other = previous == "" ? "ba" : previous; previous = $1
  same = NR % 2; hypothesis = same ? source : other
  printf "{\"id\":\"s%d\",\"source\":\"%s\",\"hypothesis\":\"%s\",\"score\":%s}\n", NR, source, hypothesis, same ? "1.0" : "0.25" > "free.jsonl"
  printf "{\"source\":\"%s\",\"hypothesis\":\"%s\",\"reference\":\"%s\",\"scores\":{\"same\":%d,\"length\":%s}}\n", \
    reference, hypothesis, source, same, NR % 3 ? split(hypothesis, w, " ") : "null" > "based.jsonl"
  printf "{\"prompt\":\"rate\",\"response\":\"%s\",\"score\":%d}\n", hypothesis, split(hypothesis, w, " ") > "graded.jsonl"
}'
for name in free based graded; do head -n 50 "$name.jsonl" > "valid.$name.jsonl"; done

cat > conf.yaml << 'END'
init-from: lm
objective:
  type: regression
threads: 1
batch-tokens: 512
learning-rate: 0.003
warmup: 0
max-updates: 60
max-epochs: 0
log-every: 20
END

graded=(--train graded.jsonl --valid valid.graded.jsonl)
free=(--train free.jsonl --valid valid.free.jsonl)
based=(--train based.jsonl --valid valid.based.jsonl)

# agrees RUN FILE GOLD KEY TOLERANCE [OPTION...]: rm-score says of the records what the last validation of the run was told
agrees() {
  local run=$1 file=$2 gold=$3 key=$4 tolerance=$5
  shift 5
  "${score[@]}" --model "$run/ckpt/last" --input "$file" --name given "$@" > out 2> err || report "rm-score $run $*: $(tail -n 3 err)"
  python3 - "$run" "$gold" "$key" "$tolerance" << 'END' 2> trace || report "$run $*: $(tail -n 1 trace)"
import json, math, sys
run, gold, key, tolerance = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
valid = [e for e in map(json.loads, open(run + "/metrics.jsonl")) if e.get("split") == "valid"][-1]
pick = lambda record, name: record.get(name, record.get("scores", {}).get(name))
rows = [(pick(r, gold), pick(r, key)) for r in map(json.loads, open("out", encoding="utf-8"))]
rows = [(a, b) for a, b in rows if a is not None]
rmse = math.sqrt(sum((a - b) ** 2 for a, b in rows) / len(rows))
assert len(rows) > 10 and abs(rmse - valid["rmse-" + gold]) < tolerance, (rmse, valid)
END
}

# Pooled rewards.
runs 'last' 'training ends' --run last "${graded[@]}" --max-updates 20
runs 'mean' 'training ends' --run mean --pool mean "${graded[@]}"
grep -q '^pool: mean$' mean/config.yaml || report 'mean: its configuration does not say so'
for run in last mean; do
  agrees "$run" valid.graded.jsonl score given 2e-4
  agrees "$run" valid.graded.jsonl score given 2e-4 --no-share-prompts --batch-tokens 50
  agrees "$run" valid.graded.jsonl score given 2e-4 --backend torch
done
# What is read elsewhere is another number.
"${score[@]}" --model mean --input valid.graded.jsonl > pooled 2> err || report "mean: $(tail -n 3 err)"
cp -r mean elsewhere && sed -i 's/^pool: mean$/pool: last/' elsewhere/config.yaml
"${score[@]}" --model elsewhere --input valid.graded.jsonl 2> err | cmp -s pooled - && report 'pool in a configuration means nothing'
runs 'from a pooled model' 'the head is that of mean' --run again --model mean "${graded[@]}" --max-updates 2
grep -q '^pool: mean$' again/config.yaml || report 'a model that begins with pooled rewards does not go on with them'

command=("${train[@]}")
refuses 'export of pooled rewards' 1 'this reward model has pool: mean' --pool mean "${graded[@]}" --export-hf refused-hf

# Metrics.
runs 'reference-free' '300 translations, ' --run free --features reference-free "${free[@]}"
weights_hold free '"estimator.layers.0.weight"' || report 'reference-free: no head in the weights'
weights_hold free '"score.weight"' && report 'reference-free: a head of answers'
runs 'reference-based' 'of 900 texts' --run based --features reference-based --hidden 24 --hidden 8 --aspects same --aspects length "${based[@]}"
weights_hold based '"estimator.layers.2.bias"' || report 'reference-based: its head has not three layers'
agrees free valid.free.jsonl score given 2e-4
agrees free valid.free.jsonl score given 2e-4 --no-share-prompts --batch-tokens 30
agrees free valid.free.jsonl score given 2e-4 --backend torch
for aspect in same length; do
  agrees based valid.based.jsonl "$aspect" "given-$aspect" 2e-4
  agrees based valid.based.jsonl "$aspect" "given-$aspect" 2e-4 --backend torch
done
if grep -q avx512_bf16 /proc/cpuinfo; then agrees free valid.free.jsonl score given 0.05 --precision bf16; fi
"$bin/int8-quantize" --model free/ckpt/last --output free8 > /dev/null 2> err || report "int8-quantize: $(tail -n 3 err)"
command=("${score[@]}")
gives 'metric of 8 bits' '"reward":' --model free8 < valid.free.jsonl

gives 'one metric' '"reward":' --model free < valid.free.jsonl
lines 'one metric' 50
grep -q '"id":"s1",.*"score":1.0,"reward":' out || report "one metric: $(head -n 1 out)"
gives 'ensemble' '"reward":' --model free --model free/ckpt/last < valid.free.jsonl
echo '{"id":"n","source":"ba de","hypotheses":[{"text":"ba de"},{"text":"go"},{"text":""}]}' > best
echo '{"source":"ba de","hypothesis":"ba de"}' > bare
gives 'hypotheses' '"hypotheses":[{"text":"ba de","scores":{"reward":' --model free < best
gives 'best of n' '"id":"n"' --model free --best-of-n < best

# Correlations.
gives 'correlation' 'Pearson' --model free --correlate < valid.free.jsonl
gives 'correlation as JSON' '"correlations":{"score":{"n":50,"pearson":0.' --model free/ckpt/last --correlate --json --records kept < valid.free.jsonl
python3 - << 'END' 2> trace || report "correlation: $(tail -n 1 trace)"
import json, math
def pearson(a, b):
    x, y = ([v - sum(c) / len(c) for v in c] for c in (a, b))
    return sum(p * q for p, q in zip(x, y)) / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y))
def ranks(a):
    return [(sum(w < v for w in a) + sum(w <= v for w in a) + 1) / 2 for v in a]
def kendall(a, b):
    sign = lambda c: [(c[i] > c[j]) - (c[i] < c[j]) for i in range(len(c)) for j in range(i)]
    x, y = sign(a), sign(b)
    return sum(p * q for p, q in zip(x, y)) / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y))
report = json.load(open("out"))["correlations"]["score"]
rows = [json.loads(line) for line in open("kept")]
gold, ours = [r["score"] for r in rows], [r["reward"] for r in rows]
for key, value in (("pearson", pearson(ours, gold)), ("spearman", pearson(ranks(ours), ranks(gold))), ("kendall", kendall(ours, gold))):
    assert abs(report[key] - value) < 1e-6, (key, value, report)
valid = [e for e in map(json.loads, open("free/metrics.jsonl")) if e.get("split") == "valid"][-1]
assert abs(report["pearson"] - valid["pearson-score"]) < 1e-3, (report, valid)
assert report["pearson"] > 0.5, report
END
gives 'correlation of aspects' '"correlations":{"same":{"n":50,' --model based --correlate --json < valid.based.jsonl
grep -q '"length":{"n":34,' out || report "correlation of aspects: $(cat out)"
gives 'correlation of one aspect' '"correlations":{"length":{"n":34,' --model based --correlate --json --aspect length --skip-bad < valid.based.jsonl
gives 'correlation with another score' '"correlations":{"same":{"n":50,' --model based --correlate --json --gold same < valid.based.jsonl
gives 'correlation of rewards' '"correlations":{"score":{"n":50,' --model mean --correlate --json < valid.graded.jsonl

# Bad input.
number=0
while IFS= read -r record; do
  number=$((number + 1))
  printf '%s\n' "$record" > bad
  fails "bad record $number" 1 'bad:1: ' --model based --name given --input bad < /dev/null
done < <(printf '%s\n' '{"source":"x"}' '{"hypothesis":"x","reference":"y"}' '{"source":"x","hypothesis":"y"}' '{"source":1,"hypothesis":"x","reference":"y"}' \
  '{"source":"x","hypothesis":["y"],"reference":"y"}' '{"source":"x","hypothesis":"y","hypotheses":[],"reference":"y"}' '{"source":"x","hypotheses":[],"reference":"y"}')
fails 'scores that are there' 1 'it has "same" already' --model based < valid.based.jsonl
fails 'answers for a metric' 1 'the field "source" is missing' --model free < valid.graded.jsonl
fails 'no gold score' 1 'it has no "scores" and no "score"' --model free --correlate < bare
fails 'other gold scores' 1 'it has scores of score, expected one of quality' --model free --correlate --gold quality < valid.free.jsonl
fails 'several answers' 1 'it has several answers' --model free --correlate < best
fails 'without and with references' 2 'cannot be combined' --model free --model based < best
fails 'template of a metric' 2 'reads texts as they are' --model free --chat chatml < best
fails 'two modes' 2 'exclude one another' --model free --correlate --pairs < best
fails 'served correlation' 2 '--serve has no effect with --correlate' --model free --correlate --serve < best

command=("${train[@]}")
refuses 'no reference' 1 'it has no "reference"' --features reference-based "${free[@]}"
head -n 2 free.jsonl > bad
echo '{"source":"x","hypothesis":"","score":1}' >> bad
refuses 'empty hypothesis' 1 'bad:3: record 3: "hypothesis" is empty' --features reference-free --train bad --valid valid.free.jsonl
runs 'bad records left out' 'left out' --run left --features reference-free --skip-bad --train bad --valid valid.free.jsonl --max-updates 1
refuses 'other aspects' 1 'expected one of quality' --features reference-free --aspects quality "${free[@]}"
refuses 'width of nothing' 2 '--hidden 0' --features reference-free --hidden 0 "${free[@]}"
refuses 'pool of a metric' 2 "unknown option '--pool'" --features reference-free --pool mean "${free[@]}"
refuses 'features of comparisons' 2 "unknown option '--features'" --objective bradley-terry --features reference-free "${free[@]}"
refuses 'export of a metric' 2 '--export-hf: transformers have no shape for a learned metric' --features reference-free --export-hf refused-hf "${free[@]}"
runs 'limited' 'training data: 30 translations' --run limited --features reference-free --train-limit 30 "${free[@]}" --max-updates 1
refuses 'another head' 1 'estimator.layers.0.weight' --model free --features reference-based "${based[@]}"
runs 'goes on' 'the head is that of free' --run more --model free --features reference-free "${free[@]}" --max-updates 2
runs 'frozen' 'training ends' --run frozen --features reference-free --freeze "${free[@]}" --max-updates 3

# A metric goes on as it is.
runs 'goes on by itself' 'the head is that of free' --run more2 --model free "${free[@]}" --max-updates 2
grep -q '^features: reference-free$' more2/config.yaml || report 'a metric does not go on as one'
runs 'goes on with its aspects' 'the head is that of based' --run more3 --model based "${based[@]}" --max-updates 2
runs 'is no metric of comparisons' 'training ends' --run compared --model free --objective bradley-terry --max-updates 2 \
  --train <(printf '{"prompt":"x","chosen":"ba","rejected":"de"}\n') --valid <(printf '{"prompt":"x","chosen":"ba","rejected":"de"}\n')

# Encoders.
runs 'encoder' 'training ends' --run encoder --features reference-free --model.context full "${free[@]}"
agrees encoder valid.free.jsonl score given 2e-4
agrees encoder valid.free.jsonl score given 2e-4 --no-share-prompts --batch-tokens 30
agrees encoder valid.free.jsonl score given 2e-4 --backend torch
cp -r encoder blind && sed -i 's/context: full/context: past/' blind/config.yaml
"${score[@]}" --model encoder --input valid.free.jsonl > pooled 2> err || report "encoder: $(tail -n 3 err)"
"${score[@]}" --model blind --input valid.free.jsonl 2> err | cmp -s pooled - && report 'model.context means nothing'
runs 'encoder of answers' 'training ends' --run encoder2 --pool mean --model.context full "${graded[@]}"
agrees encoder2 valid.graded.jsonl score given 2e-4
agrees encoder2 valid.graded.jsonl score given 2e-4 --no-share-prompts --backend torch
refuses 'last token of an encoder' 2 '--pool mean takes all' --model.context full "${graded[@]}"
refuses 'judge that sees its label' 2 'predicts no tokens' --objective generative --judge.preamble none --model.context full \
  --train <(printf '{"prompt":"x","chosen":"ba","rejected":"de"}\n') --valid <(printf '{"prompt":"x","chosen":"ba","rejected":"de"}\n')
if "$bin/lm-train" --init-from encoder --train text --valid text --run bad-lm --max-updates 2 --warmup 0 2> err; then report 'lm-train trains an encoder'; fi
grep -q 'predicts no tokens' err || report "lm-train of an encoder: $(tail -n 1 err)"

# Killed or stopped, it goes on to the same bits.
runs 'half' 'training ends' --run halves --features reference-free "${free[@]}" --max-updates 10 --schedule constant
runs 'second half' 'resumed from' --run halves --features reference-free "${free[@]}" --max-updates 20 --schedule constant
runs 'whole' 'training ends' --run whole --features reference-free "${free[@]}" --max-updates 20 --schedule constant
same halves whole || report 'a run in two parts ends with other weights'

finish
