#!/usr/bin/env bash
# From nothing to a translated and scored test set: see usage().
set -euo pipefail
export LC_ALL=C.UTF-8

usage() {
  cat <<'END'
Usage: scripts/quickstart.sh [--dir DIR] [--from STAGE] [--clean] [--max-time T] [--threads N] [--seed N]

On a Debian 12 machine: installs what is missing, builds seqmill, takes German-English text from Debian's own translation
catalogues (package libreoffice-l10n-de), trains a small Transformer on it, translates the held-out test set and prints
BLEU, chrF and a few translations. About a quarter of an hour on two cores. A second run reuses what is there.

Stages: setup build data train translate score

  --dir DIR     folder of data, model and results (default: quickstart/ in the repository)
  --from STAGE  do this stage and all after it again
  --clean       remove the folder's data, model and results first
  --max-time T  limit of the training (default: 6m)
  --threads N   threads of training and translation (default: all cores)
  --seed N      seed of the training (default: 1)
  -h, --help    this text
END
}

stages=(setup build data train translate score)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$root/quickstart
from=""
clean=false
max_time=6m
threads=$(nproc)
seed=1

die() { echo "quickstart.sh: $*" >&2; exit "${code:-1}"; }
while (($#)); do
  case $1 in
    --dir | --from | --max-time | --threads | --seed)
      (($# >= 2)) || code=2 die "$1 needs a value"
      case $1 in
        --dir) dir=$2 ;;
        --from) from=$2 ;;
        --max-time) max_time=$2 ;;
        --threads) threads=$2 ;;
        --seed) seed=$2 ;;
      esac
      shift 2
      ;;
    --clean) clean=true; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; code=2 die "unknown option '$1'" ;;
  esac
done
[[ -z $from || " ${stages[*]} " == *" $from "* ]] || code=2 die "unknown stage '$from'; stages: ${stages[*]}"

# Only a folder that this script made, or an empty one, is written to: it removes data/ and run/ in it.
mark=.seqmill-quickstart
if [[ -d $dir && ! -e $dir/$mark && -n $(ls -A "$dir") ]]; then
  code=2 die "$dir is not empty and was not made by this script; give another --dir"
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
: >"$dir/$mark"
if $clean; then rm -rf "$dir"/{data,run,done,test.out.en,scores.json}; fi
mkdir -p "$dir/done"
# A model that was trained with other options is another model.
options="--max-time $max_time --seed $seed --threads $threads"
if [[ -e $dir/done/train && $(<"$dir/done/train") != "$options" ]]; then
  echo "quickstart.sh: the model was trained with $(<"$dir/done/train"): training again" >&2
  rm -rf "$dir/run" "$dir"/done/{train,translate,score}
fi
started=$SECONDS
bin=$root/build/bin
data=$dir/data

if [[ -n $from ]]; then
  again=false
  for stage in "${stages[@]}"; do
    [[ $stage == "$from" ]] && again=true
    if $again; then rm -f "$dir/done/$stage"; fi
  done
  case $from in setup | build | data | train) rm -rf "$dir/run" ;; esac
fi

setup() { "$root/scripts/setup.sh" --quickstart; }

build() {
  cd "$root"
  cmake --preset release
  cmake --build --preset release --target nmt-train nmt-translate seq-eval
}

data() {
  local catalogues count=0 mo
  catalogues=$(dpkg -L libreoffice-l10n-de | grep '\.mo$') || die "the package libreoffice-l10n-de holds no catalogue"
  rm -rf "$data" "$dir/run"
  mkdir -p "$data/po"
  while read -r mo; do
    msgunfmt --no-wrap -o "$data/po/$(basename "$mo" .mo).po" "$mo"
    count=$((count + 1))
  done <<<"$catalogues"
  echo "$count catalogues" >&2
  python3 "$root/scripts/po_to_parallel.py" --out "$data" "$data"/po/*.po
}

train() {
  "$bin/nmt-train" --run "$dir/run" \
    --train-src "$data/train.de" --train-tgt "$data/train.en" \
    --valid-src "$data/valid.de" --valid-tgt "$data/valid.en" \
    --vocab-size 4000 --model.dim 256 --model.ffn 1024 --model.heads 4 --model.encoder-layers 3 --model.decoder-layers 3 \
    --model.tie all --model.dropout 0.3 --batch-tokens 2048 --learning-rate 0.001 --warmup 400 --save-every 0 \
    --max-time "$max_time" --seed "$seed" --threads "$threads"
}

translate() {
  "$bin/nmt-translate" --model "$dir/run" --beam 5 --threads "$threads" <"$data/test.de" >"$dir/test.out.en"
}

score() {
  "$bin/seq-eval" --metric bleu,chrf --ref "$data/test.en" --json <"$dir/test.out.en" >"$dir/scores.json"
}

current=""
trap 'status=$?; if ((status)) && [[ -n $current ]]; then echo "quickstart.sh: stage $current failed" >&2; fi' EXIT
ran=false
for stage in "${stages[@]}"; do
  case $stage in
    setup | build) ;;  # they see for themselves that nothing is to be done
    *)
      if ! $ran && [[ -e $dir/done/$stage ]]; then
        echo "== $stage: done before" >&2
        continue
      fi
      ran=true
      ;;
  esac
  echo "== $stage" >&2
  current=$stage
  rm -f "$dir/done/$stage"
  begin=$SECONDS
  $stage
  echo "$options" >"$dir/done/$stage"
  echo "== $stage: $((SECONDS - begin)) s" >&2
done
current=""

echo
echo "Some translations of the test set (source, translation, reference):"
paste "$data/test.de" "$dir/test.out.en" "$data/test.en" |
  awk -F'\t' 'split($1, words, " ") >= 5 && n < 5 && NR % 20 == 0 { printf "\n  %s\n  -> %s\n  == %s\n", $1, $2, $3; n++ }'
echo
echo "Test set of $(wc -l <"$data/test.de") pairs, training text of $(wc -l <"$data/train.de") pairs:"
"$bin/seq-eval" --metric bleu,chrf --ref "$data/test.en" <"$dir/test.out.en"
echo
printf '%d seconds in all. Your own text: %q --model %q < german.txt\n' $((SECONDS - started)) "$bin/nmt-translate" "$dir/run"
