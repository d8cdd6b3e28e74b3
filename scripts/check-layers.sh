#!/usr/bin/env bash
# Holds the sources to the layers of docs/architecture.md. Prints each offence as file:line and exits 1 if there is any.
# usage: check-layers.sh [SOURCE_DIRECTORY]
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

# What each folder of lib/ may include directly; what those may include, it may include too.
layers='
base
io      base
cli     base io
text    base io
metric  base text io
kernel  base
search  base
infer   kernel search io text
reward  infer metric
tensor  base io kernel
data    tensor text
nn      tensor
loss    tensor
model   nn loss data search infer
train   model
rl      train reward
align   train metric
analyse model metric
'

offences=$(mktemp)
trap 'rm -f "$offences"' EXIT

# report MESSAGE: reads "file:line:text" lines, keeps "file:line: MESSAGE: text"
report() {
  sed -E "s|^([^:]+:[0-9]+):[[:space:]]*|\1: $1: |" >> "$offences"
}

# search PATTERN [GREP OPTIONS]: in lib/ and tools/, never failing
search() {
  local pattern=$1
  shift
  grep -rnE "$@" -- "$pattern" lib tools || true
}

# only PATTERN FILE MESSAGE: the pattern may stand in this file (or folder) alone
only() {
  search "$1" --include='*.h' --include='*.cpp' | { grep -vE "^($2)" || true; } | report "$3"
}

check_includes() {
  { grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' lib || true; } | awk -v layers="$layers" '
    function reach(from, to, parts, count, i) {  # records that layer `from` may use `to` and all below it
      if ((from, to) in may) return
      may[from, to] = 1
      count = split(below[to], parts, " ")
      for (i = 1; i <= count; ++i) reach(from, parts[i])
    }
    BEGIN {
      rows = split(layers, row, "\n")
      for (i = 1; i <= rows; ++i) {
        if (split(row[i], word, " ") == 0) continue
        name = word[1]
        known[name] = 1
        sub(/^[^ ]+ */, "", row[i])
        below[name] = row[i]
      }
      for (name in known) reach(name, name)
    }
    {
      split($0, quoted, "\"")
      split($0, place, ":")
      split(place[1], folder, "/")
      where = place[1] ":" place[2]
      layer = folder[2]
      if (index(quoted[2], "/") == 0) {
        print where ": includes \"" quoted[2] "\", expected a path from lib/, \"layer/file.h\""
        next
      }
      split(quoted[2], target, "/")
      if (!(layer in known)) print where ": lib/" layer " is no layer"
      else if (!(target[1] in known)) print where ": includes \"" quoted[2] "\", and " target[1] " is no layer"
      else if (!((layer, target[1]) in may)) print where ": " layer " may not include " target[1] " (\"" quoted[2] "\")"
    }' >> "$offences"
}

check_includes
only '#[[:space:]]*include[[:space:]]*[<"]CLI/' lib/cli/ 'only lib/cli sees CLI11'
only '(^|[^_[:alnum:]])(secure_)?getenv[[:space:]]*\(' lib/cli/ 'only lib/cli reads the environment'
only '#[[:space:]]*include[[:space:]]*[<"]nlohmann/' lib/io/json.cpp 'only lib/io/json.cpp sees nlohmann/json'
only '#[[:space:]]*include[[:space:]]*[<"]yaml-cpp/' lib/io/yaml.cpp 'only lib/io/yaml.cpp sees yaml-cpp'
only '#[[:space:]]*include[[:space:]]*[<"]zlib\.h' lib/io/line_reader.cpp 'only lib/io/line_reader.cpp sees zlib'
only '#[[:space:]]*include[[:space:]]*[<"]sentencepiece' 'lib/text/vocabulary\.cpp|lib/text/sentencepiece/' 'only lib/text/sentencepiece/ sees SentencePiece'
only '#[[:space:]]*include[[:space:]]*[<"]pcre2' lib/text/split_pattern.cpp 'only lib/text/split_pattern.cpp sees PCRE2'
search '#[[:space:]]*include[[:space:]]*<torch/torch\.h>' --include='*.h' | report 'too slow a header to be included by one of ours'
only '(^|[^_/[:alnum:]])(std::(cout|cin)|stdout|stdin)([^_[:alnum:]]|$)' lib/cli/ 'only lib/cli sees standard input and output'
only '(^|[^_[:alnum:]])(printf|puts|putchar|exit|_exit|quick_exit|abort)[[:space:]]*\(' lib/cli/ 'only lib/cli prints to standard output or exits'
search "#[[:space:]]*include[[:space:]]*<($(sed -E '/^$/d; s/ .*//' <<<"$layers" | paste -sd '|'))/" | report 'a header of ours in angle brackets'
for tool in tools/*.cpp; do
  [ -e "$tool" ] || continue
  lines=$(wc -l < "$tool")
  if [ "$lines" -gt 200 ]; then echo "$tool:201: the tool has $lines lines, at most 200 are meant; move work into lib/" >> "$offences"; fi
done

sort -t: -k1,1 -k2,2n "$offences"
[ ! -s "$offences" ]
