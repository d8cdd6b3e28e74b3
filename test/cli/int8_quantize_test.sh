#!/usr/bin/env bash
# The real int8-quantize: models of integers translate, say what they lost, and are refused when broken.
# usage: int8_quantize_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need nmt-train nmt-translate int8-quantize
translate=$bin/nmt-translate
command=("$bin/int8-quantize" --threads 1)

learnable_toy conf.yaml
"$bin/nmt-train" -c conf.yaml --run run 2> err || { echo "FAILED: training: $(cat err)"; exit 1; }

# translates_alike MODEL NAME: in whatever batches, and nearly as the translations in `real`
translates_alike() {
  local mode
  "$translate" --model "$1" --quiet --threads 1 < test.a > whole 2> err || report "$2: $(cat err)"
  [[ $(diff real whole | grep -c '^<') -le 6 ]] || report "$2: other translations: $(diff real whole | head -n 6)"
  for mode in '--threads 3 --batch-tokens 1' '--threads 2 --batch-tokens 70'; do
    # shellcheck disable=SC2086
    "$translate" --model "$1" --quiet $mode < test.a > out 2> err || report "$2, $mode: $(cat err)"
    cmp -s out whole || report "$2: other output with $mode"
  done
}

# A model of integers is a model directory a quarter as large, which translates nearly as well.
gives 'quantise' 'ratio 3.' --model run --output int8
for file in model.safetensors config.yaml vocab.spm; do [[ -s int8/$file ]] || report "quantise: no $file"; done
[[ -z $(find . -name ".*.tmp-*") ]] || report "quantise: left: $(find . -name ".*.tmp-*")"
float=$(stat -c %s run/ckpt/best/model.safetensors) integers=$(stat -c %s int8/model.safetensors)
((integers * 3 < float)) || report "quantise: $integers bytes of $float"
"$translate" --model run --quiet < test.a > real 2> err || report "float: $(cat err)"
translates_alike int8 integers
"$translate" --model int8 --quiet --score test.b < test.a > logprobs 2> err || report "integers, scores: $(cat err)"
[[ $(wc -l < logprobs) == 30 ]] || report 'integers: scores are missing'

# Records, knobs.
gives 'json' '"tensor":"encoder.0.ffn.up.weight","module":"encoder-ffn","quantised":true,"error":' --model run --output as-json --json
gives 'json of what stays' '"tensor":"encoder.0.ffn.up.bias","module":"","quantised":false,"error":0' --model run --output as-json-2 --json
error_of() { sed -En 's/.*"tensor":"encoder.0.ffn.up.weight".*"error":([0-9.e-]+).*/\1/p' "$1"; }
last=0
for bits in 8 7 6 5 4; do
  "${command[@]}" --model run --output "bits-$bits" --json --bits "$bits" > "report-$bits" 2> err || report "$bits bits: $(cat err)"
  awk -v now="$(error_of "report-$bits")" -v last="$last" 'BEGIN { exit !(now > 1.5 * last && now < 0.3) }' || report "$bits bits: an error of $(error_of "report-$bits") after $last"
  last=$(error_of "report-$bits")
done
"${command[@]}" --model run --output tensor --json --w-scale tensor > report-tensor 2> err || report "tensor: $(cat err)"
awk -v tensor="$(error_of report-tensor)" -v channel="$(error_of report-8)" 'BEGIN { exit !(tensor > channel) }' || report 'one scale a tensor loses no more than one a channel'
gives 'modules' '"tensor":"decoder.0.self.qkv.weight","module":"decoder-self","quantised":false' --model run --output modules --json --int8-modules encoder-ffn --int8-modules decoder-ffn
grep -q '"module":"decoder-ffn","quantised":true' out || report 'modules: those that were asked for are not quantised'
gives 'keep' '"tensor":"decoder.0.ffn.up.weight","module":"decoder-ffn","quantised":false' --model run --output keep --json --keep-fp decoder.0 --keep-fp output
grep -q '"tensor":"encoder.0.ffn.up.weight","module":"encoder-ffn","quantised":true' out || report 'keep: too much is kept'
for rounding in trunc stochastic; do
  gives "$rounding" 'ratio' --model run --output "$rounding" --round "$rounding" --seed 3
done
gives 'stochastic again' 'ratio' --model run --output stochastic-2 --round stochastic --seed 3
cmp -s stochastic/model.safetensors stochastic-2/model.safetensors || report 'stochastic rounding: not the same with the same seed'
for model in modules keep trunc stochastic bits-4 tensor; do
  "$translate" --model "$model" --quiet --beam 1 < test.a > out 2> err || report "$model: $(cat err)"
  [[ $(wc -l < out) == 30 ]] || report "$model: not 30 lines"
done
gives 'check' 'BLEU with nothing in integers: ' --model run --output check/deep/ --check-src test.a --check-ref test.b --check-beam 2 --ablate
sed -En 's/^BLEU with ([a-z-]+) in integers: .*/\1/p' out > parts
[[ $(tr '\n' ' ' < parts) == 'nothing all embedding encoder-attention encoder-ffn decoder-self decoder-cross decoder-ffn ' ]] || report "check: $(tail -n 9 out)"
sed -En 's/^BLEU with all in integers: .*\(([+-][0-9.]+)\)$/\1/p' out | awk '{ exit !($1 > -8 && $1 < 8) }' || report "check: $(grep 'all in' out)"
[[ -s check/deep/model.safetensors ]] || report 'check: an output in a new folder is not there'
gives 'check as records' '{"integers":"all","bleu":' --model run --output check-2 --check-src test.a --check-ref test.b --json
python3 -c 'import json, sys; [json.loads(line) for line in open("out")]' || report 'check as records: not all lines are JSON'

# An integer-transformer, computed in integers throughout.
learnable_toy integer.yaml
sed -i 's/^model:/model:\n  type: integer-transformer/' integer.yaml
"$bin/nmt-train" -c integer.yaml --run integer-run 2> err || { echo "FAILED: training an integer-transformer: $(cat err)"; exit 1; }
gives 'propagation' 'ratio 3.' --model integer-run --output propagated --mode scale-propagation --check-src test.a --check-ref test.b --ablate
grep -qE '^matched scales: [1-9][0-9]* rows lost [0-9.]+ bits' out || report "propagation: nothing of scales: $(tail -n 3 out)"
grep -q '"cut-scores":0\.[0-9]*,"blind-queries":' integer-run/metrics.jsonl || report "an integer-transformer: validations tell nothing of cut scores: $(tail -n 1 integer-run/metrics.jsonl)"
sed -En 's/^BLEU with ([a-z-]+) in integers: .*/\1/p' out > parts
[[ $(tr '\n' ' ' < parts) == 'nothing all embedding encoder-attention encoder-ffn decoder-self decoder-cross decoder-ffn ' ]] || report "propagation: $(tail -n 9 out)"
sed -En 's/^BLEU with all in integers: .*\(([+-][0-9.]+)\)$/\1/p' out | awk '{ exit !($1 > -8 && $1 < 8) }' || report "propagation: $(grep 'all in' out)"
"$translate" --model integer-run --quiet < test.a > real 2> err || report "an integer-transformer in floating point: $(cat err)"
"$translate" --model integer-run --quiet --backend torch < test.a > torch 2> err || report "an integer-transformer in LibTorch: $(cat err)"
cmp -s real torch || report 'an integer-transformer: engine and LibTorch differ'
translates_alike propagated propagation
gives '16 bits' 'ratio 1.' --model integer-run --output sixteen --mode scale-propagation --bits 16
"$translate" --model sixteen --quiet < test.a > out 2> err || report "16 bits: $(cat err)"
cmp -s out real || report "16 bits: other translations than in floating point: $(diff out real | head -n 6)"
for options in '--granularity head' '--granularity sentence' '--rescale pow2' '--rescale always --round trunc' '--w-scale tensor' '--bits 6 --keep-fp last-residual --keep-fp last-norm' \
  '--int8-modules decoder-ffn'; do
  rm -rf knob
  # shellcheck disable=SC2086
  gives "propagation $options" 'ratio' --model integer-run --output knob --mode scale-propagation $options
  "$translate" --model knob --quiet --beam 1 < test.a > out 2> err || report "propagation $options: $(cat err)"
  [[ $(wc -l < out) == 30 ]] || report "propagation $options: not 30 lines"
done
fails 'propagation of a transformer' 2 'scale-propagation is for models of type integer-transformer; --mode dynamic takes others' --model run --output new --mode scale-propagation
fails 'knobs of the other mode' 2 '--granularity and --rescale say how scale-propagation computes' --model run --output new --granularity head
fails '9 bits' 2 '--bits 9: 4 to 8' --model run --output new --bits 9
fails '16 bits twice' 1 'the model is quantised already' --model sixteen --output new --mode scale-propagation
fails 'no sub-layer' 2 '--keep-fp decoder.0.ffn.up: the model has no sub-layer' --model integer-run --output new --mode scale-propagation --keep-fp decoder.0.ffn.up

# What is refused.
fails 'exists' 1 'int8 exists; give another --output or remove it' --model run --output int8
fails 'twice' 1 'the model is quantised already' --model int8 --output twice
fails 'no model' 1 'nowhere' --model nowhere --output new
fails 'no place' 1 'cannot make' --model run --output test.a/new
fails 'bits' 2 'bits' --model run --output new --bits 3
fails 'module' 2 "legs" --model run --output new --int8-modules legs
fails 'a module that this model has not' 2 '--int8-modules output: this model has no such module' --model run --output new --int8-modules output
fails 'keep' 2 '--keep-fp decoder.7: the model has no tensor of that name or beginning' --model run --output new --keep-fp decoder.7
fails 'half a check' 2 '--check-src and --check-ref belong together' --model run --output new --check-src test.a
fails 'ablation of nothing' 2 '--ablate' --model run --output new --ablate
[[ ! -e new && -z $(find . -name '.new*') ]] || report 'something is left of what was refused'

# Broken models of integers.
command=("$translate" --threads 1)
# rewrite FROM TO PROGRAM: a weights file changed by Python that sees its `header` and `body`
rewrite() {
  python3 - "$@" << 'END' || report "cannot change $1: $3"
import json, struct, sys
source, target, program = sys.argv[1:]
data = bytearray(open(source, "rb").read())
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + size])
body = data[8 + size:]
def at(tensor): return header[tensor]["data_offsets"][0]
exec(program)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(target, "wb").write(struct.pack("<Q", len(text)) + text + body)
END
}
# broken_model MODEL NAME TEXT PROGRAM: the changed model of integers is refused
broken_model() {
  rm -rf broken
  cp -r "$1" broken
  rewrite "$1/model.safetensors" broken/model.safetensors "$4"
  fails "$2" 1 "$3" --model broken < test.a
}
broken() { broken_model int8 "$@"; }
broken_integers() { broken_model propagated "$@"; }
broken 'scale of 0' 'encoder.0.ffn.up.weight.scale[0] is 0, which is no scale' 'o = at("encoder.0.ffn.up.weight.scale"); body[o:o + 4] = struct.pack("<f", 0)'
broken 'scale of NaN' 'encoder.0.ffn.up.weight.scale[1] is nan' 'o = at("encoder.0.ffn.up.weight.scale") + 4; body[o:o + 4] = struct.pack("<f", float("nan"))'
broken 'negative scale' 'encoder.0.ffn.up.weight.scale[0] is -2' 'o = at("encoder.0.ffn.up.weight.scale"); body[o:o + 4] = struct.pack("<f", -2)'
broken '-128' 'encoder.0.ffn.up.weight holds -128 at 3' 'body[at("encoder.0.ffn.up.weight") + 3] = 0x80'
broken 'scales of another shape' 'encoder.0.ffn.up.weight.scale: shape [32, 2] where [64] is needed' 'header["encoder.0.ffn.up.weight.scale"]["shape"] = [32, 2]'
broken 'another mode' "mode 'sideways', where" 'header["__metadata__"]["mode"] = "sideways"'
broken 'another program' "format ''" 'del header["__metadata__"]'
broken 'no scales' 'missing: encoder.0.ffn.up.weight.scale' 'header["other"] = header.pop("encoder.0.ffn.up.weight.scale")'

broken_integers 'scale of a norm' 'encoder.0.ffn.norm.weight.scale[0] is 0, which is no scale' 'o = at("encoder.0.ffn.norm.weight.scale"); body[o:o + 4] = struct.pack("<f", 0)'
broken_integers 'a large bias' 'encoder.0.ffn.up.bias holds a number beyond 4194304 at 2' 'o = at("encoder.0.ffn.up.bias") + 8; body[o:o + 4] = struct.pack("<i", -2**31)'
broken_integers '-128 in a norm' 'encoder.0.ffn.norm.weight holds a number beyond 127 at 0' 'body[at("encoder.0.ffn.norm.weight")] = 0x80'
broken_integers 'bits' "the weights say bits = '9', which is not known" 'header["__metadata__"]["bits"] = "9"'
broken_integers 'granularity' "granularity = 'leg', which is not known" 'header["__metadata__"]["granularity"] = "leg"'
broken_integers 'a real norm' 'encoder.0.ffn.norm.weight: type F32 where I8 is needed' 'header["encoder.0.ffn.norm.weight"].update(dtype="F32", shape=[len(range(*header["encoder.0.ffn.norm.weight"]["data_offsets"])) // 4])'
broken_integers 'a bias of a polynomial' 'encoder.0.attention.polynomial: bias nan and delta' 'o = at("encoder.0.attention.polynomial.bias"); body[o:o + 4] = struct.pack("<f", float("nan"))'
broken_integers 'no bias' 'missing: encoder.0.ffn.up.bias' 'header["other"] = header.pop("encoder.0.ffn.up.bias")'

# change PROGRAM: the float model, changed
change() {
  rm -rf changed
  mkdir changed
  cp run/config.yaml run/vocab.spm changed
  rewrite run/ckpt/best/model.safetensors changed/model.safetensors "$1"
}
command=("$bin/int8-quantize" --threads 1)
change 'o = at("decoder.0.ffn.up.bias"); body[o:o + 4] = struct.pack("<f", float("nan"))'
fails 'NaN' 1 'decoder.0.ffn.up.bias holds nan at 0: a model that has diverged' --model changed --output new
change 'n = header["decoder.0.ffn.up.bias"]["shape"][0]; header["decoder.0.ffn.up.bias"]["shape"] = [1, 1, n]'
fails 'a bias of three dimensions' 1 'decoder.0.ffn.up.bias: shape [1, 1, ' --model changed --output new
change 'header["decoder.0.ffn.up.weight"]["dtype"] = "I32"'
fails 'integers of 32 bits' 1 'decoder.0.ffn.up.weight: type I32 where a floating-point type is needed' --model changed --output new
command=("$translate" --threads 1)
for wrong in 'dim: 2305843009213693952' 'dim: 51200' 'ffn: 100000000000000' 'encoder-layers: 100000000' 'heads: 3'; do
  change ''
  sed -i "s/^  ${wrong%%:*}: .*/  $wrong/" changed/config.yaml
  fails "$wrong" 1 changed --model changed < test.a
done
[[ ! -e new && -z $(find . -name '.new*') ]] || report 'something is left of what was refused'
fails 'mean of integers' 1 'no run with checkpoints' --model int8 --average 2 < test.a
fails 'integers in LibTorch' 1 'holds integers, which LibTorch does not decode; use --backend engine' --model int8 --backend torch < test.a
finish
