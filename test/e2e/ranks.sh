#!/usr/bin/env bash
# Training in two processes: the same as in one but for the rounding of sums, whatever happens to one of them.
# usage: ranks.sh DIRECTORY_OF_TOOLS
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need nmt-train
command=("$bin/nmt-train")
"${command[@]}" --version | grep -q '^data parallel: ' || { echo "built without data parallel training: skipped"; exit 77; }

toy_language 400 2 7 train.a train.b
for side in a b; do head -n 40 "train.$side" > "valid.$side"; done
tiny_configuration conf.yaml << 'END'
  dropout: 0.1
batch-tokens: 150
part-tokens: 40
learning-rate: 0.003
warmup: 20
max-updates: 60
save-every: 10
validate-every: 20
valid-bleu: true
valid-beam: 2
keep-last: 2
precision: fp32
END

# A port that nobody uses; another process may take it in between, which a new attempt mends.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

pids=()
ranks=2
# start RUN OPTION...: begins the ranks, whose numbers are in `pids`; what they print is in RUN.0, RUN.1, ...
start() {
  local run=$1 rank port
  shift
  port=$(free_port)
  pids=()
  for ((rank = 0; rank < ranks; rank++)); do
    RANK=$rank WORLD_SIZE=$ranks LOCAL_WORLD_SIZE=$ranks MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "${command[@]}" -c conf.yaml --threads 2 --run "$run" "$@" > out 2> "$run.$rank" &
    pids+=($!)
  done
}
# ends NAME RUN CODE_OF_RANK_0 CODE_OF_RANK_1...
ends() {
  local name=$1 run=$2 rank code expected
  shift 2
  for ((rank = 0; rank < ranks; rank++)); do
    code=0
    wait "${pids[rank]}" 2> /dev/null || code=$?
    expected=$1
    shift
    ((code == expected)) || report "$name: rank $rank: exit $code instead of $expected: $(tail -n 3 "$run.$rank")"
  done
}
says() { grep -qF -- "$3" "$2" || report "$1: no '$3' in: $(tail -n 4 "$2")"; }
same() { cmp -s "$1/ckpt/last/model.safetensors" "$2/ckpt/last/model.safetensors" && cmp -s "$1/ckpt/last/optim.safetensors" "$2/ckpt/last/optim.safetensors"; }
# until_checkpoint RUN N: waits until the run has come to update N
until_checkpoint() {
  local i
  for ((i = 0; i < 3000; i++)); do
    if [[ -e $1/ckpt/step-$2 ]]; then return; fi
    sleep 0.01
  done
  report "$1: no checkpoint of update $2"
}

"${command[@]}" -c conf.yaml --run whole --accumulate 2 --quiet 2> err || report "one process: $(cat err)"
losses() { sed -En 's/.*"step":([0-9]+),.*"split":"valid","loss":([0-9.e+-]+).*/\1 \2/p' "$1/metrics.jsonl"; }
# alike A B: the validations of the same updates, at least two, have losses that differ by less than one in ten thousand
alike() {
  awk 'NR == FNR { loss[$1] = $2; next } $1 in loss { d = $2 - loss[$1]; n++; if (d * d > 1e-8 * $2 * $2) bad = 1 } END { exit bad || n < 2 }' \
    <(losses "$1") <(losses "$2")
}

start two
ends 'two ranks' two 0 0
alike whole two || report "two ranks: other losses than one process: $(paste <(losses whole) <(losses two))"
says 'two ranks' two.0 '2 ranks, started by RANK and WORLD_SIZE'
[[ -s two.1 ]] && report "rank 1 prints: $(cat two.1)"
[[ $(grep -c '"split":"valid"' two/metrics.jsonl) == 3 ]] || report "two ranks: events: $(cut -c 1-80 two/metrics.jsonl)"

# Stopped by a signal to one of them, gone on with in one process, then in two.
start stopped --max-updates 100000
until_checkpoint stopped 00000010
kill -TERM "${pids[1]}"
ends 'SIGTERM' stopped 143 143
says 'SIGTERM' stopped.0 'stopped by signal 15'
[[ $(grep -c 'error: ' stopped.1) == 0 ]] || report "SIGTERM: rank 1 reports too: $(cat stopped.1)"
start resumed --max-updates 30 --validate-every 1000
ends 'until 30' resumed 0 0
rm -rf mixed
cp -r resumed mixed
start resumed
ends 'gone on with in two' resumed 0 0
same two resumed || report 'two ranks, stopped and gone on with: other weights than without interruption'
"${command[@]}" -c conf.yaml --run mixed --accumulate 2 --quiet 2> err || report "gone on with in one process: $(cat err)"
alike two mixed || report "two ranks, then one: other losses: $(paste <(losses two) <(losses mixed))"

# One dies: the other ends, names it, and the last checkpoint is good.
start killed --max-updates 100000 --rank-timeout 4
until_checkpoint killed 00000010
kill -9 "${pids[1]}"
ends 'rank 1 killed' killed 1 137
says 'rank 1 killed' killed.0 'rank 1 ('
says 'rank 1 killed' killed.0 'goes on from the last checkpoint'
start beheaded --max-updates 100000 --rank-timeout 4
until_checkpoint beheaded 00000010
kill -9 "${pids[0]}"
ends 'rank 0 killed' beheaded 137 1
says 'rank 0 killed' beheaded.1 'rank 0 ('
"${command[@]}" -c conf.yaml --run killed --accumulate 2 --max-updates 0 --max-epochs 1 --quiet 2> err || report "after a rank was killed: $(cat err)"

# One hangs.
for rank in 1 0; do
  start "hung$rank" --max-updates 100000 --rank-timeout 3
  until_checkpoint "hung$rank" 00000010
  kill -STOP "${pids[rank]}"
  wait "${pids[1 - rank]}" 2> /dev/null
  code=$?
  [[ $code == 1 ]] || report "rank $rank hangs: exit $code: $(tail -n 3 "hung$rank.$((1 - rank))")"
  says "rank $rank hangs" "hung$rank.$((1 - rank))" "rank $rank ("
  says "rank $rank hangs" "hung$rank.$((1 - rank))" 'gives no sign of life'
  kill -9 "${pids[rank]}"
  wait "${pids[rank]}" 2> /dev/null
done

# Errors of one are told by all; mistakes.
start bad --train-src nowhere
ends 'bad data' bad 1 1
says 'bad data' bad.0 'cannot open nowhere'
says 'bad data' bad.1 'rank 0 ended: cannot open nowhere'
ranks=3
start three --accumulate 6 --max-updates 20 --early-stopping 5 --average 2
ends 'three ranks' three 0 0 0
"${command[@]}" -c conf.yaml --run three-as-one --accumulate 6 --max-updates 20 --validate-every 10 --quiet 2> err || report "six batches in one process: $(cat err)"
[[ -e three/average/model.safetensors ]] || report 'three ranks: no average'
start torn --max-updates 100000 --rank-timeout 4
until_checkpoint torn 00000010
kill -9 "${pids[2]}"
ends 'one of three killed' torn 1 1 137
for rank in 0 1; do says 'one of three killed' "torn.$rank" 'rank 2 ('; done
start bad3 --train-src nowhere
ends 'bad data in three' bad3 1 1 1
says 'bad data in three' bad3.2 'rank 0 ended: cannot open nowhere'
ranks=2

# A loss that is not finite, on all of them.
start diverged --learning-rate 1e30 --warmup 0 --max-updates 100
ends 'diverged' diverged 3 3
[[ -s diverged.1 ]] && report "diverged: rank 1 reports too: $(cat diverged.1)"

start odd --accumulate 3
ends 'batches that cannot be shared' odd 2 2
port=$(free_port)
for rank in 0 1; do
  RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "${command[@]}" -c conf.yaml --run unlike --seed $((rank + 1)) > out 2> "unlike.$rank" &
  pids[rank]=$!
done
ends 'unlike options' unlike 2 2
says 'unlike options' unlike.0 "rank 1 has another configuration than rank 0: 'seed: 2' where rank 0 has 'seed: 1'"
says 'batches that cannot be shared' odd.0 '--accumulate 3: 2 processes cannot share 3 batches evenly'
MASTER_ADDR=127.0.0.1 MASTER_PORT=$(free_port) RANK=0 WORLD_SIZE=2 fails 'a rank that never comes' 1 'of 2 ranks these did not come within 2 s: 1' -c conf.yaml --run alone --rank-timeout 2
RANK=2 WORLD_SIZE=2 fails 'no such rank' 2 'RANK is 2 and WORLD_SIZE is 2' -c conf.yaml --run alone
RANK=0 WORLD_SIZE=2 fails 'no address' 2 'set MASTER_ADDR' -c conf.yaml --run alone

finish
