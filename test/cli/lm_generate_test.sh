#!/usr/bin/env bash
# The real lm-generate: records, samples, beams, limits, streams, resuming, bad models and bad input, messages.
# usage: lm_generate_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/language_models.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/language_models.sh"
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need lm-generate
generate=$bin/lm-generate
command=("$generate" --threads 1)

random_model model qwen2
model=(--model model)
for n in $(seq 40); do printf '{"id":"r%s","prompt":"word %s and","n":%s}\n' "$n" "$n" "$n"; done > prompts

# python CHECK: with `records`, those of out
python() {
  python3 -c 'import json, sys
records = [json.loads(line) for line in open("out", encoding="utf-8")]
exec(sys.argv[1])' "$1" 2> trace
}

# One record out for one in, in order, with what was in it.
gives 'samples' '' "${model[@]}" --samples 3 --max-new-tokens 9 < prompts
lines 'samples' 40
cp out sampled
python 'for n, r in enumerate(records, 1):
    assert list(r)[:3] == ["id", "prompt", "n"] and r["id"] == "r%d" % n and r["n"] == n and r["prompt"] == "word %d and" % n, r
    assert len(r["hypotheses"]) == 3
    for h in r["hypotheses"]:
        assert h["origin"] == "model" and h["finish"] in ("end", "length") and h["length"] <= 9 and h["logprob"] < 0, h
        assert abs(h["scores"]["mean"] * (h["length"] + (h["finish"] == "end")) - h["logprob"]) < 1e-9, h
        assert (h["finish"] == "length") == (h["length"] == 9), h' || report "samples: $(tail -n 1 trace)"
grep -qE '40 prompts of [0-9]+ tokens, [0-9]+ tokens generated in .* tokens/s, .* prompts/s, the first after' err || report "samples: no summary: $(cat err)"

# The same bytes whatever the batch, the threads and the way the input comes.
for options in '--batch 1' '--batch 5 --threads 2' '--batch 200 --threads 3' '--stream --batch 4'; do
  # shellcheck disable=SC2086
  gives "samples, $options" '' "${model[@]}" --samples 3 --max-new-tokens 9 $options < prompts
  cmp -s out sampled || report "samples depend on $options"
done
gives 'half of the prompts' '' "${model[@]}" --samples 3 --max-new-tokens 9 < <(head -n 20 prompts)
cmp -s out <(head -n 20 sampled) || report 'samples depend on the prompts that follow'
gives 'other seed' '' "${model[@]}" --samples 3 --max-new-tokens 9 --seed 2 < prompts
cmp -s out sampled && report 'the seed changes no sample'

# Choosing tokens.
gives 'greedy' '' "${model[@]}" --temperature 0 --max-new-tokens 12 < prompts
cp out greedy
for options in '--top-k 1' '--top-p 0.000001' '--min-p 1' '--temperature 0.001'; do
  # shellcheck disable=SC2086
  gives "$options" '' "${model[@]}" --max-new-tokens 12 $options < prompts
  cmp -s out greedy || report "$options is not greedy"
done
gives 'repetition penalty' '' "${model[@]}" --temperature 0 --max-new-tokens 12 --repetition-penalty 5 < prompts
cmp -s out greedy && report 'the repetition penalty changes nothing'
gives 'length' '' "${model[@]}" --min-new-tokens 7 --max-new-tokens 7 < prompts
python 'assert all(h["length"] == 7 for r in records for h in r["hypotheses"])' || report '--min-new-tokens 7 --max-new-tokens 7: other lengths'
gives 'beam' '' "${model[@]}" --beam 4 --samples 2 --max-new-tokens 12 < prompts
cp out beam
python 'greedy = [json.loads(line) for line in open("greedy", encoding="utf-8")]
better = sum(b["hypotheses"][0]["logprob"] >= g["hypotheses"][0]["logprob"] - 1e-4 for b, g in zip(records, greedy))
assert better >= 36, better
for r in records:
    a, b = r["hypotheses"]
    assert a["scores"]["search"] >= b["scores"]["search"] and abs(a["scores"]["search"] - a["scores"]["mean"]) < 1e-9, r' || report "beam: $(tail -n 1 trace)"
gives 'beam of two' '' "${model[@]}" --beam 4 --samples 2 --max-new-tokens 12 --threads 2 --batch 1 < prompts
cmp -s out beam || report 'the beam depends on batch and threads'
gives 'stop' '' "${model[@]}" --max-new-tokens 60 --stop a --stop e --stop $'\n' < prompts
python 'for r in records:
    for h in r["hypotheses"]:
        assert not set(h["text"]) & set("ae\n"), h
assert any(h["finish"] == "stop" for r in records for h in r["hypotheses"])' || report "--stop: $(tail -n 1 trace)"

# Lines of text, messages, files.
printf 'one line\nand another' > two-lines
gives 'text' '"prompt":"one line"' "${model[@]}" --format text --max-new-tokens 4 < two-lines
lines 'text' 2
printf '%s\n' '{"prompt":[{"role":"system","content":"be brief"},{"role":"user","content":"hello"}]}' > messages
gives 'messages' '"content":"be brief"' "${model[@]}" --chat chatml --max-new-tokens 4 < messages
gives 'file output' '' "${model[@]}" --samples 3 --max-new-tokens 9 --input prompts --output written < /dev/null
cmp -s written sampled || report 'a file output differs from standard output'
: > empty
gives 'no prompts' '' "${model[@]}" < empty
lines 'no prompts' 0

# The window of the model: 128 positions.
long=$(printf 'xyz %.0s' {1..100})
printf '{"id":"long","prompt":"%s"}\n' "$long" > long
fails 'prompt too long' 1 'standard input:1: record long: the prompt has' "${model[@]}" < long
gives 'cut prompt' '' "${model[@]}" --truncate left --min-new-tokens 5 --max-new-tokens 5 < long
grep -qF '1 prompts were too long and lost their first tokens' err || report "--truncate left: no count: $(cat err)"
grep -qE 'the longest had [0-9]+ tokens and keeps 123, of 128 positions' err || report "--truncate left: no lengths: $(cat err)"
gives 'no more is cut than must be' '' "${model[@]}" --truncate none --max-new-tokens 1000 --output whole < <(head -n 1 prompts)
gives 'no more is cut than must be' '' "${model[@]}" --truncate left --max-new-tokens 1000 --output left < <(head -n 1 prompts)
cmp -s whole left || report '--truncate left changes a prompt that fits'
printf '{"id":"long","prompt":"%s"}\n' "${long:0:100}" > near
gives 'up to the window' '"finish":"length"' "${model[@]}" --min-new-tokens 1 --temperature 0 --repetition-penalty 1.5 --max-new-tokens 1000 < near
python 'assert records[0]["hypotheses"][0]["length"] < 128' || report 'more tokens than positions'

# --stream answers before the input ends, and a killed call that resumes gives what one that was not interrupted gives. The limits of read only keep a
# failure from waiting for ever.
mkfifo to
"${command[@]}" "${model[@]}" --samples 3 --max-new-tokens 9 --stream --resume --output resumed --quiet < to 2> err &
child=$!
exec 8> to
head -n 7 prompts >&8
for _ in $(seq 1000); do
  [[ -e resumed && $(wc -l < resumed) == 7 ]] && break
  kill -0 "$child" 2> /dev/null || break
  sleep 0.1
done
[[ $(wc -l < resumed) == 7 ]] || report "--stream: $(wc -l < resumed) answers to 7 prompts before the end of the input: $(cat err)"
fails 'file in use' 1 'another process' "${model[@]}" --samples 3 --resume --output resumed < prompts
kill -9 "$child"
wait "$child" 2> /dev/null
child=""
exec 8>&-
cmp -s resumed <(head -n 7 sampled) || report 'a killed call wrote other records'
head -c 100 <(sed -n 8p sampled) >> resumed
gives 'resume' '' "${model[@]}" --samples 3 --max-new-tokens 9 --resume --output resumed < prompts
cmp -s resumed sampled || report 'a resumed output differs from that of one call'
grep -qF 'resumed holds 7 records already' err || report "resume: $(cat err)"
gives 'resume what is complete' '' "${model[@]}" --samples 3 --max-new-tokens 9 --resume --output resumed < prompts
cmp -s resumed sampled || report 'resuming what is complete changes it'
fails 'resume with other samples' 1 'resumed:1 has 3 hypotheses, not --samples 2' "${model[@]}" --samples 2 --resume --output resumed < prompts
fails 'resume with other prompts' 1 'resumed:1 has the id r1' "${model[@]}" --samples 3 --resume --output resumed < <(tail -n 5 prompts)
fails 'resume with fewer prompts' 1 'has 40 records' "${model[@]}" --samples 3 --resume --output resumed < <(head -n 5 prompts)
cp -r model other
fails 'resume with another model' 1 "is of the model 'model', not 'other'" --model other --samples 3 --resume --output resumed < prompts
cmp -s resumed sampled || report 'a refused call changes the file'
# What was begun with other options, and what another program wrote, stays as it is.
mkdir begun
"${command[@]}" "${model[@]}" --max-new-tokens 9 --stream --batch 1 --resume --output begun/out --quiet < <(head -n 2 prompts; echo 'no JSON') 2> err && report 'no JSON is no error'
cp begun/out before
[[ -s before && -e begun/out.resume ]] || report "a call that failed left $(ls begun)"
fails 'resume with another temperature' 1 'begun/out was begun with --temperature "1", and this call has "0.5"' "${model[@]}" --max-new-tokens 9 --temperature 0.5 --resume --output begun/out < prompts
fails 'resume with another seed' 1 '--seed "1", and this call has "2"' "${model[@]}" --max-new-tokens 9 --seed 2 --resume --output begun/out < prompts
cmp -s before begun/out || report 'a refused call changes the file'
gives 'resume with the same options' '' "${model[@]}" --max-new-tokens 9 --resume --output begun/out --batch 3 < prompts
[[ $(ls begun) == out ]] || report "beside what is complete stands $(ls begun)"
printf 'a file without a line end' > foreign
fails 'resume of a foreign file' 1 'is not the beginning of a record' "${model[@]}" --resume --output foreign < prompts
[[ $(cat foreign) == 'a file without a line end' && ! -e foreign.resume ]] || report "a refused call changes a foreign file: $(cat foreign)"

# A signal ends it, also while it waits for input, and leaves nothing behind.
mkdir stopped
for signal in TERM HUP; do
  "${command[@]}" "${model[@]}" --output stopped/out --quiet < to 2> err &
  child=$!
  exec 8> to
  head -n 3 prompts >&8
  for _ in $(seq 1000); do
    compgen -G 'stopped/.out.tmp-*' > made && break
    kill -0 "$child" 2> /dev/null || break
    sleep 0.1
  done
  kill -s "$signal" "$child"
  found=0
  wait "$child" 2> /dev/null || found=$?
  child=""
  exec 8>&-
  [[ $found == $((128 + $(kill -l "$signal"))) ]] || report "SIG$signal: exit $found: $(cat err)"
  grep -qF 'stopped by signal' err || report "SIG$signal: $(cat err)"
  [[ -z $(ls -A stopped) ]] || report "SIG$signal leaves $(ls -A stopped)"
done

fails 'resume of standard output' 2 '--resume needs an --output file' "${model[@]}" --resume < prompts

# LibTorch gives the same but for rounding.
if compgen -G "$bin/../lib/libseqmill.so*" > made; then
  gives 'LibTorch' '' "${model[@]}" --samples 3 --max-new-tokens 9 --backend torch < prompts
  python 'engine = [json.loads(line) for line in open("sampled", encoding="utf-8")]
pairs = [(a, b) for r, s in zip(engine, records) for a, b in zip(r["hypotheses"], s["hypotheses"])]
same = sum(a["text"] == b["text"] and abs(a["logprob"] - b["logprob"]) < 1e-3 for a, b in pairs)
assert len(pairs) == 120 and same >= 114, same' || report "LibTorch: $(tail -n 1 trace)"
fi

# What the model is.
gives 'describe' 'positions   128' "${model[@]}" --describe < /dev/null
for text in 'parameters  ' 'weights     ' 'cache       ' 'memory      ' 'vocabulary  ' 'template    plain'; do
  grep -qF "$text" out || report "--describe: no '$text' in $(cat out)"
done
head -c 20000 model/model.safetensors > other/model.safetensors
fails 'truncated weights' 1 'other/model.safetensors' --model other < prompts
cp model/model.safetensors other
sed 's/"qwen2"/"falcon"/' model/config.json > other/config.json
fails 'foreign architecture' 1 "model_type 'falcon' is not supported" --model other < prompts
sed 's/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 3/' model/config.json > other/config.json
fails 'missing layers' 1 'model.layers.2' --model other < prompts
cp model/config.json other
# Sizes of a configuration that no memory holds, or no number.
for edit in 's/"num_attention_heads": *[0-9]*/"num_attention_heads": 2305843009213693959, "head_dim": 8/' 's/"num_hidden_layers"/"head_dim": 2305843009213693960, "num_hidden_layers"/' \
  's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 9223372036854775807/' 's/"num_attention_heads": *[0-9]*/"num_attention_heads": 16777216, "head_dim": 1024/'; do
  sed "$edit" model/config.json | sed -E ':a;N;$!ba;s/("head_dim": [0-9]+)(.*), *"head_dim": *[0-9]+/\1\2/' > other/config.json
  cmp -s model/config.json other/config.json && report "no such size: $edit"
  fails "hostile size, $edit" 1 'model.' --model other < prompts
  fails "hostile size described, $edit" 1 'model.' --model other --describe < prompts
done
cp model/config.json other
rm other/tokenizer.json
fails 'no tokeniser' 1 'other' --model other < prompts
fails 'no model' 1 'cannot open the model nowhere' --model nowhere < prompts
fails 'not a model' 1 'is no model' --model . < prompts

# Bad input: file, line and id; with --skip-bad it is left out and counted.
bad_records() {
  printf '%s\n' 'no JSON' '[1]' '{"id":"a"}' '{"id":"b","prompt":""}' '{"id":"c","prompt":[]}' '{"id":"d","prompt":[{"role":"king","content":"x"}]}' \
    '{"id":"e","prompt":7}' '{"id":1.5,"prompt":"x"}' '{"id":"f","prompt":"\ud800"}' ''
}
number=0
while IFS= read -r record; do
  number=$((number + 1))
  printf '%s\n' "$record" > bad
  fails "bad record $number" 1 'bad:1: ' "${model[@]}" --input bad < /dev/null
done < <(bad_records)
fails 'unknown role' 1 'record d: "prompt": message 1: the role is "king"' "${model[@]}" < <(bad_records | sed -n 6p)
{ bad_records; head -n 2 prompts; } > mixed
gives 'bad records left out' '' "${model[@]}" --samples 3 --max-new-tokens 9 --skip-bad < mixed
lines 'bad records left out' 2
cmp -s out <(head -n 2 sampled) || report 'bad records change the samples of others'
grep -qF "$number bad records were left out" err || report "--skip-bad: no count: $(cat err)"
broken_texts
fails 'invalid UTF-8' 1 'standard input:2' "${model[@]}" --format text < broken
fails 'CR' 1 'crlf:1' "${model[@]}" --format text --input crlf < /dev/null
rm -f written
fails 'bad input, file output' 1 'mixed:1' "${model[@]}" --input mixed --output written < /dev/null
[[ -e written ]] && report 'a failed call leaves an output file'

# Records that come from this program.
head -n 2 sampled > again
gives 'hypotheses replaced' '' "${model[@]}" --samples 3 --max-new-tokens 9 < again
cmp -s out again || report 'hypotheses in the input change those of the output'
grep -qF '2 records had hypotheses already, which were replaced' err || report "hypotheses replaced: $(cat err)"

# A model of a type that the engine does not know is left to LibTorch.
mkdir unknown
cp model/model.safetensors model/tokenizer.json unknown
printf 'model:\n  type: some-other\n' > unknown/config.yaml
fails 'unknown type' 2 '--describe knows the models of the engine' --model unknown --describe < prompts
"${command[@]}" --model unknown < prompts > out 2> err && report 'a model of an unknown type is loaded'
grep -qF 'model type of the engine' err && report "a model of another type is asked for in the engine: $(cat err)"

# Wrong flags: exit 2.
fails 'nothing given' 2 'missing --model' < prompts
fails 'wide beam' 2 'tokens that the model chooses from' "${model[@]}" --beam 100000 < prompts
fails 'endless batch' 2 '--batch' "${model[@]}" --batch 9223372036854775807 < prompts
fails 'endless samples' 2 '--samples' "${model[@]}" --samples 9223372036854775807 < prompts
fails 'endless texts' 2 '--max-new-tokens' "${model[@]}" --max-new-tokens 9223372036854775807 < prompts
fails 'unknown flag' 2 "did you mean '--samples'" "${model[@]}" --sample 3 < prompts
fails 'samples above the beam' 2 '--samples 6 is more than --beam 5' "${model[@]}" --beam 5 --samples 6 < prompts
fails 'beam and temperature' 2 '--temperature has no effect with --beam' "${model[@]}" --beam 5 --temperature 0.5 < prompts
fails 'equal samples' 2 'would all be the same' "${model[@]}" --temperature 0 --samples 2 < prompts
fails 'top-p of nothing' 2 '--top-p' "${model[@]}" --top-p 0 < prompts
fails 'tiny temperature' 2 '--temperature is 1e-06' "${model[@]}" --temperature 0.000001 < prompts
fails 'empty stop' 2 '--stop is empty' "${model[@]}" --stop '' < prompts
fails 'limits' 2 '--min-new-tokens 5 is more than --max-new-tokens 4' "${model[@]}" --min-new-tokens 5 --max-new-tokens 4 < prompts
fails 'unknown template' 2 "'klingon' is no chat template" "${model[@]}" --chat klingon < prompts
fails 'engine on a GPU' 2 '--backend engine computes on the CPU' "${model[@]}" --backend engine --device cuda < prompts
gives 'help' 'Usage: lm-generate' -h < /dev/null
gives 'version' 'kernels: ' --version < /dev/null
gives 'resolved configuration' 'samples: 3' "${model[@]}" --samples 3 --dump-config < /dev/null
full 'records' "${model[@]}" --max-new-tokens 3 < prompts
"${command[@]}" "${model[@]}" --samples 3 --max-new-tokens 9 --stream --quiet < prompts 2> err | head -n 1 > out
[[ $(cat out) == "$(head -n 1 sampled)" && ! -s err ]] || report "closed pipe: $(cat out err)"

finish
