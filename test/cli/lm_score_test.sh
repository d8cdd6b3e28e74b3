#!/usr/bin/env bash
# The real lm-score: scores of responses, perplexities by windows, bad models and bad input, messages.
# usage: lm_score_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/language_models.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/language_models.sh"
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need lm-score lm-generate
command=("$bin/lm-score" --threads 1)

random_model model qwen2
random_model begins mistral
model=(--model model)

# python CHECK: with `records`, the JSON of out
python() {
  python3 -c 'import json, math, sys
records = [json.loads(line) for line in open("out", encoding="utf-8")]
exec(sys.argv[1])' "$1" 2> trace
}

# Responses.
printf '%s\n' '{"id":"one","prompt":"the word","response":" is good","k":[1]}' '{"id":"two","prompt":"the word","responses":[" is good",""," is bad"]}' > answers
gives 'scores' '' "${model[@]}" --per-token < answers
lines 'scores' 2
python 'one, two = records
assert one["k"] == [1] and one["response"] == " is good"
s = one["scores"]
assert s["tokens"] == len(s["logprobs"]) and abs(sum(s["logprobs"]) - s["logprob"]) < 1e-9 and abs(s["mean"] * s["tokens"] - s["logprob"]) < 1e-9, s
assert len(two["scores"]) == 3 and abs(two["scores"][0]["logprob"] - s["logprob"]) < 1e-4
assert two["scores"][1]["tokens"] == 1' || report "scores: $(tail -n 1 trace)"
cp out scored
for options in '--batch-tokens 1' '--threads 3' '--stream' '--json'; do
  # shellcheck disable=SC2086
  gives "scores, $options" '' "${model[@]}" --per-token $options < answers
  python 'for old, new in zip(map(json.loads, open("scored", encoding="utf-8")), records):
    old, new = ([r["scores"]] if r["id"] == "one" else r["scores"] for r in (old, new))
    assert all(abs(a["logprob"] - b["logprob"]) < 1e-4 for a, b in zip(old, new))' || report "scores depend on $options: $(tail -n 1 trace)"
done
gives 'without the end' '' "${model[@]}" --no-end < answers
python 'old = json.loads(open("scored", encoding="utf-8").readline())["scores"]
assert records[0]["scores"]["tokens"] == old["tokens"] - 1
assert abs(records[0]["scores"]["logprob"] - sum(old["logprobs"][:-1])) < 1e-4' || report "--no-end: $(tail -n 1 trace)"
gives 'messages' '' "${model[@]}" --chat chatml < <(printf '%s\n' '{"prompt":[{"role":"user","content":"hello"}],"response":"hi"}')

# What lm-generate found has the same log-probability, where its text is cut into the same tokens.
for n in $(seq 30); do printf '{"prompt":"word %s"}\n' "$n"; done > prompts
"$bin/lm-generate" "${model[@]}" --samples 8 --max-new-tokens 2 --threads 1 --quiet < prompts > generated || report 'lm-generate failed'
gives 'what was generated' '' "${model[@]}" --no-end < generated
python 'compared = 0
for r in records:
    for h in r["hypotheses"]:
        if h["finish"] == "end" or "\ufffd" in h["text"] or h["scores"]["lm-tokens"] != h["length"]: continue
        compared += abs(h["scores"]["lm-logprob"] - h["logprob"]) < 1e-3
assert compared >= 20, compared' || report "generated and scored: $(tail -n 1 trace)"

# Scores that were there stay, and a second model's have a name of their own.
cp out once
gives 'second model' '' "${model[@]}" --no-end --name second < once
python 'assert records
for r in records:
    for h in r["hypotheses"]:
        s = h["scores"]
        assert "mean" in s and s["second-logprob"] == s["lm-logprob"] and s["second-tokens"] == s["lm-tokens"], s' || report "second model: $(tail -n 1 trace)"
cp out twice
fails 'name that is taken' 1 'hypothesis 1: "scores" has a "second-logprob" already; --name' "${model[@]}" --name second < twice
gives 'reward' '"scores":{"reward":3,"logprob":' "${model[@]}" < <(printf '%s\n' '{"prompt":"a","response":"b","scores":{"reward":3}}')
fails 'scores of another shape' 1 'record 1: "scores" is an array, expected an object' "${model[@]}" < <(printf '%s\n' '{"prompt":"a","response":"b","scores":[{"reward":3}]}')
# What ended at a limit has no end token to be scored.
gives 'finish' '' "${model[@]}" < generated
python 'assert records
for r in records:
    for h in r["hypotheses"]:
        if "\ufffd" in h["text"] or h["scores"]["lm-tokens"] - (h["finish"] == "end") != h["length"]: continue
        assert abs(h["scores"]["lm-logprob"] - h["logprob"]) < 1e-3, h' || report "finish: $(tail -n 1 trace)"

# A signal ends it, also while it waits for input, and leaves nothing behind.
mkfifo to
mkdir stopped
"${command[@]}" "${model[@]}" --output stopped/out --quiet < to 2> err &
child=$!
exec 8> to
head -n 1 answers >&8
for _ in $(seq 1000); do
  compgen -G 'stopped/.out.tmp-*' > made && break
  kill -0 "$child" 2> /dev/null || break
  sleep 0.1
done
kill -s TERM "$child"
found=0
wait "$child" 2> /dev/null || found=$?
child=""
exec 8>&-
[[ $found == 143 && -z $(ls -A stopped) ]] || report "SIGTERM: exit $found, leaves '$(ls -A stopped)': $(cat err)"

# Perplexity.
for n in $(seq 60); do printf 'line %s of a text with words\n' "$n"; done > text
gives 'perplexity' 'per token' "${model[@]}" --perplexity < text
gives 'perplexity' '' "${model[@]}" --perplexity --json < text
cp out whole
python 'r = records[0]
assert r["words"] == 60 * 8 and r["bytes"] == len(open("text").read()), r
for name, unit in (("ppl", "tokens"), ("word-ppl", "words"), ("byte-ppl", "bytes")):
    assert abs(math.log(r[name]) - r["nll"] / r[unit]) < 1e-9, r
assert abs(r["bits-per-byte"] * math.log(2) * r["bytes"] - r["nll"]) < 1e-6, r' || report "perplexity: $(tail -n 1 trace)"
for options in '--window 128 --stride 128' '--threads 2' '--batch-tokens 1'; do
  # shellcheck disable=SC2086
  gives "perplexity, $options" '' "${model[@]}" --perplexity --json $options < text
  python 'assert abs(records[0]["nll"] - json.load(open("whole"))["nll"]) < 1e-2' || report "perplexity depends on $options: $(cat out whole)"
done
gives 'overlapping windows' '' "${model[@]}" --perplexity --json --window 64 --stride 16 < text
python 'old = json.load(open("whole"))
assert records[0]["tokens"] == old["tokens"] and records[0]["nll"] != old["nll"]' || report "overlapping windows: $(cat out)"
gives 'begin symbol' '' --model begins --perplexity --json < <(printf 'a')
python 'assert records[0]["tokens"] == 2' || report "begin symbol: $(cat out)"
printf '%s\n' '{"text":"one document","more":1}' '{"text":""}' '{"text":"another"}' > documents
gives 'documents' '"words":3' "${model[@]}" --perplexity --json --format jsonl < documents
sed 's/"text"/"body"/' documents > bodies
gives 'documents in another field' '"words":3' "${model[@]}" --perplexity --json --format jsonl --text-field body < bodies
gzip -k text
gives 'gz' "$(cat whole)" "${model[@]}" --perplexity --json --input text.gz < /dev/null

head -n 20 text > first
tail -n 40 text > second
gives 'several files' '' "${model[@]}" --perplexity --json --input first --input second < /dev/null
python 'old = json.load(open("whole"))
assert records[0]["bytes"] == old["bytes"] and records[0]["words"] == old["words"] and records[0]["tokens"] >= old["tokens"], records' || report "several files: $(cat out)"
python3 -c 'print("zq" * 3000)' > one-word
gives 'perplexity beyond numbers' '"word-ppl":null' "${model[@]}" --perplexity --json < one-word
grep -qF 'warning: the perplexity per word is more than a number holds' err || report "perplexity beyond numbers: $(cat err)"

# Bad input.
long=$(printf 'xyz %.0s' {1..100})
fails 'too long' 1 'standard input:1: record long: prompt and response have' "${model[@]}" < <(printf '{"id":"long","prompt":"%s","response":"x"}\n' "$long")
gives 'cut prompt' '' "${model[@]}" --truncate left < <(printf '{"id":"long","prompt":"%s","response":"x"}\n' "$long")
grep -qF '1 prompts were too long' err || report "--truncate left: no count: $(cat err)"
fails 'response too long' 1 'record long' "${model[@]}" --truncate left < <(printf '{"id":"long","prompt":"x","response":"%s"}\n' "$long")
number=0
while IFS= read -r record; do
  number=$((number + 1))
  printf '%s\n' "$record" > bad
  fails "bad record $number" 1 'bad:1: ' "${model[@]}" --input bad < /dev/null
done < <(printf '%s\n' 'no JSON' '{"id":"a","prompt":"x"}' '{"id":"b","response":"x"}' '{"id":"c","prompt":"","response":"x"}' '{"id":"d","prompt":"x","response":1}' \
  '{"id":"e","prompt":"x","responses":[]}' '{"id":"f","prompt":"x","response":"y","responses":["z"]}' '{"id":"g","prompt":"x","hypotheses":[{}]}')
{ cat bad; cat answers; } > mixed
gives 'bad record left out' '' "${model[@]}" --skip-bad < mixed
lines 'bad record left out' 2
broken_texts
fails 'invalid UTF-8' 1 'standard input:2' "${model[@]}" --perplexity < broken
fails 'no text' 1 'there is no text' "${model[@]}" --perplexity < /dev/null
fails 'no document' 1 'bad:1' "${model[@]}" --perplexity --format jsonl --input bad < /dev/null
fails 'no model' 1 'cannot open the model nowhere' --model nowhere < answers

# Wrong flags: exit 2.
fails 'nothing given' 2 'missing --model' < answers
fails 'window without a text' 2 '--window has no effect without --perplexity' "${model[@]}" --window 5 < answers
fails 'several files of records' 2 '--input takes several files with --perplexity only' "${model[@]}" --input answers --input answers < /dev/null
fails 'large window' 2 '--window 500 is more than the 128 positions' "${model[@]}" --perplexity --window 500 < text
fails 'large stride' 2 '--stride is 9' "${model[@]}" --perplexity --window 8 --stride 9 < text
fails 'tokens of a text' 2 '--per-token has no effect with --perplexity' "${model[@]}" --perplexity --per-token < text
fails 'template of a text' 2 '--chat has no effect with --perplexity' "${model[@]}" --perplexity --chat chatml < text
gives 'help' 'Usage: lm-score' -h < /dev/null
gives 'version' 'kernels: ' --version < /dev/null
full 'scores' "${model[@]}" < answers
full 'perplexity' "${model[@]}" --perplexity < text

finish
