#!/usr/bin/env bash
# The real rm-score: rewards, judges, the best of several, agreement with preferences, serving, bad models and bad input, messages.
# usage: rm_score_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/language_models.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/language_models.sh"
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need rm-score lm-generate int8-quantize
command=("$bin/rm-score" --threads 1)

random_model model llama2-gqa --set max_position_embeddings=1024

# with_head FROM TO HEADS [without-output] [nan]: the model with that many rows of score.weight
with_head() {
  cp -r "$1" "$2"
  python3 - "$2" "$3" "${@:4}" << 'END' || report "with_head $*"
import json, math, random, struct, sys
directory, heads, more = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
path = directory + "/model.safetensors"
data = open(path, "rb").read()
size = struct.unpack_from("<Q", data)[0]
header, body = json.loads(data[8:8 + size]), data[8 + size:]
config = json.load(open(directory + "/config.json"))
width = config["hidden_size"]
tensors = {name: (entry["dtype"], entry["shape"], body[entry["data_offsets"][0]:entry["data_offsets"][1]]) for name, entry in header.items() if name != "__metadata__"}
draw = random.Random(heads)
numbers = [draw.gauss(0, 0.5) for _ in range(heads * width)]
if "nan" in more:
    numbers[0] = math.nan
tensors["score.weight"] = ("F32", [heads, width], struct.pack(f"<{len(numbers)}f", *numbers))
if "without-output" in more:
    del tensors["lm_head.weight"]
    config["architectures"] = ["LlamaForSequenceClassification"]
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(heads)}
if "named" in more:
    config["architectures"] = ["LlamaForSequenceClassification"]
    config["id2label"] = {"0": "helpful", "1": "short"}
json.dump(config, open(directory + "/config.json", "w"))
header, offset = {}, 0
for name, (dtype, shape, values) in tensors.items():
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(values)]}
    offset += len(values)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(values for _, _, values in tensors.values()))
END
}

with_head model rm 1
with_head model bare 1 without-output
with_head model aspects 2 named
with_head model broken 1 nan
cp -r model judge
printf 'format: "1"\nlabels:\n  - A\n  - B\npreamble: Which is better?\n' > judge/judge.yaml
rm=(--model rm)

# python CHECK: with `records`, the JSON of out
python() {
  python3 -c 'import json, math, sys
records = [json.loads(line) for line in open("out", encoding="utf-8")]
near = lambda a, b: abs(a - b) < 1e-4
exec(sys.argv[1])' "$1" 2> trace
}

cat > answers << 'END'
{"id":"one","prompt":"Say something good.","response":"The world is good.","k":[1]}
{"id":"list","prompt":"Say something good.","responses":["The world is good.","No.","Perhaps it is, and perhaps not."]}
{"id":"hypotheses","prompt":[{"role":"user","content":"Say something good."}],"hypotheses":[{"text":"The world is good.","scores":{"mean":-1}},{"text":"No."}]}
END

# Rewards, the same however they are computed.
gives 'rewards' '"id":"one"' "${rm[@]}" < answers
lines 'rewards' 3
python 'one, several, hypotheses = records
assert one["k"] == [1] and math.isfinite(one["reward"]), one
assert len(several["rewards"]) == 3 and near(several["rewards"][0], one["reward"]) and len(set(several["rewards"])) == 3, several
first, second = (h["scores"] for h in hypotheses["hypotheses"])
assert first["mean"] == -1 and near(first["reward"], one["reward"]) and near(second["reward"], several["rewards"][1]), hypotheses' || report "rewards: $(tail -n 1 trace)"
cp out scored
for options in '--batch-tokens 1' '--threads 3' '--serve' '--no-share-prompts' '--window 1000'; do
  # shellcheck disable=SC2086
  gives "rewards, $options" '' "${rm[@]}" $options < answers
  python 'old = [json.loads(line) for line in open("scored", encoding="utf-8")]
assert all(near(a, b) for a, b in zip(old[1]["rewards"], records[1]["rewards"])) and near(old[0]["reward"], records[0]["reward"])' || report "rewards depend on $options: $(tail -n 1 trace)"
done
gives 'rewards, three threads' '' "${rm[@]}" --threads 3 < answers
cmp -s out scored || report 'rewards depend on threads'
grep -q '^.*6 answers of [0-9]* tokens scored in [0-9.]* s: [0-9.]* answers/s' err || report "no summary: $(cat err)"
gives 'a model without output layer' '' --model bare < answers
cmp -s out scored || report 'a model without output layer scores otherwise'
gives 'another name' '"two":' "${rm[@]}" --name two < scored
python 'assert records[0]["two"] == records[0]["reward"] and records[1]["twos"] == records[1]["rewards"]' || report "another name: $(tail -n 1 trace)"
fails 'a name that is taken' 1 'record one: it has "reward" already; --name' "${rm[@]}" < scored
sed 's/^{/{"best":0,/' answers > told
gives 'a best of another where none is told' '"best":0' "${rm[@]}" < told
gives 'a best of another where one alone is kept' '"best":0' "${rm[@]}" --best-of-n < <(sed -n 3p told)
fails 'a best that is there' 1 'record list: it has "best" already' --model judge --rank scan < <(sed -n 2p told)
fails 'a best of hypotheses that is there' 1 'record hypotheses: it has "best" already' --model judge --rank tournament < <(sed -n 3p told)
gives 'aspects' '"scores":{"helpful":' --model aspects < answers
python 'one, several, hypotheses = records
assert near(one["reward"], (one["scores"]["helpful"] + one["scores"]["short"]) / 2) and len(several["scores"]) == 3
assert set(hypotheses["hypotheses"][0]["scores"]) == {"mean", "helpful", "short", "reward"}' || report "aspects: $(tail -n 1 trace)"
gives 'one aspect' '' --model aspects --aspect short < answers
python 'assert records[0]["reward"] == records[0]["scores"]["short"]' || report "one aspect: $(tail -n 1 trace)"
gives 'an ensemble' '' "${rm[@]}" --model bare --ensemble min < answers
cmp -s out scored || report 'an ensemble of a model with itself scores otherwise'
"$bin/int8-quantize" --model rm --output int8 --quiet > /dev/null 2> err || report "int8-quantize: $(cat err)"
gives '8 bits' '' --model int8 < answers
python 'old = [json.loads(line) for line in open("scored", encoding="utf-8")]
assert all(abs(a - b) < 0.5 for a, b in zip(old[1]["rewards"], records[1]["rewards"]))' || report "8 bits: $(tail -n 1 trace)"
"$bin/lm-generate" --model rm --max-new-tokens 2 --quiet <<< '{"prompt":"a"}' > generated 2> err || report "lm-generate of a reward model: $(cat err)"

if compgen -G "$bin/../lib/libseqmill.so*" > made; then
  for name in rm bare; do
    gives "LibTorch, $name" '' --model "$name" --backend torch < answers
    python 'old = [json.loads(line) for line in open("scored", encoding="utf-8")]
assert all(near(a, b) for a, b in zip(old[1]["rewards"], records[1]["rewards"]))' || report "LibTorch, $name: $(tail -n 1 trace) $(cat err)"
  done
fi

# Exported and read again.
if [[ -x $bin/lm-train ]]; then
  gives 'aspects' '' --model aspects < answers
  cp out before
  "$bin/lm-train" --init-from aspects --export-hf exported --quiet > /dev/null 2> err || report "export: $(cat err)"
  gives 'exported' '' --model exported < answers
  cmp -s out before || report 'an exported reward model scores otherwise'
fi

# A judge compares.
gives 'a judge' '"rewards":' --model judge < <(sed -n 2,3p answers)
python 'several, hypotheses = records
assert all(0 < r < 1 for r in several["rewards"]) and near(sum(several["rewards"]), 1.5), several
assert near(sum(h["scores"]["reward"] for h in hypotheses["hypotheses"]), 1), hypotheses' || report "a judge: $(tail -n 1 trace)"
cp out judged
for options in '--no-share-prompts' '--threads 2' '--batch-tokens 1'; do
  # shellcheck disable=SC2086
  gives "a judge, $options" '' --model judge $options < <(sed -n 2,3p answers)
  python 'old = json.loads(open("judged", encoding="utf-8").readline())
assert all(near(a, b) for a, b in zip(old["rewards"], records[0]["rewards"]))' || report "a judge depends on $options: $(tail -n 1 trace)"
done
for rank in scan tournament; do gives "$rank" '"best":' --model judge --rank "$rank" < <(sed -n 2p answers); done
gives 'against a reference' '"reward":' --model judge < <(printf '%s\n' '{"prompt":"q","response":"same","reference":"same"}')
python 'assert records[0]["reward"] == 0.5, records' || report "against a reference: $(tail -n 1 trace)"
gives 'a list against a reference' '"rewards":[0.5,' --model judge --rank reference < <(printf '%s\n' '{"prompt":"q","responses":["same","other"],"reference":"same"}')
fails 'a single answer' 1 'record one: it has no string "reference"' --model judge < <(sed -n 1p answers)
fails 'a list of one' 1 'it has a single answer; a judge compares two or more' --model judge < <(printf '%s\n' '{"prompt":"q","responses":["one"]}')

# The best of several.
gives 'best of n' '"hypotheses":[{"text":' "${rm[@]}" --best-of-n < <(sed -n 3p answers)
python 'old = [json.loads(line) for line in open("scored", encoding="utf-8")][2]
best = max(old["hypotheses"], key=lambda h: h["scores"]["reward"])
assert records[0]["hypotheses"] == [best], records' || report "best of n: $(tail -n 1 trace)"
gives 'best of n by a judge' '"reward":' --model judge --best-of-n < <(sed -n 3p answers)
python 'assert len(records[0]["hypotheses"]) == 1 and records[0]["hypotheses"][0]["scores"]["reward"] >= 0.5' || report "best of n by a judge: $(tail -n 1 trace)"
gives 'curve' '"curve":[{"n":1,' "${rm[@]}" --best-of 1,2 --json < <(sed -n 3p answers)
python 'old = [json.loads(line) for line in open("scored", encoding="utf-8")][2]
rewards = [h["scores"]["reward"] for h in old["hypotheses"]]
one, two = records[0]["curve"]
assert near(one["reward"], rewards[0]) and near(one["reward-any"], sum(rewards) / 2) and near(two["reward"], max(rewards)) and near(two["reward-any"], max(rewards))' ||
  report "curve: $(tail -n 1 trace)"
gives 'curve by another score' 'gold' "${rm[@]}" --best-of 2 --gold gold < <(printf '%s\n' '{"prompt":"q","hypotheses":[{"text":"a","scores":{"gold":3}},{"text":"b","scores":{"gold":3}}]}')
gives 'curve of a judge' '"reward":0.5' --model judge --best-of 1,2 --json < <(sed -n 3p answers)
fails 'too few hypotheses' 1 'record hypotheses: it has 2 hypotheses, --best-of asks for the best of 4' "${rm[@]}" --best-of 4 < <(sed -n 3p answers)
fails 'nothing to choose from' 1 'record one: it has no "hypotheses"' "${rm[@]}" --best-of-n < answers

# Agreement with preferences. What the model prefers is preferred in all pairs but one.
python3 - << 'END' > pairs
import json
scores = json.loads(open("scored", encoding="utf-8").read().splitlines()[1])
order = [text for _, text in sorted(zip(scores["rewards"], scores["responses"]), reverse=True)]
pair = lambda i, a, b, subset: print(json.dumps({"id": f"p{i}", "prompt": scores["prompt"], "chosen": a, "rejected": b, "subset": subset}))
pair(1, order[0], order[1], "easy")
pair(2, order[0], order[2], "easy")
pair(3, order[1], order[2], "more")
pair(4, order[2], order[1], "more")
END
gives 'pairs' '"accuracy":0.75' "${rm[@]}" --pairs --json --records kept < pairs
python 'r = records[0]
assert r["n"] == 4 and r["ties"] == 0 and r["subsets"]["easy"]["accuracy"] == 1 and r["subsets"]["more"]["accuracy"] == 0.5 and r["subset-mean"] == 0.75, r
assert 0 <= r["ci95"][0] <= 0.75 <= r["ci95"][1] <= 1 and 0 <= r["ece"] <= 1 and len(r["risk-coverage"]["accuracy"]) == 10
assert "order-consistency" not in r
kept = [json.loads(line) for line in open("kept", encoding="utf-8")]
assert [k["id"] for k in kept] == ["p1", "p2", "p3", "p4"] and [k["correct"] for k in kept] == [True, True, True, False]
assert all(near(k["score_chosen"] - k["score_rejected"], k["margin"]) for k in kept) and near(sum(k["margin"] for k in kept) / 4, r["margin"])' || report "pairs: $(tail -n 1 trace)"
grep -q '4 pairs of [0-9]* tokens scored in [0-9.]* s: [0-9.]* pairs/s' err || report "no summary of pairs: $(cat err)"
gives 'table' 'length-matched' "${rm[@]}" --pairs < pairs
grep -q '^all  *0.7500' out || report "table: $(cat out)"
cp out table
for options in '--threads 2' '--batch-tokens 1'; do
  # shellcheck disable=SC2086
  gives "pairs, $options" '' "${rm[@]}" --pairs $options < pairs
  cmp -s out table || report "pairs depend on $options"
done
gives 'pairs for a judge' '"order-consistency":' --model judge --pairs --json --records kept < pairs
python 'kept = [json.loads(line) for line in open("kept", encoding="utf-8")]
assert all(near(k["score_chosen"] + k["score_rejected"], 1) and near(sum(k["orders"]) / 2, k["score_chosen"]) for k in kept)
assert near(kept[2]["score_chosen"], kept[3]["score_rejected"])' || report "pairs for a judge: $(tail -n 1 trace)"
gives 'RM-Bench' '"hard":' "${rm[@]}" --pairs --json < <(printf '%s\n' '{"id":"r","prompt":"q","chosen":["a","aa","**aa**"],"rejected":["b","bb","**bb**"],"domain":"chat"}')
python 'assert records[0]["n"] == 9 and near(records[0]["style-mean"], (records[0]["easy"] + records[0]["normal"] + records[0]["hard"]) / 3)' || report "RM-Bench: $(tail -n 1 trace)"
sed 's/"chosen"/"good"/' pairs > renamed
fails 'another field' 1 'standard input:1: record p1' "${rm[@]}" --pairs < renamed
gives 'fields' '"accuracy":0.75' "${rm[@]}" --pairs --json --fields chosen=good < renamed
{ printf '%s\n' '{"id":"same","prompt":"q","chosen":"a","rejected":"a"}'; cat pairs; } > mixed
fails 'equal answers' 1 'record same' "${rm[@]}" --pairs < mixed
gives 'equal answers left out' '"left-out":1' "${rm[@]}" --pairs --json --skip-bad < mixed
fails 'no pairs' 1 'no pair' "${rm[@]}" --pairs < /dev/null

# Served: each answer comes before the next record is there; a bad record is answered too.
mkfifo to from
"${command[@]}" "${rm[@]}" --serve --skip-bad < to > from 2> err &
child=$!
exec 8> to 9< from
for line in 1 2; do
  sed -n "${line}p" answers >&8
  IFS= read -r -t 60 answer <&9 || report "no answer $line: $(cat err)"
  [[ $answer == "$(sed -n "${line}p" scored)" ]] || report "served: '$answer'"
done
printf '{"id":"bad","prompt":"x"}\nno JSON\n' >&8
IFS= read -r -t 60 answer <&9 || report 'no answer to a bad record'
[[ $answer == '{"id":"bad","error":"'*'record bad'* ]] || report "a bad record is answered by $answer"
IFS= read -r -t 60 answer <&9 || report 'no answer to what is no record'
[[ $answer == '{"id":null,"error":'* ]] || report "what is no record is answered by $answer"
kill -s TERM "$child"
found=0
wait "$child" 2> /dev/null || found=$?
child=""
exec 8>&- 9<&-
[[ $found == 143 ]] || report "SIGTERM while serving: exit $found: $(cat err)"

# What is too long is cut and counted, and changes nothing else.
long=$(printf 'word %.0s' {1..1500})
gives 'long prompt' '"reward":' "${rm[@]}" < <(printf '{"prompt":"%s","response":"x"}\n' "$long")
grep -qF '1 prompts' err || report "long prompt: no count: $(cat err)"
gives 'long answer' '"reward":' "${rm[@]}" --window 64 < <(printf '{"prompt":"q","response":"%s"}\n' "$long")
grep -qF '1 answers were too long' err || report "long answer: no count: $(cat err)"

# Bad models and bad input.
fails 'no reward model' 1 'model is no reward model: expected a model with a head that scores' --model model < answers
fails 'a score that is no number' 1 'standard input:1: record one: answer 1: the model gives a score of nan' --model broken < answers
gives 'scores that are no numbers left out' '' --model broken --skip-bad < answers
lines 'scores that are no numbers left out' 0
grep -qF '3 bad records were left out' err || report "--skip-bad: no count: $(cat err)"
cp -r judge two-tokens
printf 'format: "1"\nlabels:\n  - first answer\n  - second answer\npreamble: Which?\n' > two-tokens/judge.yaml
fails 'labels of several tokens' 2 'tokens' --model two-tokens < answers
fails 'judge and scorer' 2 'cannot be combined' "${rm[@]}" --model judge < answers
number=0
while IFS= read -r record; do
  number=$((number + 1))
  printf '%s\n' "$record" > bad
  fails "bad record $number" 1 'bad:1: ' "${rm[@]}" --input bad < /dev/null
done < <(printf '%s\n' 'no JSON' '{"id":"a","prompt":"x"}' '{"id":"b","response":"x"}' '{"id":"c","prompt":"","response":"x"}' '{"id":"d","prompt":"x","response":1}' \
  '{"id":"e","prompt":"x","responses":[]}' '{"id":"f","prompt":"x","response":"y","responses":["z"]}' '{"id":"g","prompt":"x","hypotheses":[{}]}' \
  '{"id":"h","prompt":"x","hypotheses":[]}')
{ cat bad; cat answers; } > mixed
gives 'bad record left out' '' "${rm[@]}" --skip-bad < mixed
lines 'bad record left out' 3
fails 'no model' 1 'cannot open the model nowhere' --model nowhere < answers

# Wrong flags: exit 2.
fails 'nothing given' 2 'missing --model' < answers
fails 'two modes' 2 '--pairs, --best-of-n, --best-of and --correlate exclude one another' "${rm[@]}" --pairs --best-of-n < answers
fails 'rank of a scorer' 2 '--rank is for judges' "${rm[@]}" --rank scan < answers
fails 'unknown aspect' 2 '--aspect other: the model scores helpful, short' --model aspects --aspect other < answers
fails 'large window' 2 '--window 5000 is more than the 1024 positions' "${rm[@]}" --window 5000 < answers
fails 'bad curve' 2 '--best-of 1,x: expected numbers' "${rm[@]}" --best-of 1,x < answers
fails 'gold of the same name' 2 '--gold reward is what the report calls something else' "${rm[@]}" --best-of 1 --gold reward < answers
fails 'served pairs' 2 '--serve has no effect with --pairs' "${rm[@]}" --pairs --serve < pairs
fails 'records of nothing' 2 '--records has no effect without --pairs' "${rm[@]}" --records x < answers
gives 'help' 'Usage: rm-score' -h < /dev/null
gives 'version' 'kernels: ' --version < /dev/null
full 'rewards' "${rm[@]}" < answers
full 'pairs' "${rm[@]}" --pairs < pairs

finish
