#!/usr/bin/env bash
# The real seq-eval: output forms, every mode, exit codes and messages.
# usage: seq_eval_test.sh DIRECTORY_OF_BINARIES
set -u
# shellcheck source=test/support/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/checks.sh" "$@"
need seq-eval
command=("$bin/seq-eval")

printf 'the cat sat on the mat\na b c\nguten Tag\n' > hyp
printf 'the cat is on the mat\nc a b\nGuten Tag!\n' > ref
printf 'the cat is on the mat\nc a b\nGuten Tag\n' > better
printf 'a cat\na b c\nTag\n' > ref2
gzip -c ref > ref.gz

gives 'table' 'BLEU   31.20' --metric bleu,chrf,ter --ref ref < hyp
grep -qF 'BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0' out || report 'signature line'
grep -qE '^TER +27\.27 ' out || report 'TER in the table'
gives 'default metrics' 'chrF2' --ref ref < hyp
gives 'json' '{"bleu":{"score":31.20' --metric bleu --ref ref --json < hyp
[ "$(wc -l < out)" = 1 ] || report 'json is one line'
gives 'gz reference' '"score":31.20' --metric bleu --ref ref.gz --json < hyp
gives 'two references' 'nrefs:2' --metric bleu --ref ref --ref ref2 --hyp hyp
gives 'rouge' '"rougeL":{"precision":0.8333' --metric rougeL --ref ref --json < hyp
gives 'chrF++' 'chrF2++' --metric chrf --chrf-word-order 2 --ref ref < hyp
gives 'lowercase' 'case:lc' --metric bleu --lowercase --ref ref < hyp

gives 'sentences' '16.6667' --metric ter,chrf --sentence --ref ref < hyp
[ "$(wc -l < out)" = 3 ] || report 'one line per sentence'
sed -n 2p out | grep -qP '^33\.3333\t50\.0000$' || report "second sentence: $(sed -n 2p out)"
gives 'sentences in json' '{"line":2,"ter":{"score":33.33' --metric ter --sentence --json --ref ref < hyp

gives 'interval' '[' --metric bleu --bootstrap 50 --ref ref < hyp
gives 'paired tests' 'p-randomise' --metric chrf,ter --bootstrap 50 --randomise 50 --ref ref --hyp hyp --system better
gives 'paired tests in json' '"systems":[{"system":"better","chrf":{' --metric chrf --ref ref --hyp hyp --system better --json
grep -qF '"samples":1000' out || report 'a system is compared with 1000 resamples unless told otherwise'
gives 'equal systems do not differ' '"p_value":1.0' --metric bleu --randomise 20 --ref ref --hyp hyp --system hyp --json
"${command[@]}" --metric bleu --bootstrap 20 --seed 5 --ref ref --json < hyp > one
"${command[@]}" --metric bleu --bootstrap 20 --seed 5 --threads 1 --ref ref --json < hyp > two
cmp -s one two || report 'same seed, same numbers'
OMP_NUM_THREADS=many "${command[@]}" --metric bleu --ref ref < hyp > /dev/null 2> err || report "OMP_NUM_THREADS=many: exit $?: $(cat err)"
grep -qF "OMP_NUM_THREADS is 'many'" err || report "OMP_NUM_THREADS=many: no warning in: $(cat err)"

gives 'tokens' 'Guten Tag !' --print-tokens --metric bleu --hyp ref
gives 'stems' 'walk dog' --print-tokens --metric rouge1 --stem <<< 'walking dogs'

printf '1\t2\n2\t1\n3\t4\n4\t3\n5\t5\n' > xy
gives 'correlation' '"pearson":0.8,"spearman":0.8' --correlate --json < xy
gives 'correlation table' 'Kendall tau-b  0.600000' --correlate --input xy
printf '1\t1\ta\n2\t2\ta\n3\t3\ta\n1\t7\tb\n2\t7\tb\n' > grouped
gives 'grouped' '"n":5,"groups":2,"undefined-groups":1' --correlate --json < grouped
printf '1\t1\n1\t2\n' > constant
gives 'undefined is null' '"pearson":null,"spearman":null,"kendall":null' --correlate --json < constant
gives 'undefined is said' 'undefined' --correlate < constant
gives 'paired columns' '"delta":0.0' --paired --json < xy
printf 'y\ty\ny\tn\nn\tn\nn\tn\n' > labels
gives 'kappa' '"kappa":0.5' --kappa --json < labels
gives 'weighted kappa' 'weights quadratic' --kappa --weights quadratic < labels
printf '{"n":5,"c":2}\n{"results":[true,0,false,1,false]}\n' > passes
gives 'pass@k' '{"pass@1":0.4,"pass@2":0.7,"problems":2}' --pass-at-k 1,2 --json < passes
gives 'pass@k undefined' '"pass@6":null' --pass-at-k 6 --json < passes
gives 'pass@k by problem' '0.400000' --pass-at-k 1 --sentence < passes

gives 'help' 'Usage: seq-eval' --help
gives 'version' 'seqmill' --version

fails 'no reference' 2 '--ref is needed' --hyp hyp
fails 'unknown metric' 2 "did you mean 'bleu'" --metric blue --ref ref --hyp hyp
fails 'unknown flag' 2 '--tokenise' --tokenise 13a --ref ref --hyp hyp
fails 'wrong choice' 2 'intl' --tokenize international --ref ref --hyp hyp
fails 'metric twice' 2 'twice' --metric bleu,bleu --ref ref --hyp hyp
fails 'two modes' 2 'exclude each other' --correlate --kappa
fails 'stdin twice' 2 'can be read once' --ref -
fails 'bad k' 2 '--pass-at-k' --pass-at-k 0
fails 'sentence and systems' 2 '--sentence' --sentence --ref ref --hyp hyp --system hyp
fails 'randomise alone' 2 '--randomise' --randomise 10 --ref ref --hyp hyp
fails 'hyp with columns' 2 '--input' --correlate --hyp xy

printf 'one line\n' > short
fails 'misaligned' 1 'short has 1 lines, hyp has 3' --ref short --hyp hyp
grep -qF 'hyp:2' err || report 'misaligned: no file and line'
fails 'empty hypotheses' 1 'standard input' --ref ref < /dev/null
fails 'empty table' 1 'empty' --correlate < /dev/null
fails 'missing file' 1 'No such file' --ref nowhere --hyp hyp
printf 'good\n\xff\xfe\nx\n' > broken
fails 'invalid UTF-8' 1 'broken:2' --ref broken --hyp hyp
head -c 20 ref.gz > cut.gz
fails 'truncated gz' 1 'cut.gz' --ref cut.gz --hyp hyp
printf '1\t2\n3\tfour\n' > words
fails 'not a number' 1 "words:2: column 2 is not a number: 'four'" --correlate --input words
printf '1\t2\nnan\t3\n' > nan
fails 'nan is no number' 1 'nan:2' --correlate --input nan
printf '1\t2\n3\n' > ragged
fails 'one column' 1 'ragged:2' --correlate --input ragged
printf '{"n":5,"c":2}\n{"n":5,\n' > badjson
fails 'bad JSON' 1 'badjson:2' --pass-at-k 1 --input badjson
printf '{"n":2,"c":3}\n' > toomany
fails 'c above n' 1 'toomany:1' --pass-at-k 1 --input toomany

full 'scores' --ref ref --hyp hyp
yes 'a b c d' | head -50000 > long
timeout 20 bash -c "'$bin/seq-eval' --metric bleu --sentence --ref long --hyp long 2> err | head -1 > out; exit \${PIPESTATUS[0]}"
[ $? = 141 ] || report "closed pipe: exit $? instead of 141 (SIGPIPE)"
[ -s err ] && report "closed pipe: $(cat err)"

finish
