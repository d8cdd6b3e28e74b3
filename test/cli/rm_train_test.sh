#!/usr/bin/env bash
# The real rm-train: objectives, stages of a judge, what a run leaves behind, resuming, bad input, messages.
# usage: rm_train_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need rm-train lm-train
command=("$bin/rm-train")

last_score() { sed -En "s/.*\"split\":\"valid\",.*\"$2\":([0-9.e+-]+).*/\1/p" "$1/metrics.jsonl" | tail -n 1; }
# above NAME A B
above() { awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && a > b) }' || report "$1: '$2' is not above $3"; }

# near NAME A B DIFFERENCE: they differ by less
near() { awk -v a="$2" -v b="$3" -v most="$4" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d < most) }' || report "$1: '$2' instead of '$3'"; }

# A toy world in which the polite answer is the better one.
toy_language 400 1 3 questions words
awk '{ x = (NR * 16807) % 2147483647; polite = "please " $0 " thanks"; rude = $0 " now";
       printf "{\"prompt\":\"%s\",\"chosen\":\"%s\",\"rejected\":\"%s\"}\n", (NR % 3 ? "say it" : "tell me more"), polite, rude }' words > pairs.jsonl
head -n 40 pairs.jsonl > valid.jsonl
sed -E 's/.*"chosen":"([^"]*)".*/\1/; s/"//g' pairs.jsonl > text
"$bin/lm-train" --train text --valid text --vocab-size 330 --run lm --threads 1 --window 64 --batch-tokens 512 --max-updates 5 --warmup 1 \
  --model.dim 32 --model.ffn 48 --model.heads 2 --model.layers 1 --model.max-positions 512 2> err || { echo "FAILED: lm-train: $(cat err)"; exit 1; }

cat > conf.yaml << 'END'
init-from: lm
train: [pairs.jsonl]
valid: [valid.jsonl]
threads: 1
batch-tokens: 512
learning-rate: 0.003
warmup: 0
max-updates: 40
log-every: 10
END

runs 'scalar' 'training data: 400 prompts, 800 answers' --run scalar
above 'accuracy of a scalar model' "$(last_score scalar accuracy)" 0.95
weights_hold scalar '"score.weight"' || report 'scalar: no head in the weights'
grep -q '"accuracy":' scalar/metrics.jsonl || report 'scalar: no accuracy in metrics.jsonl'
grep -q '"comparisons-per-second":' scalar/metrics.jsonl || report 'scalar: no rate in metrics.jsonl'
grep -q 'ppl' scalar/metrics.jsonl && report 'scalar: a perplexity of comparisons'
for objective in margin list; do
  runs "$objective" 'training ends' --run "$objective" --objective "$objective"
  above "accuracy of $objective" "$(last_score "$objective" accuracy)" 0.9
done
runs 'smoothed' 'eps 0.05 of the wrong outcome, which is label-smoothing 0.1' --run smoothed --objective.label-smoothing 0.1 --max-updates 3
runs 'frozen' 'training ends' --run frozen --freeze --max-updates 3
runs 'with likelihood' 'training ends' --run likelihood --sft-weight 0.1 --max-updates 3
runs 'from a reward model' 'the head is that of scalar' --run again --model scalar --max-updates 3
above 'accuracy of a model that begins trained' "$(sed -En 's/.*"split":"train",.*"accuracy":([0-9.]+).*/\1/p' again/metrics.jsonl | head -n 1)" 0.9
runs 'noise' 'the verdict of 4' --run noise --label-noise 1 --train-limit 40 --train valid.jsonl --max-updates 2
runs 'limit' '10 of 400 comparisons' --run limit --train-limit 10 --max-updates 2
runs 'similar lengths' 'comparisons left out whose answers differ more in length' --run matched --length-match 0.5 --max-updates 2
refuses 'no similar lengths' 1 'in none of 400 training comparisons' --length-match 0
runs 'adapters' 'training ends' --run adapters --lora.rank 2 --max-updates 3

# What scores cut is what the training cut, unless another window is named.
if [[ -x $bin/rm-score ]]; then
  long=$(printf 'please %.0s' {1..60})
  cuts() { printf '{"prompt":"say it","response":"%s"}\n' "$long" | "$bin/rm-score" --threads 1 "$@" 2>&1 > /dev/null | grep -c '1 answers were too long'; }
  runs 'narrow' 'training ends' --run narrow --window 40 --max-updates 1
  [[ $(cuts --model narrow) == 1 ]] || report 'a model is not scored with the window of its training'
  [[ $(cuts --model narrow --window 500) == 0 ]] || report '--window does not outrank the window of the training'
fi

# Regression.
awk '{ printf "{\"prompt\":\"rate\",\"response\":\"%s\",\"scores\":{\"length\":%d,\"other\":%s}}\n", $0, NF, NR % 2 ? "null" : "1.5" }' words > graded.jsonl
runs 'regression' 'training ends' --run regression --objective regression --aspects length --aspects other --train graded.jsonl --valid graded.jsonl
for score in rmse-length pearson-length rmse-other; do [[ -n $(last_score regression "$score") ]] || report "regression: no $score"; done

# A judge, in two stages.
runs 'stage 1' 'pairs were too long and cut' --run stage1 --objective generative --objective.stage 1 --judge.preamble none --max-updates 5
runs 'stage 1 of second answers' 'tokens learned' --run stage1b --objective generative --objective.stage 1 --objective.learn second --judge.preamble none --max-updates 2
learned() { sed -En 's/.*training data: .* ([0-9]+) tokens learned.*/\1/p' "$1/log" | head -n 1; }
above 'tokens of both answers' "$(learned stage1)" "$(($(learned stage1b) * 3 / 2))"
runs 'stage 2' '%; ' --run judge --objective generative --model stage1 --objective.eps 0.1 --max-updates 60
[[ -s judge/judge.yaml ]] || report 'stage 2: no judge.yaml'
grep -qF 'the first answer is the better one in 50.0 %' err || report "stage 2: sides: $(grep 'the first' err)"
above 'accuracy of a judge' "$(last_score judge accuracy)" 0.6
for score in order-consistency ece brier accuracy-one-order margin; do [[ -n $(last_score judge "$score") ]] || report "judge: no $score"; done

grep -q 'preamble: ""' judge/judge.yaml || grep -q "preamble: ''" judge/judge.yaml || report "stage 2: other questions than in stage 1: $(cat judge/judge.yaml)"
fails 'other questions' 2 'holds other questions, which this run was begun with' -c conf.yaml --run judge --objective generative --judge.preamble none --judge.labels C,D --max-updates 61
runs 'a judge goes on' 'resumed from' --run judge --objective generative --model stage1 --objective.eps 0.1 --max-updates 62
runs 'exported' 'training ends' --run exported --max-updates 2 --export-hf exported-hf
grep -q 'ForSequenceClassification' exported-hf/config.json || report "exported: $(cat exported-hf/config.json)"
runs 'from what was exported' 'the head is that of exported-hf' --run reimported --model exported-hf --max-updates 1
runs 'a long warm-up' 'never gets to' --run warm --max-updates 0 --max-epochs 1 --warmup 1000
refuses 'frozen and likelihood' 2 'which --freeze leaves as it is' --freeze --sft-weight 0.1
refuses 'frozen and adapters' 2 'which --freeze leaves as it is' --freeze --lora.rank 2
refuses 'noise in regression' 2 'has none' --objective regression --aspects length --train graded.jsonl --valid graded.jsonl --label-noise 0.1
refuses 'accuracy of regression' 2 "'accuracy' is not one of loss" --objective regression --aspects length --train graded.jsonl --valid graded.jsonl --stop-on accuracy

# Killed or stopped, it goes on to the same bits.
runs 'half' 'training ends' --run halves --max-updates 20 --schedule constant
runs 'second half' 'resumed from' --run halves --max-updates 40 --schedule constant
runs 'whole' 'training ends' --run whole --schedule constant
same halves whole || report 'a run in two parts ends with other weights'

# Two processes are as one.
if "${command[@]}" --version | grep -q '^data parallel: '; then
  for kind in scalar judge; do
    options=(-c conf.yaml --max-updates 10 --accumulate 2 --quiet)
    if [[ $kind == judge ]]; then options+=(--objective generative --model stage1 --judge.preamble none); fi
    "${command[@]}" "${options[@]}" --run "alone-$kind" 2> err || report "$kind in one process: $(cat err)"
    in_two "${options[@]}" --run "shared-$kind" || report "$kind in two processes: $(cat err.0 err.1)"
    for score in loss margin brier; do
      near "$kind in two processes: $score" "$(last_score "shared-$kind" $score)" "$(last_score "alone-$kind" $score)" 2e-3
    done
  done
fi

# Bad input.
: > empty
head -n 3 pairs.jsonl > bad
echo '{"prompt":"x","chosen":"same","rejected":"same"}' >> bad
refuses 'equal answers' 1 'bad:4' --train bad
refuses 'no comparison' 1 'empty' --train empty
echo '{"prompt":"x","chosen":"y"}' > bad
refuses 'half a pair' 1 'bad:1' --train bad
runs 'bad records left out' 'left out' --run left --max-updates 1 --skip-bad --train bad --train pairs.jsonl
refuses 'standard input' 2 'cannot be standard input' --train -
refuses 'no such objective' 2 "did you mean 'list'" --objective lst
refuses 'both spellings' 2 'not both' --objective.eps 0.1 --objective.label-smoothing 0.1
refuses 'second answers in stage 2' 2 'belongs to stage 1' --objective generative --objective.learn second
refuses 'noise in stage 1' 2 'stage 1 looks at none' --objective generative --objective.stage 1 --label-noise 0.1
refuses 'lengths in stage 1' 2 'stage 1 looks at no verdict' --objective generative --objective.stage 1 --length-match 0.1
refuses 'smoothing in stage 1' 2 'belong to stage 2' --objective generative --objective.stage 1 --objective.eps 0.1
refuses 'label of several tokens' 2 'label' --objective generative --judge.labels first --judge.labels second
refuses 'another objective has other options' 2 "unknown option '--objective.margin'" --objective.margin 1
refuses 'window too large' 2 'the model has 512 positions' --window 600
refuses 'other aspects' 1 'expected one of taste' --objective regression --aspects taste --train graded.jsonl --valid graded.jsonl
fails 'no model' 2 'missing --model' --train pairs.jsonl --valid valid.jsonl --run fresh --max-updates 1
fails 'nothing to train on' 2 'missing --train, --valid' --model lm --run fresh --max-updates 1
gives 'help' 'Usage: rm-train' --help
gives 'list of objectives' 'bradley-terry' --list-objectives
gives 'resolved configuration' 'init-from: lm' -c conf.yaml --dump-config
for option in --help --list-objectives; do full "$option" "$option"; done

finish
