#!/usr/bin/env bash
# 8-bit integers on Multi30k: what modes, bits, granularity and single modules cost. See usage() and README.md.
usage() {
  cat <<'END'
Usage: [DATA=DIR] run.sh RUN [--out DIR] [--threads N]

Takes a German-English run of examples/multi30k (RUN, or RUN/average where there is one), quantises it in several ways, translates test_2016_flickr with
each, beam 5, and prints a table of BLEU, bytes and seconds. A run of model.type integer-transformer is quantised in mode scale-propagation, too. Models and
translations are left in --out.

  DATA         folder that holds mt-multi30k/ (default: ../shared/data); relative to where you are, else to the repository
  --out DIR    default: RUN/int8
  --threads N  default: all cores

The tools are taken from build/bin of this repository, or from the folder in SEQMILL_BIN.
END
}

# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/../recipe.sh"

run="" out="" threads=$(nproc)
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --out | --threads)
      (($# >= 2)) || code=2 die "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    -*) usage >&2; code=2 die "unknown option '$1'" ;;
    *) [[ -z $run ]] || code=2 die "one RUN, please"; run=$1; shift ;;
  esac
done
[[ -n $run ]] || { usage >&2; code=2 die 'expected a run'; }
recipe_tools int8-quantize nmt-translate seq-eval
recipe_data mt-multi30k
test=$data/mt-multi30k/test_2016_flickr
[[ -e $test.de.gz && -e $test.en.gz ]] || die "no $test.{de,en}.gz; set DATA to the folder that holds mt-multi30k/"
model=$run
if [[ -e $run/average/model.safetensors ]]; then model=$run/average; fi
out=${out:-$run/int8}
mkdir -p "$out"

# score NAME MODEL OPTION...: translates and adds a row
score() {
  local name=$1 model=$2 begin seconds bytes weights
  shift 2
  weights=$model/model.safetensors
  [[ -e $weights ]] || weights=$model/ckpt/best/model.safetensors
  bytes=$(stat -Lc %s "$weights")
  begin=$(date +%s.%N)
  gzip -dc "$test.de.gz" | "$bin/nmt-translate" --model "$model" --beam 5 --length-penalty-alpha 1.8 --threads "$threads" --quiet "$@" > "$out/$name.en"
  seconds=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
  bleu=$("$bin/seq-eval" --metric bleu --ref "$test.en.gz" --json < "$out/$name.en" | python3 -c 'import json, sys; print("%.2f" % json.load(sys.stdin)["bleu"]["score"])')
  printf '| %s | %s | %d | %s |\n' "$name" "$bleu" "$bytes" "$seconds"
}

# quantised NAME OPTION...: quantises and scores
quantised() {
  local name=$1
  shift
  rm -rf "${out:?}/$name"
  "$bin/int8-quantize" --model "$model" --output "$out/$name" --json "$@" > "$out/$name.jsonl"
  score "$name" "$out/$name"
}

type=$(sed -En 's/^  type: ?(.*)$/\1/p' "$run/config.yaml" | head -n 1)

echo '| model | BLEU | bytes of weights | seconds |'
echo '|---|---|---|---|'
score float32-torch "$model" --backend torch
score float32 "$model"
if grep -q avx512_bf16 /proc/cpuinfo; then score bfloat16 "$model" --precision bf16; fi
if [[ $type == integer-transformer ]]; then
  propagated() { quantised "propagated-$1" --mode scale-propagation "${@:2}"; }
  for bits in 16 8 7 6 5 4; do propagated "$bits" --bits "$bits"; done
  for granularity in sentence head; do propagated "8-$granularity" --granularity "$granularity"; done
  for granularity in sentence head; do propagated "5-$granularity" --bits 5 --granularity "$granularity"; done
  for rescale in pow2 always; do propagated "8-$rescale" --rescale "$rescale"; done
  for rounding in trunc stochastic; do propagated "8-$rounding" --round "$rounding"; done
  for bits in 8 5; do propagated "$bits-tensor" --bits "$bits" --w-scale tensor; done
  for kept in last-residual last-norm; do propagated "5-keep-$kept" --bits 5 --keep-fp "$kept"; done
  for module in embedding encoder-attention encoder-ffn decoder-self decoder-cross decoder-ffn; do propagated "5-only-$module" --bits 5 --int8-modules "$module"; done
fi
for bits in 8 7 6 5 4; do quantised "bits-$bits" --bits "$bits"; done
for bits in 8 6 5; do quantised "bits-$bits-tensor" --bits "$bits" --w-scale tensor; done
quantised trunc --round trunc
quantised stochastic --round stochastic
for module in embedding encoder-attention encoder-ffn decoder-self decoder-cross decoder-ffn; do quantised "bits-5-only-$module" --bits 5 --int8-modules "$module"; done
