#!/usr/bin/env bash
# WikiText-2: trains a language model from nothing and measures its perplexity. See usage() and README.md.
last_stage=3

usage() {
  cat <<'END'
Usage: [DATA=DIR] run.sh [--seed N] [--stage N] [--smoke] [--run DIR] [--threads N] [-- LM-TRAIN-OPTION...]

Trains a decoder-only Transformer on WikiText-2 (conf/llama.yaml), and prints the perplexity of the test text by token, word and byte.

  DATA         folder that holds lm-wikitext2/ (default: ../shared/data); relative to where you are, else to the repository
  --seed N     seed of the training (default: 1)
  --stage N    begin with this stage (default: 0)
                 0 check the data   1 train   2 measure   3 let it write
  --           what follows goes to lm-train and overrides the configuration
END
  recipe_help
}

# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../recipe.sh"
recipe_options "$@"
no_arguments
recipe_data lm-wikitext2
data=$data/lm-wikitext2
name=seed$seed
if $smoke; then name=smoke; fi
recipe_tools lm-train lm-score lm-generate
recipe_run "$name"

configs=(-c "$here/conf/llama.yaml")
train=$data/train.txt.gz valid=$data/valid.txt.gz test=$data/test.txt.gz
if ((stage <= 0)); then
  begin_stage 0 "check the data in $data"
  [[ -d $data ]] || die "no folder $data; set DATA to the folder that holds lm-wikitext2/"
  for part in train:36718 valid:3760 test:4358; do whole_file "$data/${part%:*}.txt.gz" "${part#*:}"; done
fi

if $smoke; then
  configs+=(-c "$here/conf/smoke.yaml")
  mkdir -p "$run/data"
  # `sed -n 1,Np` and not `head`, which would leave gzip a broken pipe.
  gzip -dc "$train" | sed -n 1,400p >"$run/data/train.txt"
  gzip -dc "$valid" | sed -n 1,60p >"$run/data/valid.txt"
  gzip -dc "$test" | sed -n 1,60p >"$run/data/test.txt"
  train=$run/data/train.txt valid=$run/data/valid.txt test=$run/data/test.txt
fi

if ((stage <= 1)); then
  begin_stage 1 "train in $run"
  "$bin/lm-train" "${configs[@]}" --run "$run" --train "$train" --valid "$valid" --seed "$seed" --threads "$threads" ${extra[@]+"${extra[@]}"}
fi

if ((stage <= 2)); then
  begin_stage 2 "measure the perplexity"
  [[ -e $run/config.yaml ]] || die "no trained model in $run: begin with --stage 1"
  measure() { "$bin/lm-score" --model "$run" --perplexity --input "$1" --threads "$threads" "${@:2}"; }
  measure "$valid" --json >"$run/valid.json"
  measure "$test" --json >"$run/test.json"
  # Every token with at least three quarters of a window before it.
  stride=64
  if $smoke; then stride=16; fi
  measure "$test" --json --stride "$stride" >"$run/test.sliding.json"
  python3 - "$run" "$seed" "$threads" "$smoke" "$("$bin/lm-train" --version | head -n 1)" ${extra[@]+"${extra[@]}"} <<'END'
import datetime, json, os, sys

run, seed, threads, smoke, version, *extra = sys.argv[1:]


def read(name):
    with open(os.path.join(run, name)) as file:
        return json.load(file)


state = read("ckpt/last/state.json")
record = {
    "date": datetime.datetime.now().isoformat(timespec="seconds"), "smoke": smoke == "true", "seed": int(seed), "options": extra,
    "updates": state.get("update"), "train-seconds": state.get("seconds"), "threads": int(threads), "version": version,
    "valid": read("valid.json"), "test": read("test.json"), "test-sliding": read("test.sliding.json"),
}
with open(os.path.join(run, "results.jsonl"), "a") as file:
    file.write(json.dumps(record) + "\n")
print(f"seed {seed}: {record['updates']} updates, {(record['train-seconds'] or 0) / 60:.1f} minutes of training, {threads} threads")
for name in "valid", "test", "test-sliding":
    scores = record[name]
    print(f"{name}: perplexity {scores['word-ppl']:.2f} a word, {scores['ppl']:.2f} a token, {scores['bits-per-byte']:.4f} bits a byte")
END
  echo "one line of results was added to $run/results.jsonl" >&2
fi

if ((stage <= 3)); then
  begin_stage 3 "let it write"
  printf '%s\n' " = Robert Boulter = " " The game was released in" " In 1998 , the" |
    "$bin/lm-generate" --model "$run" --format text --temperature 0.8 --top-p 0.9 --max-new-tokens 60 --seed "$seed" --threads "$threads" \
      >"$run/samples.jsonl"
  python3 -c 'import json, sys
for line in sys.stdin:
    record = json.loads(line)
    print(record["prompt"] + record["hypotheses"][0]["text"])' <"$run/samples.jsonl"
fi
