#!/usr/bin/env bash
# Multi30k: trains, translates test_2016_flickr, scores. See usage() and README.md.
last_stage=3

usage() {
  cat <<'END'
Usage: [DATA=DIR] run.sh SOURCE TARGET [--seed N] [--stage N] [--smoke] [--run DIR] [--threads N] [-- NMT-TRAIN-OPTION...]

Trains a Transformer on Multi30k, translates test_2016_flickr and scores it. SOURCE and TARGET are two of en, de, fr, cs. The
configuration is conf/transformer.yaml, with conf/SOURCE-TARGET.yaml laid over it where there is one.

  DATA         folder that holds mt-multi30k/ (default: ../shared/data); relative to where you are, else to the repository
  --seed N     seed of the training (default: 1)
  --stage N    begin with this stage (default: 0)
                 0 check the data   1 train   2 translate   3 score
  --smoke      a few hundred lines and a tiny model: shows within a minute that everything works
  --run DIR    where the results go (default: runs/SOURCE-TARGET-seedN beside this script)
  --threads N  threads (default: all cores)
  --           what follows goes to nmt-train and overrides the configuration

The tools are taken from build/bin of this repository, or from the folder in SEQMILL_BIN.
An interrupted training goes on from its last checkpoint when the same command is given again.
END
}

# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../recipe.sh"
recipe_options "$@"
((${#arguments[@]} == 2)) || { usage >&2; code=2 die "expected a source and a target language, found ${#arguments[@]}"; }
source=${arguments[0]} target=${arguments[1]} pair=${arguments[0]}-${arguments[1]}
[[ $source != "$target" ]] || code=2 die "source and target are both $source"
configs=(-c "$here/conf/transformer.yaml")
if [[ -e $here/conf/$pair.yaml ]]; then configs+=(-c "$here/conf/$pair.yaml"); fi
recipe_data mt-multi30k
data=$data/mt-multi30k
name=$pair-seed$seed
if $smoke; then name=$pair-smoke; fi
recipe_tools nmt-train nmt-translate seq-eval
recipe_run "$name"

train_lines=29000 valid_lines=1014 test_lines=1000
train=$data/train valid=$data/val test=$data/test_2016_flickr
if ((stage <= 0)); then
  begin_stage 0 "check the data in $data"
  [[ -d $data ]] || die "no folder $data; set DATA to the folder that holds mt-multi30k/"
  for part in train:$train_lines val:$valid_lines test_2016_flickr:$test_lines; do
    for language in "$source" "$target"; do whole_file "$data/${part%:*}.$language.gz" "${part#*:}"; done
  done
fi

if $smoke; then
  configs+=(-c "$here/conf/smoke.yaml")
  mkdir -p "$run/data"
  for language in "$source" "$target"; do
    # `sed -n 1,Np` and not `head`, which would leave gzip a broken pipe.
    gzip -dc "$train.$language.gz" | sed -n 1,400p >"$run/data/train.$language"
    gzip -dc "$valid.$language.gz" | sed -n 1,50p >"$run/data/val.$language"
    gzip -dc "$test.$language.gz" | sed -n 1,50p >"$run/data/test.$language"
    gzip -nf "$run/data/"{train,val,test}".$language"
  done
  train=$run/data/train valid=$run/data/val test=$run/data/test
fi

if ((stage <= 1)); then
  begin_stage 1 "train in $run"
  "$bin/nmt-train" "${configs[@]}" --run "$run" \
    --train-src "$train.$source.gz" --train-tgt "$train.$target.gz" \
    --valid-src "$valid.$source.gz" --valid-tgt "$valid.$target.gz" \
    --seed "$seed" --threads "$threads" ${extra[@]+"${extra[@]}"}
fi

# The mean of the last checkpoints when the configuration asks for one, else the best checkpoint.
model=$run
if [[ -e $run/average/model.safetensors ]]; then model=$run/average; fi

if ((stage <= 2)); then
  begin_stage 2 "translate the test set with $model"
  [[ -e $run/config.yaml ]] || die "no trained model in $run: begin with --stage 1"
  before=$(date +%s.%N)
  gzip -dc "$test.$source.gz" | "$bin/nmt-translate" --model "$model" --beam 5 --length-penalty-alpha 1.8 --threads "$threads" >"$run/test.$target"
  awk -v a="$before" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f\n", b - a }' >"$run/translate.seconds"
fi

if ((stage <= 3)); then
  begin_stage 3 "score"
  [[ -e $run/test.$target ]] || die "no translation in $run: begin with --stage 2"
  score=("$bin/seq-eval" --metric "bleu,chrf,ter" --ref "$test.$target.gz")
  "${score[@]}" --json <"$run/test.$target" >"$run/scores.json"
  python3 - "$run" "$pair" "$seed" "$threads" "$smoke" "$model" "$("$bin/nmt-train" --version | head -n 1)" \
    "${configs[*]//"$here/"/}" ${extra[@]+"${extra[@]}"} <<'END'
import datetime, json, os, re, sys

run, pair, seed, threads, smoke, model, version, conf, *extra = sys.argv[1:]
with open(os.path.join(run, "scores.json")) as file:
    scores = json.load(file)
with open(os.path.join(run, "ckpt/last/state.json")) as file:
    state = json.load(file)
with open(os.path.join(run, "translate.seconds")) as file:
    translate_seconds = float(file.read())
processor = "unknown"
if os.path.exists("/proc/cpuinfo"):
    with open("/proc/cpuinfo") as file:
        found = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
        processor = found.group(1) if found else processor
record = {
    "date": datetime.datetime.now().isoformat(timespec="seconds"), "pair": pair, "test": "test_2016_flickr",
    "smoke": smoke == "true", "seed": int(seed), "config": conf, "options": extra, "model": os.path.relpath(model, run),
    "updates": state.get("update"), "train-seconds": state.get("seconds"), "translate-seconds": translate_seconds,
    "threads": int(threads), "processor": processor, "version": version,
    "scores": {name: {"score": value["score"], "signature": value["signature"]} for name, value in scores.items()},
}
with open(os.path.join(run, "results.jsonl"), "a") as file:
    file.write(json.dumps(record) + "\n")
minutes = (state.get("seconds") or 0) / 60
print(f"{pair}, test_2016_flickr, seed {seed}: {state.get('update')} updates, {minutes:.1f} minutes of training,"
      f" {translate_seconds:.1f} s of translation, {threads} threads")
END
  "${score[@]}" <"$run/test.$target"
  echo "one line of results was added to $run/results.jsonl" >&2
fi
