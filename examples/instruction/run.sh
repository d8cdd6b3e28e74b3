#!/usr/bin/env bash
# Instructions: a small language model is trained on text, tuned on instructions and asked. See usage() and README.md.
last_stage=4

usage() {
  cat <<'END'
Usage: [DATA=DIR] run.sh [--seed N] [--stage N] [--smoke] [--run DIR] [--threads N]

Trains a language model on WikiText-2 and the Brown corpus, tunes it on 12,000 instructions (Alpaca and Dolly), and lets it answer some that it has not seen.

  DATA         folder that holds lm-wikitext2/, lm-brown/, inst-alpaca9k/ and inst-dolly3k/ (default: ../shared/data); relative to where you are, else to the repository
  --seed N     seed of both trainings (default: 1)
  --stage N    begin with this stage (default: 0)
                 0 prepare the data   1 train on text   2 tune on instructions   3 score   4 answer
END
  recipe_help
}

# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../recipe.sh"
recipe_options "$@"
no_arguments
recipe_data inst-alpaca9k
name=seed$seed
if $smoke; then name=smoke; fi
recipe_tools lm-train lm-score lm-generate
recipe_run "$name"
mkdir -p "$run/data"

pretrain=(-c "$here/conf/pretrain.yaml") tune=(-c "$here/conf/tune.yaml")
if $smoke; then
  pretrain+=(-c "$here/conf/smoke-pretrain.yaml")
  tune+=(-c "$here/conf/smoke-tune.yaml")
fi

if ((stage <= 0)); then
  begin_stage 0 "prepare the data of $data"
  lines=1000000
  if $smoke; then lines=300; fi
  for set in lm-wikitext2 lm-brown; do
    for part in train valid; do
      file=$data/$set/$part.txt.gz
      [[ -e $file ]] || die "$file: no such file"
      # Tags of documents are no text.
      gzip -dc "$file" | { grep -v '^</\?doc' || true; } | sed -n "1,${lines}p" >"$run/data/$set.$part.txt"
    done
  done
  # The last 250 of each set are for validation, the 10 before them are asked at the end.
  rm -f "$run/data/"{train,valid,ask}.jsonl
  for file in inst-alpaca9k/alpaca_random_9k inst-dolly3k/dolly_3k; do
    [[ -e $data/$file.jsonl.gz ]] || die "$data/$file.jsonl.gz: no such file"
    # Without the few that have no answer.
    gzip -dc "$data/$file.jsonl.gz" | python3 -c 'import json, sys
for line in sys.stdin:
    if json.loads(line)["output"].strip(): sys.stdout.write(line)' >"$run/data/all.jsonl"
    head -n -260 "$run/data/all.jsonl" | sed -n "1,${lines}p" >>"$run/data/train.jsonl"
    tail -n 250 "$run/data/all.jsonl" >>"$run/data/valid.jsonl"
    tail -n 260 "$run/data/all.jsonl" | sed -n 1,10p >>"$run/data/ask.jsonl"
  done
  rm "$run/data/all.jsonl"
fi

if ((stage <= 1)); then
  begin_stage 1 "train on text in $run/text"
  "$bin/lm-train" "${pretrain[@]}" --run "$run/text" --train "$run/data/lm-wikitext2.train.txt" --train "$run/data/lm-brown.train.txt" \
    --valid "$run/data/lm-wikitext2.valid.txt" --valid "$run/data/lm-brown.valid.txt" --seed "$seed" --threads "$threads"
fi

if ((stage <= 2)); then
  begin_stage 2 "tune on instructions in $run/tuned"
  "$bin/lm-train" "${tune[@]}" --init-from "$run/text" --run "$run/tuned" --train "$run/data/train.jsonl" --valid "$run/data/valid.jsonl" \
    --seed "$seed" --threads "$threads"
fi

if ((stage <= 3)); then
  begin_stage 3 "score the answers of the validation set before and after"
  python3 -c 'import json, sys
for line in sys.stdin:
    record = json.loads(line)
    prompt = record["instruction"] + ("\n\n" + record["input"] if record.get("input") else "")
    print(json.dumps({"prompt": prompt, "response": record["output"]}))' <"$run/data/valid.jsonl" >"$run/data/answers.jsonl"
  for model in text tuned; do
    "$bin/lm-score" --model "$run/$model" --chat alpaca --truncate left --skip-bad --threads "$threads" <"$run/data/answers.jsonl" >"$run/$model.scores.jsonl"
    python3 -c 'import json, math, sys
scores = [json.loads(line)["scores"] for line in open(sys.argv[1])]
nll, tokens = -sum(s["logprob"] for s in scores), sum(s["tokens"] for s in scores)
print(f"{sys.argv[2]}: {len(scores)} answers of {tokens} tokens, perplexity {math.exp(nll / tokens):.2f} a token")' "$run/$model.scores.jsonl" "$model"
  done
fi

if ((stage <= 4)); then
  begin_stage 4 "answer"
  python3 -c 'import json, sys
for line in sys.stdin:
    record = json.loads(line)
    print(json.dumps({"prompt": record["instruction"] + ("\n\n" + record["input"] if record.get("input") else "")}))' <"$run/data/ask.jsonl" |
    "$bin/lm-generate" --model "$run/tuned" --temperature 0.7 --top-p 0.9 --max-new-tokens 80 --truncate left --seed "$seed" --threads "$threads" >"$run/answers.jsonl"
  python3 -c 'import json, sys
for line in sys.stdin:
    record = json.loads(line)
    print("> " + record["prompt"].replace("\n", "\n> "))
    print(record["hypotheses"][0]["text"].strip() + "\n")' <"$run/answers.jsonl"
fi
