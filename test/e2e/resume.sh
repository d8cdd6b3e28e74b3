#!/usr/bin/env bash
# A run that is killed and resumed ends with the same bits as one that is left alone; what stops a run leaves it usable.
# usage: resume.sh DIRECTORY_OF_BINARIES [KILLS] [SEED]
set -euo pipefail
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
kills_wanted=${2:-20}
RANDOM=${3:-17}
need nmt-train
train=$bin/nmt-train
mounted=()
unmount() {
  local folder
  for folder in ${mounted[@]+"${mounted[@]}"}; do umount "$folder" 2> /dev/null || true; done
}
trap 'unmount; clean_up' EXIT
passed() { echo "ok: $*"; }

toy_language 300 2 7 train.a train.b
head -n 20 train.a >valid.a
head -n 20 train.b >valid.b

tiny_configuration conf.yaml << 'END'
  dropout: 0.2
  attention-dropout: 0.1
batch-tokens: 150
part-tokens: 40
learning-rate: 0.003
warmup: 20
max-updates: 400
save-every: 7
validate-every: 60
keep-last: 2
keep-best: 2
ema: 0.9
accumulate: 2
END
run() { "${command[@]}" "$@"; }

# same A B: the last checkpoints of two runs hold the same bits
same() {
  local file
  for file in model.safetensors optim.safetensors; do
    cmp "$1/ckpt/last/$file" "$2/ckpt/last/$file" || return 1
  done
  [[ $(readlink "$1/ckpt/last") == $(readlink "$2/ckpt/last") && $(readlink "$1/ckpt/best") == $(readlink "$2/ckpt/best") ]] || return 1
  # Every event once, in order; validations with the same scores. (A line of training sums up what its session has seen.)
  cmp <(events "$1") <(events "$2")
}
events() {
  sed -En 's/^\{"step":([0-9]+),.*"split":"([a-z]+)".*$/\1 \2/p' "$1/metrics.jsonl"
  sed -En '/"split":"valid"/s/"(wall|seconds)":[^,}]*//gp' "$1/metrics.jsonl"
}

# Every checkpoint is whole: its files are there and it can be gone on from. A run killed early has none yet.
whole() {
  local checkpoint file
  for checkpoint in "$1"/ckpt/step-*; do
    [[ -e $checkpoint ]] || continue
    for file in model.safetensors optim.safetensors state.json; do
      [[ -s $checkpoint/$file ]] || return 1
    done
  done
}

# survives_kills NAME KILLS: the run NAME of `command`, and the same run killed at random moments within sessions that would last on. A killed run that ends is
# compared with it and begun anew.
survives_kills() {
  local name=$1 wanted=$2 begin milliseconds kills=0 runs=0 sessions=0 target delay status
  begin=$(date +%s%N)
  run --run "$name" || report "the uninterrupted run $name: exit $?"
  milliseconds=$((($(date +%s%N) - begin) / 1000000))
  [[ -e $name/ckpt/last/model.safetensors ]] || { echo "FAILED: the uninterrupted run $name left no checkpoint"; exit 1; }
  echo "one run without interruption: $milliseconds ms"
  while ((kills < wanted)); do
    target=$name-killed$runs
    "${command[@]}" --run "$target" 2>session.log &  # no function here: $! must be the tool itself
    child=$!
    sessions=$((sessions + 1))
    # Mostly within the first half: then there are several kills in a run.
    delay=$((RANDOM % (milliseconds * 6 / 10) + 1))
    sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
    if kill -9 "$child" 2>/dev/null; then kills=$((kills + 1)); fi
    status=0
    wait "$child" 2>/dev/null || status=$?
    child=""
    if ((status != 0 && status != 137)); then
      report "session $sessions: exit $status: $(cat session.log)"
      break
    fi
    if [[ -d $target/ckpt ]]; then whole "$target" || report "after kill $kills: a checkpoint of $target is not whole"; fi
    if ((status == 0)); then
      same "$name" "$target" || report "$target, killed and resumed, differs from the run without interruption"
      rm -rf "$target"
      runs=$((runs + 1))
    fi
    ((sessions < 20 * wanted)) || { report "no end after $sessions sessions"; break; }
  done
  if [[ -d $name-killed$runs ]]; then
    run --run "$name-killed$runs" 2>session.log || report "the last session: exit $?"
    same "$name" "$name-killed$runs" || report "$name-killed$runs, killed and resumed, differs from the run without interruption"
  fi
  passed "$name: $kills kills in $sessions sessions, $((runs + 1)) runs compared"
}

# Language models: of text, and adapters of one on conversations. What a session tokenised is used by the next.
if [[ -x $bin/lm-train ]]; then
  awk '{ print; if (NR % 7 == 0) print "" }' train.a train.b > text
  paste -d '|' train.a train.b | sed -E 's/^(.*)\|(.*)$/{"prompt":"\1","response":"\2"}/' > chats.jsonl
  head -n 20 chats.jsonl > valid.jsonl
  cat > lm.yaml << 'END'
model:
  dim: 32
  ffn: 64
  heads: 2
  kv-heads: 1
  layers: 2
  max-positions: 64
  dropout: 0.1
batch-tokens: 256
part-tokens: 64
window: 32
learning-rate: 0.003
warmup: 20
max-updates: 150
save-every: 7
validate-every: 60
keep-last: 2
keep-best: 2
accumulate: 2
END
  command=("$bin/lm-train" -c lm.yaml --threads 2 --quiet --train text --valid valid.a --vocab-size 330 --ema 0.9)
  survives_kills lm $((kills_wanted / 4))
  command=("$bin/lm-train" -c lm.yaml --threads 2 --quiet --init-from lm --format chat --train chats.jsonl --valid valid.jsonl --lora.rank 2 --window 48 --checkpointing)
  survives_kills lm-tuned $((kills_wanted / 4))
fi

# Preferences: what the model that it began with thinks of the answers is asked once and kept.
if [[ -x $bin/lm-train && -x $bin/pref-train ]]; then
  paste -d '|' train.a train.b | sed -E 's/^(.*)\|(.*)$/{"prompt":"\1","chosen":"\2","rejected":"\1"}/' > pairs.jsonl
  head -n 20 pairs.jsonl > valid-pairs.jsonl
  command=("$bin/pref-train" --model lm --loss kto --train pairs.jsonl --valid valid-pairs.jsonl --threads 2 --quiet --batch-tokens 512 --part-tokens 128 --learning-rate 1e-3 --warmup 5
    --max-epochs 0 --max-updates 80 --save-every 7 --validate-every 30 --keep-last 2 --keep-best 2 --accumulate 2)
  survives_kills pref $((kills_wanted / 4))
fi

# Reward models: a scalar head, and a judge that learns labels.
if [[ -x $bin/lm-train && -x $bin/rm-train ]]; then
  paste -d '|' train.a train.b | sed -E 's/^(.*)\|(.*)$/{"prompt":"say it","chosen":"\2","rejected":"\1"}/' > verdicts.jsonl
  head -n 20 verdicts.jsonl > valid-verdicts.jsonl
  "$bin/lm-train" -c lm.yaml --threads 2 --quiet --train text --valid valid.a --vocab-size 330 --model.max-positions 512 --max-updates 5 --warmup 1 --run base
  rewards=("$bin/rm-train" --model base --train verdicts.jsonl --valid valid-verdicts.jsonl --threads 2 --quiet --batch-tokens 512 --part-tokens 128 --learning-rate 1e-3 --warmup 5
    --max-epochs 0 --max-updates 60 --save-every 7 --validate-every 25 --keep-last 2 --keep-best 2 --accumulate 2)
  command=("${rewards[@]}" --sft-weight 0.1 --label-noise 0.1)
  survives_kills reward 2
  command=("${rewards[@]}" --objective generative --objective.eps 0.1 --judge.preamble none)
  survives_kills judge 2
fi

command=("$train" -c conf.yaml --threads 2 --quiet)
survives_kills whole "$kills_wanted"

# Asked to stop, a run saves and exits with 128 + the signal's number.
for signal in TERM:143 INT:130 USR1:138; do
  target=stopped-${signal%:*}
  # A background job of a script has SIGINT ignored; the tool must be started with it as it is for a person.
  python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$train" -c conf.yaml --threads 2 --run "$target" --save-every 100000 --validate-every 100000 2>session.log &
  child=$!
  for ((i = 0; i < 200; i++)); do
    if [[ -s $target/log ]] && grep -q 'training data' "$target/log"; then break; fi
    sleep 0.02
  done
  sleep 0.4
  kill -"${signal%:*}" "$child"
  status=0
  wait "$child" || status=$?
  child=""
  ((status == ${signal#*:})) || report "SIG${signal%:*}: exit $status, expected ${signal#*:}: $(cat session.log)"
  [[ -e $target/ckpt/last/model.safetensors ]] || report "SIG${signal%:*}: nothing was saved"
  grep -q "exit code ${signal#*:}" "$target/command.txt" || report "SIG${signal%:*}: command.txt does not tell the exit code"
done
run --run stopped-TERM 2>session.log || report "resumed after SIGTERM: exit $?"
for file in model.safetensors optim.safetensors; do
  cmp "whole/ckpt/last/$file" "stopped-TERM/ckpt/last/$file" || report "stopped by SIGTERM and resumed: $file differs"
done
passed "signals"

# --resume never and must.
status=0
run --run whole --resume never 2>err || status=$?
{ ((status == 1)) && grep -q 'already holds checkpoints' err; } || report "--resume never: exit $status: $(cat err)"
status=0
run --run nothing-here --resume must 2>err || status=$?
{ ((status == 1)) && grep -q 'holds no checkpoint' err; } || report "--resume must: exit $status: $(cat err)"

# Two processes on one run.
"${command[@]}" --run shared --max-updates 100000 2>session.log &
child=$!
for ((i = 0; i < 200; i++)); do
  if [[ -e shared/ckpt/last ]]; then break; fi
  sleep 0.02
done
status=0
run --run shared 2>err || status=$?
((status == 1)) || report "second process on a run: exit $status, expected 1"
grep -q 'in use by' err || report "second process on a run: unclear message: $(cat err)"
grep -q "$child" err || report "second process on a run: the holder's id is missing: $(cat err)"
kill -0 "$child" 2>/dev/null || report "the first process ended when the second came: $(cat session.log)"
kill -TERM "$child"
wait "$child" || true
child=""
passed "two processes"

# A run directory that cannot be written.
status=0
if ((EUID != 0)); then
  cp -r whole read-only
  chmod -R a-w read-only
  run --run read-only --max-updates 500 2>err || status=$?
  chmod -R u+w read-only
  ((status == 1)) || report "read-only run directory: exit $status, expected 1: $(cat err)"
  grep -q 'read-only' err || report "read-only run directory: the message does not name it: $(cat err)"
  passed "read-only run directory"
elif mkdir read-only && mount -t tmpfs -o size=4m tmpfs read-only 2>/dev/null; then
  mounted+=("$work/read-only")
  cp -r whole/. read-only/
  mount -o remount,ro read-only
  run --run read-only --max-updates 500 2>err || status=$?
  ((status == 1)) || report "read-only run directory: exit $status, expected 1: $(cat err)"
  grep -q 'Read-only file system' err || report "read-only run directory: unclear message: $(cat err)"
  passed "read-only run directory"
else
  echo "skipped: read-only run directory (root without the right to mount)"
fi

# A full disk while a checkpoint is written: error, and the checkpoints before it can be used.
full_disk() {  # full_disk NAME RUN COMMAND...
  local name=$1 target=$2 status=0 before
  shift 2
  before=$(readlink "$target/ckpt/last")
  "$@" 2>err || status=$?
  ((status == 1)) || report "$name: exit $status, expected 1: $(cat err)"
  grep -qE 'No space left on device|File too large' err || report "$name: unclear message: $(cat err)"
  whole "$target" || report "$name: a damaged checkpoint is left"
  [[ -e $target/ckpt/$before/model.safetensors ]] || report "$name: the checkpoint before is gone"
}
if ((EUID == 0)) && mkdir full && mount -t tmpfs -o size=3m tmpfs full 2>/dev/null; then
  mounted+=("$work/full")
  run --run full/run --max-updates 20 --keep-last 1
  dd if=/dev/zero of=full/filler bs=1k 2>/dev/null || true
  full_disk "full disk" full/run run --run full/run --max-updates 60
  rm full/filler
  run --run full/run --max-updates 60 --keep-last 1 2>session.log || report "full disk, then room again: exit $?"
  run --run never-full --max-updates 60 --keep-last 1
  cmp full/run/ckpt/last/model.safetensors never-full/ckpt/last/model.safetensors || report "after a full disk the run differs"
  passed "full disk"
else
  echo "skipped: full disk (no right to mount)"
fi
run --run limited --max-updates 20
limited() { (ulimit -f 20; run --run limited --max-updates 60); }
trap '' XFSZ  # beyond the limit a write fails with an error instead
full_disk "file size limit" limited limited
trap - XFSZ
run --run limited --max-updates 60 2>session.log || report "file size limit, then none: exit $?"
passed "file size limit"

finish
