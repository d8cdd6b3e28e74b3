#!/usr/bin/env bash
# Directories as Hugging Face has them, of every supported shape: the real tools against the reference computation, imported, tuned, exported, imported again.
# usage: lm_reference_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/language_models.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/language_models.sh"
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need lm-score lm-train int8-quantize
command=("$bin/lm-score" --threads 1)

# sequences MODEL: texts of characters that no merge joins, whose ids can be looked up one by one: answers (JSON lines) and ids (lists)
sequences() {
  python3 - "$1" << 'END'
import json, os, random, sys
directory = sys.argv[1]
tokenizer = json.load(open(os.path.join(directory, "tokenizer.json"), encoding="utf-8"))
model = tokenizer["model"]
merged = {c for pair in model["merges"] for c in ("".join(pair) if isinstance(pair, list) else pair)}
letters = [c for c in "!#$%&*+-/:;<=>?@^_`|~0123456789abcdefghijklmnopqrstuvwxyz" if c not in merged]
settings = json.load(open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8"))
begin = settings.get("bos_token")
begin = begin["content"] if isinstance(begin, dict) else begin
special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
random.seed(1)
with open("answers", "w") as answers, open("ids", "w") as ids:
    for length in (1, 2, 7, 30, 45):
        text = [random.choice(letters) for _ in range(length + 1)]
        answers.write(json.dumps({"prompt": text[0], "response": "".join(text[1:])}) + "\n")
        first = [special[begin]] if begin else []
        ids.write(json.dumps(first + [model["vocab"][c] for c in text]) + "\n")
END
}

# agrees NAME TOLERANCE: out of lm-score holds what the reference says of the answers
agrees() {
  python3 - "$2" << 'END' > trace 2>&1 || report "$1: $(tail -n 1 trace)"
import json, sys
worst = 0
for line, wanted in zip(open("out"), open("wanted")):
    found, wanted = json.loads(line)["scores"]["logprobs"], json.loads(wanted)
    wanted = wanted[len(wanted) - len(found):]
    assert found, "no scores"
    worst = max([worst] + [abs(a - b) for a, b in zip(found, wanted)])
assert worst <= float(sys.argv[1]), f"log-probabilities differ by {worst}"
END
}

score() { local name=$1; shift; gives "$name" '' --per-token --no-end --chat plain "$@" < answers; }

for shape in llama llama2-gqa tinyllama mistral qwen2 llama3; do
  for kind in "f32 1" "bf16 3" "f16 2"; do
    read -r dtype shards <<< "$kind"
    model=$shape.$dtype
    random_model "$model" "$shape" --dtype "$dtype" --shards "$shards"
    sequences "$model"
    /usr/bin/python3 "$reference" logprobs "$model" < ids > wanted
    score "$model" --model "$model"
    agrees "$model" 1e-4
  done
  score "$shape of LibTorch" --model "$shape.f32" --backend torch
  /usr/bin/python3 "$reference" logprobs "$shape.f32" < ids > wanted
  agrees "$shape of LibTorch" 1e-4

  # Exported again it is the same model.
  "$bin/lm-train" --init-from "$shape.bf16" --export-hf "$shape.again" --quiet > out 2> err || report "$shape: export: $(cat err)"
  /usr/bin/python3 "$reference" read "$shape.again" --export > trace 2>&1 || report "$shape: exported: $(tail -n 1 trace)"
  /usr/bin/python3 "$reference" same "$shape.bf16" "$shape.again" > trace 2>&1 || report "$shape: exported: $(tail -n 1 trace)"
done

# Tuned, exported, imported: what was trained is what is scored.
for n in $(seq 200); do printf '{"prompt":"%s","response":"answer %s"}\n' "$n" "$((n % 7))"; done > chats
for shape in llama2-gqa qwen2; do
  for options in "" "--lora.rank 2"; do
    run=run.$shape.${options// /}
    # shellcheck disable=SC2086
    "$bin/lm-train" --init-from "$shape.f32" --format chat --chat.template plain --train chats --valid chats --run "$run" --max-updates 5 --batch-tokens 200 \
      --learning-rate 0.01 --warmup 0 --threads 1 --quiet --export-hf "$run.hf" $options > out 2> err || report "$run: $(cat err)"
    /usr/bin/python3 "$reference" read "$run.hf" --export > trace 2>&1 || report "$run: $(tail -n 1 trace)"
    if /usr/bin/python3 "$reference" same "$shape.f32" "$run.hf" > trace 2>&1; then report "$run: training changed nothing"; fi
    sequences "$shape.f32"
    /usr/bin/python3 "$reference" logprobs "$run.hf" < ids > wanted
    score "$run" --model "$run"
    agrees "$run" 1e-4
    score "$run exported" --model "$run.hf"
    agrees "$run exported" 1e-4
  done
done

# A head that is tied and stored all the same.
random_model tied qwen2 --dtype f32
sequences tied
/usr/bin/python3 "$reference" logprobs tied < ids > wanted
python3 - << 'END'
import json, struct
with open("tied/model.safetensors", "rb") as file:
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    data = file.read()
entry = header["model.embed_tokens.weight"]
begin, end = entry["data_offsets"]
for name, copy in ("tied", data[begin:end]), ("untied", b"\0" * (end - begin)):
    import os, shutil
    if name == "untied": shutil.copytree("tied", "untied")
    more = dict(header, **{"lm_head.weight": dict(entry, data_offsets=[len(data), len(data) + len(copy)])})
    text = json.dumps(more).encode()
    text += b" " * (-len(text) % 8)
    with open(name + "/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data + copy)
END
for backend in engine torch; do
  score "a stored tied head, $backend" --model tied --backend "$backend"
  agrees "a stored tied head, $backend" 1e-4
  fails "another head than the embedding, $backend" 1 'unexpected: lm_head.weight' --model untied --backend "$backend" < answers
done

"$bin/int8-quantize" --model tied --output tied.int8 --quiet > out 2> err || report "quantising a stored tied head: $(cat err)"
score 'a tied head in integers' --model tied.int8
agrees 'a tied head in integers' 1

# A conversation's frame: what the Jinja program is taken for, and what it is not.
framed() {
  python3 -c 'import json, sys
path = "framed/tokenizer_config.json"
config = json.load(open(path))
config["chat_template"] = json.loads(sys.argv[1])
json.dump(config, open(path, "w"))' "$2"
  gives "$1" '' --model framed < answers
  grep -qF -- "$3" err || report "$1: no '$3' in: $(cat err)"
}
random_model framed llama2-gqa --dtype f32
framed 'an unknown template' '"{{ \"<|user|>\" }}"' 'its chat template is none of those known here'
framed 'a template among several' '[{"name":"tool_use","template":"x"},{"name":"default","template":"[INST] <<SYS>>"}]' 'records'
if grep -q 'none of those known' err; then report 'a template among several: warned'; fi

# Another tokeniser: rows that stand for its tokens begin anew.
for n in $(seq 300); do printf 'line %s of other words\n' "$n"; done > text
"$bin/lm-train" --init-from llama.f32 --vocab-size 320 --model.vocabulary 0 --train text --valid text --run other --max-updates 1 --schedule constant --threads 1 --batch-tokens 200 \
  > out 2> err || report "another tokeniser: $(cat err)"
for name in model.embed_tokens.weight lm_head.weight; do grep -qF "$name is left" err || report "another tokeniser: $name was taken"; done
command=("$bin/lm-train")
fails 'adapters of another tokeniser' 1 'would never learn' --init-from llama.f32 --vocab-size 320 --model.vocabulary 0 --train text --valid text --run other2 --max-updates 1 \
  --schedule constant --lora.rank 2
fails 'adapters of nothing' 2 'give it by --init-from' --vocab-size 320 --train text --valid text --run other3 --max-updates 1 --schedule constant --lora.rank 2
fails 'an export that cannot be' 1 'model.norm is layer' --vocab-size 320 --train text --valid text --run other4 --max-updates 1 --schedule constant --model.norm layer --export-hf never
fails 'a conversion with a run' 2 'have no effect without --train' --init-from llama.f32 --export-hf never --run other5
command=("$bin/lm-score" --threads 1)

# Directories that are not whole, or of others.
cp -r llama.bf16 broken
rm broken/model-00002-of-00003.safetensors
fails 'a missing shard' 1 'model-00002-of-00003.safetensors' --model broken < answers
random_model gpt llama --set 'model_type="gpt_neox"'
fails 'a foreign architecture' 1 "model_type 'gpt_neox' is not supported; known: llama, mistral, qwen2" --model gpt < answers
random_model yarn llama --set 'rope_scaling={"type":"dynamic","factor":2.0}'
fails 'unknown scaling' 1 "'dynamic'" --model yarn < answers
random_model small llama --dtype f32 --shards 1
python3 - << 'END'
import json
config = json.load(open("small/config.json"))
config["hidden_size"] *= 2
json.dump(config, open("small/config.json", "w"))
END
fails 'a wrong shape' 1 'model.embed_tokens.weight: shape [320, 48] where [320, 96] is needed' --model small < answers
cp -r llama.f32 mixed
python3 - << 'END'
import json
config = json.load(open("mixed/config.json"))
config["vocab_size"] = 100
json.dump(config, open("mixed/config.json", "w"))
END
fails 'a tokeniser of another model' 1 'mixed/config.json: the tokeniser has 320 tokens, the embedding 100 rows' --model mixed < answers
finish
