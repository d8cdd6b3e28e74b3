#!/usr/bin/env bash
# GRAM: a generative reward model beside discriminative ones, within and outside of what they were trained on. See usage() and README.md.
last_stage=5

usage() {
  cat <<'END'
Usage: [DATA=DIR] [BASE=MODEL] run.sh [--seed N] [--stage N] [--smoke] [--run DIR] [--threads N] [-- PART...]

Trains reward models on pairs of HH (helpful), UltraFeedback and WebGPT: discriminative, generative, generative with smoothing, and GRAM, which first learns from pairs without verdicts.
Tells how often they agree with people on what they know (HH helpful) and on what they do not (HH harmless, RM-Bench, JudgeBench, Auto-J), with wrong labels, after more or less of
stage 1, and after a few labels of another task.

  DATA         folder that holds pref-*/ and lm-wikitext2/ (default: ../shared/data); relative to where you are, else to the repository
  BASE         a language model to begin with, such as a run of examples/wikitext2 (default: one is trained, half an hour)
  --seed N     seed of all trainings but the base (default: 1)
  --stage N    begin with this stage (default: 0)
                 0 split the data   1 base model   2 the four arms   3 wrong labels   4 size of stage 1   5 a few labels of another task
  --           stages to do, and no others: `-- 2` or `-- 2 5`
END
  recipe_help
}

# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../recipe.sh"
recipe_options "$@"
no_arguments
recipe_data pref-hh-helpful
name=seed$seed
if $smoke; then name=smoke; fi
recipe_tools lm-train rm-train rm-score
recipe_run "$name"
mkdir -p "$run/data"
recipe_base
common=(--seed "$seed" --threads "$threads") small=()
if $smoke; then small=(-c "$here/conf/smoke.yaml"); fi

wanted() {  # wanted STAGE
  if ((${#extra[@]} > 0)); then [[ " ${extra[*]} " == *" $1 "* ]]; else ((stage <= $1)); fi
}

# reward NAME FROM CONF DATA OPTION...: trains $run/NAME on data/DATA.jsonl
reward() {
  local name=$1 from=$2 conf=$3 train=$4
  shift 4
  "$bin/rm-train" -c "$here/conf/$conf.yaml" ${small[@]+"${small[@]}"} --model "$from" --run "$run/$name" --train "$run/data/$train.jsonl" --valid "$run/data/valid.jsonl" --skip-bad "${common[@]}" "$@"
}

# measure NAME TEST: adds what rm-score says of $run/NAME on data/TEST.jsonl to results.jsonl
measure() {
  local options=()
  if [[ $2 == auto-j ]]; then options=(--labels "0,1,2"); fi
  "$bin/rm-score" --model "$run/$1" --pairs --json --skip-bad --window 320 --threads "$threads" ${options[@]+"${options[@]}"} <"$run/data/$2.jsonl" |
    python3 -c 'import json, sys
record = {"model": sys.argv[1], "test": sys.argv[2], "seed": int(sys.argv[3]), **json.load(sys.stdin)}
print(json.dumps(record))
keys = [key for key in ("accuracy", "ci95", "n", "ece", "order-consistency") if record.get(key) is not None]
print(sys.argv[1], sys.argv[2], *(f"{key} {record[key]}" for key in keys), file=sys.stderr)' "$1" "$2" "$seed" >>"$run/results.jsonl"
}

tests=(helpful harmless rm-bench judgebench auto-j)

if wanted 0; then
  begin_stage 0 "split the data of $data"
  python3 - "$data" "$run/data" "$smoke" <<'END'
import gzip, json, os, sys

data, out, smoke = sys.argv[1], sys.argv[2], sys.argv[3] == "true"


def read(name, limit=None):
    with gzip.open(os.path.join(data, name), "rt") as lines:
        records = [json.loads(line) for line in lines]
    return records[:60] if smoke else records[:limit]


def write(name, records):
    with open(os.path.join(out, name), "w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    print(f"{name}: {len(records)}", file=sys.stderr)


helpful, harmless = read("pref-hh-helpful/pairs.jsonl.gz"), read("pref-hh-harmless/pairs.jsonl.gz")
others = read("pref-ultrafeedback/train.jsonl.gz") + read("pref-webgpt/comparisons.jsonl.gz")
mod = lambda records, *rests: [record for i, record in enumerate(records) if i % 6 in rests]
# A third of the training data keeps its verdicts from stage 2: it is what stage 1 alone has seen.
write("train.jsonl", mod(helpful, 2, 3, 4) + mod(others, 0, 1, 2, 3))
write("unlabelled.jsonl", mod(helpful, 5) + mod(others, 4, 5) + mod(helpful, 2, 3, 4) + mod(others, 0, 1, 2, 3))
write("valid.jsonl", mod(helpful, 1))
write("helpful.jsonl", mod(helpful, 0))
write("harmless.jsonl", mod(harmless, 0, 1))
write("harmless.train.jsonl", mod(harmless, 2, 3, 4, 5))
write("rm-bench.jsonl", read("pref-rmbench/chat.jsonl.gz", 40) + read("pref-rmbench/safety-response.jsonl.gz", 40))
write("judgebench.jsonl", read("pref-judgebench/gpt-4o-2024-05-13.jsonl.gz"))
write("auto-j.jsonl", read("pref-autoj/testdata_pairwise.jsonl.gz", 400))
END
fi

if wanted 1; then train_base; fi
[[ -e $base ]] || die "no model $base; begin with stage 1, or set BASE"

if wanted 2; then
  begin_stage 2 "the four arms"
  reward discriminative "$base" discriminative train
  reward generative "$base" generative train
  reward smoothed "$base" generative train --objective.eps 0.1
  reward stage1 "$base" stage1 unlabelled
  reward gram "$run/stage1" generative train --objective.eps 0.1
  for model in discriminative generative smoothed gram; do
    for test in "${tests[@]}"; do measure "$model" "$test"; done
  done
fi

if wanted 3; then
  begin_stage 3 "wrong labels"
  for noise in 0.1 0.3; do
    reward "discriminative.noise$noise" "$base" discriminative train --label-noise "$noise"
    reward "generative.noise$noise" "$base" generative train --label-noise "$noise"
    reward "smoothed.noise$noise" "$base" generative train --objective.eps 0.1 --label-noise "$noise"
    reward "gram.noise$noise" "$run/stage1" generative train --objective.eps 0.1 --label-noise "$noise"
    for model in discriminative generative smoothed gram; do measure "$model.noise$noise" helpful; done
  done
fi

if wanted 4; then
  begin_stage 4 "size of stage 1"
  for size in 300 1000; do
    reward "stage1.$size" "$base" stage1 unlabelled --train-limit "$size"
    reward "gram.$size" "$run/stage1.$size" generative train --objective.eps 0.1
    for test in helpful harmless; do measure "gram.$size" "$test"; done
  done
fi

if wanted 5; then
  begin_stage 5 "a few labels of another task"
  for labels in 50 200 1000; do
    for model in discriminative gram; do
      conf=$model options=()
      if [[ $model == gram ]]; then conf=generative options=(--objective.eps 0.1); fi
      reward "$model.adapted$labels" "$run/$model" "$conf" harmless.train -c "$here/conf/adapt.yaml" ${options[@]+"${options[@]}"} --train-limit "$labels"
      measure "$model.adapted$labels" harmless
    done
  done
fi

python3 - "$run/results.jsonl" <<'END'
import json, sys

latest = {}
with open(sys.argv[1]) as lines:
    for line in lines:
        record = json.loads(line)
        latest[record["model"], record["test"]] = record
tests = sorted({test for _, test in latest})
print("| model | " + " | ".join(tests) + " | ECE (helpful) | consistency (helpful) |\n|---|" + "---|" * (len(tests) + 2))
number = lambda record, key: f"{record[key]:.3f}" if record and record.get(key) is not None else ""
for model in dict.fromkeys(model for model, _ in latest):
    cells = []
    for test in tests:
        record = latest.get((model, test))
        cells.append(f"{100 * record['accuracy']:.1f} ({100 * record['ci95'][0]:.1f} .. {100 * record['ci95'][1]:.1f})" if record else "")
    helpful = latest.get((model, "helpful"))
    print(f"| {model} | " + " | ".join(cells) + f" | {number(helpful, 'ece')} | {number(helpful, 'order-consistency')} |")
END
