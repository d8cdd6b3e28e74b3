#!/usr/bin/env bash
# The arithmetic of integers is that: the machine code of its kernels holds no floating-point instruction but loads, stores and what only moves bits.
# usage: integer_path_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
build=$(dirname "$bin")
[[ $(uname -m) == x86_64 ]] || { echo 'skipped: only the instructions of x86-64 are known here'; exit 77; }
command -v objdump > /dev/null || { echo 'skipped: no objdump'; exit 77; }

# Arithmetic, comparisons and conversions of single and double precision, also of x87.
float='^v?(add|sub|mul|div|sqrt|rsqrt|rcp|max|min|cmp|ucomi|comi|round|range|reduce|scalef|getexp|getmant|fixupimm|fn?m(add|sub)|dp|hadd|hsub|addsub)[a-z0-9]*(ps|pd|ss|sd)$|^v?cvt|^f(ld|st|add|sub|mul|div|ild|ist|com|sqrt|chs|abs)'
# instructions OBJECT: their mnemonics
instructions() { objdump -d --no-show-raw-insn "$1" | sed -En 's/^ +[0-9a-f]+:\s+([a-z0-9]+).*/\1/p'; }

objects=()
while IFS= read -r object; do objects+=("$object"); done < <(find "$build" -name 'integers_isa.cpp.o')
((${#objects[@]} >= 3)) || report "expected the kernels of three instruction sets, found: ${objects[*]-nothing}"
for object in "${objects[@]}"; do
  (($(instructions "$object" | wc -l) > 300)) || report "$object: hardly any code was found"
  found=$(instructions "$object" | grep -E "$float" | sort | uniq -c)
  [[ -z $found ]] || report "$object: floating-point instructions: $found"
done
# The product with packed weights lies beside one that makes its results real: only the functions of the former.
while IFS= read -r object; do
  found=$(objdump -d -C --no-show-raw-insn "$object" | awk '/^[0-9a-f]+ <.*>:$/ { inside = /multiply_rows</ || /::multiply\(/ } inside && /^ +[0-9a-f]+:/ { print $2 }')
  (($(wc -l <<< "$found") > 40)) || report "$object: no product was found"
  found=$(grep -E "$float" <<< "$found" | sort | uniq -c)
  [[ -z $found ]] || report "$object: floating-point instructions in products of integers: $found"
done < <(find "$build" -name 'int8_isa.cpp.o')
# The same search finds them where they are.
control=$(find "$build" -name 'float_kernels_isa.cpp.o' | head -n 1)
[[ -n $(instructions "$control" | grep -E "$float") ]] || report 'the search finds no floating-point instruction in float kernels either'
finish
