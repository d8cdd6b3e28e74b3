#!/usr/bin/env bash
# The real esrl-rl: algorithms and rewards on translations and answers, what a run leaves behind, resuming, bad input, messages.
# usage: esrl_rl_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need esrl-rl nmt-train nmt-translate lm-train lm-generate rm-train
command=("$bin/esrl-rl")

last_score() { sed -En "s/.*\"split\":\"valid\",.*\"$2\":(-?[0-9.e+-]+).*/\1/p" "$1/metrics.jsonl" | tail -n 1; }
first_measure() { sed -En "s/.*\"split\":\"train\",.*\"$2\":(-?[0-9.e+-]+).*/\1/p" "$1/metrics.jsonl" | head -n 1; }
last_measure() { sed -En "s/.*\"split\":\"train\",.*\"$2\":(-?[0-9.e+-]+).*/\1/p" "$1/metrics.jsonl" | tail -n 1; }
# above NAME A B
above() { awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && a > b) }' || report "$1: '$2' is not above '$3'"; }

learnable_toy mle.yaml
"$bin/nmt-train" -c mle.yaml --run mle --max-updates 150 2> err || { echo "FAILED: nmt-train: $(cat err)"; exit 1; }
tail -n 300 train.a > more.a
tail -n 300 train.b > more.b

cat > conf.yaml << 'END'
init-from: mle
reward: [bleu]
train-src: more.a
train-tgt: more.b
valid-src: valid.a
valid-tgt: valid.b
threads: 1
learning-rate: 0.0005
max-updates: 40
log-every: 10
validate-every: 20
END

# Every algorithm makes candidates of the training data better than they were.
for algorithm in esrl reinforce mrt ppo grpo; do
  # Long enough that chance does not decide.
  options=(--learning-rate 0.001 --max-updates 100 --log-every 20 --validate-every 0)
  if [[ $algorithm == mrt ]]; then options+=(--algorithm.alpha 0.5); fi
  if [[ $algorithm == ppo ]]; then options+=(--candidates 4 --max-updates 200 --log-every 40 --advantage.baseline fifo-z); fi
  if [[ $algorithm == reinforce ]]; then options+=(--advantage.baseline group-mean); fi
  runs "$algorithm" 'training ends' --run "$algorithm" --algorithm "$algorithm" "${options[@]}"
  above "reward of $algorithm" "$(last_measure "$algorithm" reward)" "$(first_measure "$algorithm" reward)"
done
above 'ESRL' "$(last_measure esrl reward)" "$(awk -v a="$(first_measure esrl reward)" 'BEGIN { print a + 0.02 }')"
grep -q '^algorithm:$' esrl/config.yaml || report 'esrl: its configuration does not say how it was trained'
grep -q '"seconds-by-work":{.*"sampling":' esrl/metrics.jsonl || report 'esrl: no seconds of sampling'
grep -q '"divergence":' grpo/metrics.jsonl || report 'grpo: no divergence'
above 'divergence from the reference' "$(last_measure grpo divergence)" 0

# What learned is a model like any other, a value head or not.
for run in esrl ppo; do "$bin/nmt-translate" --model "$run" < valid.a > translated 2> err || report "nmt-translate of $run: $(tail -n 2 err)"; done
[[ $(wc -l < translated) == 30 ]] || report 'nmt-translate: not a line each'
weights_hold ppo '"value_head.weight"' || report 'ppo: no value head in its checkpoint'

# The control teaches nothing where a baseline is taken away: weights stay what they were, to the bit.
runs 'constant reward' 'training ends' --run constant --reward constant --max-updates 5
weights() { tail -c +$(($(od -An -t u8 -N 8 "$1/model.safetensors" | tr -d ' ') + 9)) "$1/model.safetensors" | cksum; }
[[ $(weights constant/ckpt/last) == $(weights mle/ckpt/best) ]] || report 'a constant reward changes the model'

# Two ways to draw, and what is drawn.
runs 'drawn by LibTorch' 'training ends' --run torch --sampling.backend torch --max-updates 3
runs 'drawn by the engine' 'training ends' --run engine --sampling.backend engine --max-updates 3 --dump dump.jsonl
python3 - << 'END' 2> trace || report "dump: $(tail -n 1 trace)"
import json
records = [json.loads(line) for line in open("dump.jsonl")]
assert len(records) == 96, len(records)
for record in records:
    assert record["source"] and record["references"] and 2 <= len(record["hypotheses"]) <= 8, record
    assert all(0 <= h["scores"]["reward"] <= 1 and h["drawn-logprob"] < 0.001 for h in record["hypotheses"]), record
assert len({record["id"] for record in records}) == 96
END
# One stage learns what two stages learn: the same candidates, the same gradient but for rounding.
for stages in 1 2; do runs "$stages stages" 'training ends' --run "stages$stages" --stages "$stages" --max-updates 3 --log-every 1 --precision fp32; done
python3 - << 'END' 2> trace || report "stages: $(tail -n 1 trace)"
import json
one, two = ([e for e in map(json.loads, open(f"stages{n}/metrics.jsonl")) if e["split"] == "train"] for n in (1, 2))
for a, b in zip(one, two):
    for key in ("loss", "reward", "candidates", "gradient-norm"):
        assert abs(a[key] - b[key]) < 2e-3 * max(1, abs(b[key])), (key, a, b)
END
runs 'fixed sampling' 'candidates 3, temperature 0.7' --run fixed --dynamic.capability none --candidates 3 --temperature 0.7 --max-updates 10
runs 'entropy' 'training ends' --run entropy --dynamic.capability entropy --max-updates 2
runs 'largest probability' 'training ends' --run peaks --dynamic.capability max-probability --eliminate 0.3 --max-updates 2
runs 'cross-entropy too' 'training ends' --run mixed --mle-weight 0.3 --max-updates 2
runs 'held near its beginning' 'training ends' --run near --kl.weight 0.1 --max-updates 4
[[ -s near/reference/model.safetensors ]] || report 'the model that rewards are held against does not lie in the run'
runs 'passes' 'training ends' --run passes --algorithm ppo --passes 2 --minibatches 2 --max-updates 8
runs 'several rewards' 'reward-length ' --run several --reward '0.5*bleu' --reward chrf --reward '-0.01*length' --max-updates 2 --log-every 1

# Rewards of a program, and of a model.
cat > judge.py << 'END'
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    print(json.dumps({"rewards": [-len(h["text"]) / 100 for h in record["hypotheses"]]}), flush=True)
END
runs 'program' 'training ends' --run program --reward 'command:python3 judge.py' --max-updates 3
printf 'import sys\nfor i, line in enumerate(sys.stdin):\n  if i > 40: sys.exit(3)\n  print("{\\"rewards\\":[" + ",".join(["1"] * line.count("\\"text\\"")) + "]}", flush=True)\n' > dies.py
fails 'a program that dies' 1 "'python3 dies.py' ended with exit code 3" -c conf.yaml --run dies --reward 'command:python3 dies.py' --dynamic.capability none --save-every 1 < /dev/null
[[ -s dies/ckpt/last/model.safetensors ]] || report 'a program that dies takes the last checkpoint with it'
fails 'a program without an answer' 1 'expected a number' -c conf.yaml --run nan --reward "command:sed -u 's/.*/{\"rewards\":[null]}/'" < /dev/null

# Answers to prompts.
toy_language 200 1 3 questions words
"$bin/lm-train" --train words --valid words --vocab-size 330 --run lm --threads 1 --window 64 --batch-tokens 512 --max-updates 60 --warmup 5 --learning-rate 0.005 \
  --model.dim 32 --model.ffn 48 --model.heads 2 --model.layers 1 --model.max-positions 96 2> err || { echo "FAILED: lm-train: $(cat err)"; exit 1; }
awk '{ printf "{\"id\":\"q%d\",\"prompt\":\"%s\",\"reference\":\"bao deo\"}\n", NR, $0 }' words > prompts.jsonl
head -n 20 prompts.jsonl > dev.jsonl
awk '{ printf "{\"prompt\":\"%s\",\"chosen\":\"bao deo\",\"rejected\":\"%s no\"}\n", $0, $0 }' words > pairs.jsonl
"$bin/rm-train" --model lm --train pairs.jsonl --valid pairs.jsonl --run rm --threads 1 --batch-tokens 1024 --max-updates 20 --warmup 0 --learning-rate 0.003 2> err || { echo "FAILED: rm-train: $(cat err)"; exit 1; }
cat > answers.yaml << 'END'
init-from: lm
train: [prompts.jsonl]
valid: [dev.jsonl]
threads: 1
learning-rate: 0.002
max-updates: 30
log-every: 10
validate-every: 15
sampling:
  max-length: 12
END
answers() { "$bin/esrl-rl" -c answers.yaml "$@" > out 2> err; }
# learns NAME OPTION...: a language model's reward rises
learns() {
  local name=$1
  shift
  answers --run "lm-$name" "$@" || report "answers, $name: $(tail -n 3 err)"
  above "reward of answers, $name" "$(last_measure "lm-$name" reward)" "$(first_measure "lm-$name" reward)"
}
learns esrl --reward chrf
learns grpo --reward chrf --algorithm grpo
learns ppo --reward chrf --algorithm ppo --kl.weight 0.01 --max-updates 80
learns model --reward model:rm --algorithm reinforce --advantage.baseline group-mean --advantage.normalise z
learns torch --reward -0.1*length --algorithm reinforce --advantage.baseline group-mean --sampling.backend torch
"$bin/lm-generate" --model lm-ppo --max-new-tokens 5 < dev.jsonl > generated 2> err || report "lm-generate: $(tail -n 2 err)"

# Killed or stopped, it goes on to the same bits: in the middle of the passes over a rollout, with queue and value head.
for options in '--algorithm esrl --kl.weight 0.05 --mle-weight 0.2 --model.dropout 0.1' '--algorithm ppo --passes 2 --minibatches 2' '--algorithm grpo --passes 2'; do
  name=$(tr -cd 'a-z' <<< "$options")
  # shellcheck disable=SC2086
  runs "half of $options" 'training ends' --run "$name-halves" $options --max-updates 9
  # shellcheck disable=SC2086
  runs "rest of $options" 'resumed from' --run "$name-halves" $options --max-updates 19
  # shellcheck disable=SC2086
  runs "whole of $options" 'training ends' --run "$name-whole" $options --max-updates 19
  same "$name-halves" "$name-whole" || report "$options: a run in two parts ends with other weights"
done

# Two processes learn together, each of candidates of its own and all of one queue of rewards; what they leave goes on in one.
in_two -c conf.yaml --run two --max-updates 6 --kl.weight 0.01 || report "two processes: $(tail -n 3 err.0)"
[[ ! -s err.1 ]] || report "the second of two processes prints: $(head -n 2 err.1)"
in_two -c conf.yaml --run two --max-updates 9 --kl.weight 0.01 || report "two processes, resumed: $(tail -n 3 err.0)"
grep -q 'resumed from' err.0 || report 'two processes do not go on'
in_two -c conf.yaml --run two-at-once --max-updates 9 --kl.weight 0.01 || report "two processes at once: $(tail -n 3 err.0)"
same two two-at-once || report 'two processes that went on end with other weights'
runs 'one of two' 'is another one than before' --run two --max-updates 12 --kl.weight 0.01
in_two -c conf.yaml --run two-passes --algorithm ppo --passes 3 --max-updates 4 || report "two processes, passes: $(tail -n 3 err.0)"
in_two -c conf.yaml --run two-passes --algorithm ppo --passes 3 --max-updates 8 || report "two processes, passes, resumed: $(tail -n 3 err.0)"
in_two -c conf.yaml --run two-passes-at-once --algorithm ppo --passes 3 --max-updates 8 || report "two processes, passes at once: $(tail -n 3 err.0)"
same two-passes two-passes-at-once || report 'two processes that went on in the middle of a rollout end with other weights'

# It goes on without the model that it began with, by its own configuration.
runs 'to go on' 'training ends' --run moved --max-updates 3 --kl.weight 0.01
answers --run lm-moved --reward length --max-updates 2 --kl.weight 0.01 || report "to go on: $(tail -n 2 err)"
mv mle mle-gone && mv lm lm-gone
"$bin/esrl-rl" -c moved/config.yaml --run moved --max-updates 5 2> err || report "without its model: $(tail -n 2 err)"
"$bin/esrl-rl" -c lm-moved/config.yaml --run lm-moved --max-updates 4 2> err || report "without its language model: $(tail -n 2 err)"
refuses 'no such model' 1 'mle' --max-updates 2
mv mle-gone mle && mv lm-gone lm
rm moved/reference/model.safetensors
fails 'without what rewards are held against' 1 'reference/model.safetensors is not there' -c moved/config.yaml --run moved --max-updates 6 < /dev/null

# Stopped while a slow program judges, it saves first, and nothing of it shows in the end.
cat > slow.py << 'END'
import json, sys, time
for line in sys.stdin:
    time.sleep(0.004)
    print(json.dumps({"rewards": [len(h["text"]) / 100 for h in json.loads(line)["hypotheses"]]}), flush=True)
END
runs 'slow program' 'training ends' --run slow --reward 'command:python3 slow.py' --max-updates 12 --validate-every 0 --save-every 0
"${command[@]}" -c conf.yaml --run slow-stopped --reward 'command:python3 slow.py' --max-updates 12 --validate-every 0 --save-every 0 2> err &
child=$!
for ((i = 0; i < 200; ++i)); do
  [[ -s slow-stopped/config.yaml ]] && break
  sleep 0.05
done
sleep 0.7
kill -TERM "$child"
status=0
wait "$child" || status=$?
child=""
if [[ $status != 0 ]]; then
  [[ $status == 143 ]] || report "stopped while it waits: exit $status: $(tail -n 1 err)"
  [[ -s slow-stopped/ckpt/last/model.safetensors ]] || report 'stopped while it waits: no checkpoint'
fi
runs 'goes on' 'training ends' --run slow-stopped --reward 'command:python3 slow.py' --max-updates 12 --validate-every 0 --save-every 0
same slow slow-stopped || report 'stopped while a program judged, a run ends with other weights'

# What was learned on is a model to learn on.
"$bin/lm-train" --init-from lm-ppo --train words --valid words --run onward --threads 1 --window 64 --batch-tokens 512 --max-updates 2 --warmup 0 2> err || report "lm-train of a policy with values: $(tail -n 2 err)"

# Bad input.
refuses 'no model' 2 'missing --model' --model ''
refuses 'unknown algorithm' 2 "did you mean 'esrl'" --algorithm esrI
refuses 'unknown reward' 2 "did you mean 'bleu'" --reward blue
refuses 'capability of nothing' 2 'which --dynamic.capability none does not know' --eliminate 0.3 --dynamic.capability none
refuses 'range' 2 '--dynamic.least 9 is more than' --dynamic.least 9
refuses 'passes over a graph' 2 'a graph is learned of once' --stages 1 --algorithm ppo
refuses 'nothing to compare' 2 'which takes two of them' --algorithm mrt --candidates 1 --dynamic.capability none
refuses 'lengths' 2 '--sampling.min-length 9 is more than' --sampling.min-length 9 --sampling.max-length 5
refuses 'shares of nothing' 2 'inputs of a rollout to share out' --algorithm ppo --inputs 4 --minibatches 4 --dynamic.capability entropy --eliminate 0.5
refuses 'standard input' 2 "cannot be standard input" --train-src -
refuses 'an option of another algorithm' 2 "unknown option '--algorithm.clip'" --algorithm.clip 0.1
refuses 'another shape' 1 'does not fit the model' --model.ffn 65
printf '\n\n' > nothing
refuses 'empty text' 1 'no pair of nothing is left: 2 with an empty side' --train-src nothing --train-tgt nothing
refuses 'sides that differ' 1 'ends after line' --train-tgt valid.b
answers --run x --reward bleu --train <(echo '{"prompt":"x"}') 2> err && report 'a prompt without reference is taken for one with'
grep -q 'record 1: it has no reference' err || report "no reference: $(tail -n 1 err)"
answers --run x --reward length --mle-weight 0.5 && report '--mle-weight without references is accepted'
grep -q 'that of translation models' err || report "mle-weight: $(tail -n 1 err)"
answers --run x --reward length --train <(echo '{"prompt":""}') && report 'an empty prompt is accepted'
grep -q 'record 1' err || report "empty prompt: $(tail -n 1 err)"
"$bin/esrl-rl" --list-algorithms | grep -q '^esrl .*Efficient' || report '--list-algorithms'
"$bin/esrl-rl" --list-rewards | grep -q '^command ' || report '--list-rewards'

finish
