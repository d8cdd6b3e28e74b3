#!/usr/bin/env bash
# Preferences: from pairs of answers to a tuned model, a reward model, aligned models and a best-of-n curve. See usage() and README.md.
last_stage=6

usage() {
  cat <<'END'
Usage: [DATA=DIR] [BASE=MODEL] run.sh [--seed N] [--stage N] [--smoke] [--run DIR] [--threads N]

From raw pairs (HH, helpful) to a model that was tuned on preferred answers, a reward model, models aligned by DPO, SimPO and ORPO, their answers scored by a
reward model that none of them has seen, and what the best of 1 .. 32 answers is worth.

  DATA         folder that holds pref-hh-helpful/, pref-ultrafeedback/, pref-webgpt/ and lm-wikitext2/ (default: ../shared/data); relative to where you are, else to the repository
  BASE         a language model to begin with, such as a run of examples/wikitext2 (default: one is trained, half an hour)
  --seed N     seed of all trainings but the base (default: 1)
  --stage N    begin with this stage (default: 0)
                 0 split the data   1 base model   2 tune   3 reward models   4 align   5 answer and score   6 best of n
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
recipe_tools lm-train lm-generate rm-train rm-score pref-train
recipe_run "$name"
mkdir -p "$run/data"
recipe_base

common=(--seed "$seed" --threads "$threads") small=() samples=32 tokens=64
if $smoke; then small=(-c "$here/conf/smoke.yaml") samples=4 tokens=8; fi
losses=(dpo simpo orpo)

if ((stage <= 0)); then
  begin_stage 0 "split the data of $data"
  python3 - "$data" "$run/data" "$smoke" <<'END'
import gzip, json, os, sys

data, out, smoke = sys.argv[1], sys.argv[2], sys.argv[3] == "true"


def read(name):
    with gzip.open(os.path.join(data, name), "rt") as lines:
        return [json.loads(line) for line in lines]


def write(name, records):
    with open(os.path.join(out, name), "w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    print(f"{name}: {len(records)}", file=sys.stderr)


# An answer goes on its prompt behind a space, in every file: so the tuned model learns it and so it will write.
spaced = lambda record, *keys: {**record, **{key: " " + record[key].strip() for key in keys}}
turn = lambda record: {**record, "prompt": f"Human: {record['prompt']}\n\nAssistant:"}
pairs = [spaced(record, "chosen", "rejected") for record in read("pref-hh-helpful/pairs.jsonl.gz")]
others = [spaced(turn(record), "chosen", "rejected") for record in read("pref-ultrafeedback/train.jsonl.gz")]
others += [spaced(turn(record), "response_a", "response_b") for record in read("pref-webgpt/comparisons.jsonl.gz")]
if smoke:
    pairs, others = pairs[:120], others[:40]
part = lambda *rests: [pair for i, pair in enumerate(pairs) if i % 6 in rests]
half = len(part(0)) // 2
write("train.jsonl", part(2, 3, 4))
write("valid.jsonl", part(0)[:half])
write("test.jsonl", part(0)[half:])
# What the reward model that judges at the end has seen, nobody else has.
write("judge.jsonl", part(1, 5) + others)
write("sft.train.jsonl", [{"prompt": p["prompt"], "response": p["chosen"]} for p in part(2, 3, 4)])
write("sft.valid.jsonl", [{"prompt": p["prompt"], "response": p["chosen"]} for p in part(0)[:half]])
write("prompts.jsonl", [{"id": p["id"], "prompt": p["prompt"]} for p in part(0)[half:]])
END
fi

if ((stage <= 1)); then train_base; fi

if ((stage <= 2)); then
  begin_stage 2 "tune on preferred answers in $run/sft"
  "$bin/lm-train" -c "$here/conf/sft.yaml" ${small[@]+"${small[@]}"} --init-from "$base" --run "$run/sft" --train "$run/data/sft.train.jsonl" --valid "$run/data/sft.valid.jsonl" "${common[@]}"
fi

if ((stage <= 3)); then
  begin_stage 3 "reward models in $run/reward and $run/judge"
  for model in reward:train judge:judge; do
    "$bin/rm-train" -c "$here/conf/reward.yaml" ${small[@]+"${small[@]}"} --model "$run/sft" --run "$run/${model%:*}" --train "$run/data/${model#*:}.jsonl" --valid "$run/data/valid.jsonl" --skip-bad "${common[@]}"
    echo "${model%:*}, on pairs of the test set:"
    "$bin/rm-score" --model "$run/${model%:*}" --pairs --window 384 --threads "$threads" <"$run/data/test.jsonl" | tee "$run/${model%:*}.txt"
  done
fi

if ((stage <= 4)); then
  begin_stage 4 "align"
  for loss in "${losses[@]}"; do
    "$bin/pref-train" -c "$here/conf/preference.yaml" ${small[@]+"${small[@]}"} --model "$run/sft" --loss "$loss" --run "$run/$loss" --train "$run/data/train.jsonl" --valid "$run/data/valid.jsonl" "${common[@]}"
  done
fi

if ((stage <= 5)); then
  begin_stage 5 "answer and score"
  for model in sft "${losses[@]}"; do
    "$bin/lm-generate" --model "$run/$model" --samples 4 --temperature 0.7 --max-new-tokens "$tokens" --truncate left "${common[@]}" <"$run/data/prompts.jsonl" |
      "$bin/rm-score" --model "$run/judge" --name judge --window 384 --threads "$threads" |
      "$bin/rm-score" --model "$run/reward" --name reward --window 384 --threads "$threads" >"$run/answers.$model.jsonl"
  done
  python3 - "$run" sft "${losses[@]}" <<'END'
import json, random, sys

run, *models = sys.argv[1:]


def means(model, score):
    with open(f"{run}/answers.{model}.jsonl") as lines:
        records = [json.loads(line) for line in lines]
    lengths = [h["length"] for r in records for h in r["hypotheses"]]
    return [sum(h["scores"][score] for h in r["hypotheses"]) / len(r["hypotheses"]) for r in records], sum(lengths) / len(lengths)


def interval(values):
    draw = random.Random(1)
    sums = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(2000))
    return sums[50], sums[1949]


base = means("sft", "judge")[0]
print("| model | judge, mean | less that of sft, 95 % | prompts on which it is better | reward, mean | tokens of an answer |\n|---|---|---|---|---|---|")
for model in models:
    scores, length = means(model, "judge")
    gains = [a - b for a, b in zip(scores, base)]
    low, high = interval(gains)
    better = sum(gain > 0 for gain in gains) / len(gains)
    print(f"| {model} | {sum(scores) / len(scores):.3f} | " + ("| " if model == "sft" else f"{sum(gains) / len(gains):+.3f} ({low:+.3f} .. {high:+.3f}) | {100 * better:.0f} % ") +
          f"| {sum(means(model, 'reward')[0]) / len(scores):.3f} | {length:.1f} |")
END
fi

if ((stage <= 6)); then
  begin_stage 6 "best of n"
  "$bin/lm-generate" --model "$run/sft" --samples "$samples" --temperature 1 --top-p 0.95 --max-new-tokens "$tokens" --truncate left "${common[@]}" <"$run/data/prompts.jsonl" |
    "$bin/rm-score" --model "$run/judge" --name judge --window 384 --threads "$threads" >"$run/samples.jsonl"
  ns=1,2,4
  if ! $smoke; then ns=1,2,4,8,16,32; fi
  "$bin/rm-score" --model "$run/reward" --best-of "$ns" --gold judge --window 384 --threads "$threads" <"$run/samples.jsonl" | tee "$run/best-of-n.txt"
  "$bin/rm-score" --model "$run/reward" --best-of-n --window 384 --threads "$threads" <"$run/samples.jsonl" >"$run/best.jsonl"
  python3 -c 'import json, sys
for line in list(sys.stdin)[:3]:
    record = json.loads(line)
    print("> " + record["prompt"][-300:].replace("\n", "\n> ") + "\n" + record["hypotheses"][0]["text"].strip() + "\n")' <"$run/best.jsonl"
fi
