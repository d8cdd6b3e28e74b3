# What the recipes share. To be sourced by examples/NAME/run.sh, which defines usage(), and sets `last_stage` for recipe_options.
#
# shellcheck shell=bash disable=SC2034,SC2154
set -euo pipefail
export LC_ALL=C.UTF-8

called_from=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
root=$(cd "$here/../.." && pwd)

die() { echo "run.sh: $*" >&2; exit "${code:-1}"; }

# recipe_help: the end of what usage() prints, on the options that all recipes have
recipe_help() {
  cat <<'END'
  --smoke      little of everything and a tiny model: shows within two minutes that everything works
  --run DIR    where the results go (default: runs/seedN beside this script)
  --threads N  threads (default: all cores)

The tools are taken from build/bin of this repository, or from the folder in SEQMILL_BIN.
An interrupted training goes on from its last checkpoint when the same command is given again.
END
}

# recipe_options ARGUMENT...: sets seed, stage, smoke, run, threads, `arguments` (what is no option) and `extra` (what stands behind --)
recipe_options() {
  seed=1 stage=0 smoke=false run="" threads=$(nproc)
  arguments=() extra=()
  while (($#)); do
    case $1 in
      -h | --help) usage; exit 0 ;;
      --smoke) smoke=true; shift ;;
      --seed | --stage | --run | --threads)
        (($# >= 2)) || code=2 die "$1 needs a value"
        printf -v "${1#--}" '%s' "$2"
        shift 2
        ;;
      --) shift; extra=("$@"); break ;;
      -*) usage >&2; code=2 die "unknown option '$1'" ;;
      *) arguments+=("$1"); shift ;;
    esac
  done
  local number
  for number in seed stage threads; do
    [[ ${!number} =~ ^(0|[1-9][0-9]*)$ ]] || code=2 die "--$number: '${!number}' is not a number"
  done
  ((stage <= last_stage)) || code=2 die "--stage $stage: the last one is $last_stage"
}

# no_arguments: for recipes that take none
no_arguments() { ((${#arguments[@]} == 0)) || { usage >&2; code=2 die "unexpected '${arguments[0]}'"; }; }

# recipe_data SET: `data` becomes the folder of data sets, by $DATA, relative to where the user is when SET is there, else to the repository
recipe_data() {
  data=${DATA:-$root/../shared/data}
  if [[ $data != /* && -d $called_from/$data/$1 ]]; then
    data=$called_from/$data
  elif [[ $data != /* ]]; then
    data=$root/$data
  fi
}

# recipe_run NAME: makes the folder `run`, by default runs/NAME beside the script
recipe_run() {
  run=${run:-$here/runs/$1}
  [[ $run == /* ]] || run=$called_from/$run
  mkdir -p "$run"
}

# recipe_tools TOOL...: they are in the folder `bin`
recipe_tools() {
  bin=${SEQMILL_BIN:-$root/build/bin}
  local tool
  for tool; do
    [[ -x $bin/$tool ]] || die "no $tool in $bin: build first (scripts/test.sh, or cmake --preset release && cmake --build --preset release)"
  done
}

# begin_stage NUMBER TEXT: a mark of how far we are, with the time, as the jobs of a cluster leave it in their logs
begin_stage() { echo "== stage $1: $2 ($(date '+%F %T'))" >&2; }

# whole_file FILE LINES: a .gz file that is there, undamaged, and has so many lines
whole_file() {
  [[ -e $1 ]] || die "$1: no such file"
  gzip -t "$1" || die "$1: damaged"
  local lines
  lines=$(gzip -dc "$1" | wc -l)
  ((lines == $2)) || die "$1: $lines lines, expected $2"
}

# recipe_base: `base` becomes the language model that a recipe begins with: $BASE, or one in the run folder that train_base makes
recipe_base() {
  base=${BASE:-$run/base}
  [[ $base == /* ]] || base=$called_from/$base
}

# train_base: on lm-wikitext2, unless BASE names a model
train_base() {
  if [[ -n ${BASE:-} ]]; then
    [[ -e $base ]] || die "BASE: no model $base"
    return
  fi
  begin_stage 1 "train a base model in $base"
  local conf=$root/examples/preference/conf part text
  local configuration=(-c "$conf/base.yaml")
  if $smoke; then configuration+=(-c "$conf/smoke-base.yaml"); fi
  for part in train valid; do
    text=$data/lm-wikitext2/$part.txt.gz
    [[ -e $text ]] || die "$text: no such file"
    if $smoke; then gzip -dc "$text" | sed -n 1,300p; else gzip -dc "$text"; fi >"$run/data/$part.txt"
  done
  "$bin/lm-train" "${configuration[@]}" --run "$base" --train "$run/data/train.txt" --valid "$run/data/valid.txt" --threads "$threads"
}
