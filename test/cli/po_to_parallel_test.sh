#!/usr/bin/env bash
# scripts/po_to_parallel.py: what becomes of the kinds of messages that catalogues hold.
# usage: po_to_parallel_test.sh DIRECTORY_OF_BINARIES (not used)
set -euo pipefail
script=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/scripts/po_to_parallel.py
command -v python3 >/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

cat >a.po <<'PO'
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"

msgctxt "menu"
msgid "~Open File..."
msgstr "Datei ö_ffnen…"

msgctxt "plural"
msgid "%1 word"
msgid_plural "%1 words"
msgstr[0] "%1 Wort"
msgstr[1] "%1 Wörter"

msgid "Salt &amp; <b>pepper</b> for \"him\""
msgstr "Salz &amp; <b>Pfeffer</b> "
"für \"ihn\""

msgid "First sentence here. Then the second."
msgstr "Erster Satz hier. Dann der zweite."

msgid "The name is %NAME"
msgstr "Der Name lautet anders"

msgid "Linux"
msgstr "Linux"

msgid "12 / 34"
msgstr "12/34"

msgid "not translated"
msgstr ""

msgid "Yes"
msgstr "Hier steht sehr viel mehr als nur ein kurzes Wort"

msgctxt "again"
msgid "_Open file..."
msgstr "Datei öffnen..."

msgctxt "test: same source as menu"
msgid "Open a file now"
msgstr "Datei öffnen..."
PO
python3 "$script" --test 1 --valid 1 --out out a.po 2>log
for part in train valid test; do paste out/$part.de out/$part.en; done | sort >got
sort >expected <<'END'
%1 Wort	%1 word
%1 Wörter	%1 words
Dann der zweite.	Then the second.
Datei öffnen...	Open File...
Erster Satz hier.	First sentence here.
Salz & Pfeffer für "ihn"	Salt & pepper for "him"
END
# Two translations of one source stay together: all in training, or one of them where translations are judged.
grep -v 'Open a file now' got | diff expected - || failures=1
cut -f1 got | grep -c 'Datei öffnen' | grep -qx '[12]' || { echo "FAILED: 'Datei öffnen...' is lost"; failures=1; }
for side in de en; do
  for part in train valid test; do tr '[:upper:]' '[:lower:]' <out/$part.$side | sort -u; done | sort | uniq -d >shared
  [[ ! -s shared ]] || { echo "FAILED: in two parts: $(cat shared)"; failures=1; }
done

# The parts do not depend on the order of messages.
{ sed -n '1,4p' a.po; sed '1,4d' a.po | awk -v RS= '{ m[NR] = $0 } END { for (i = NR; i; i--) print m[i] "\n" }'; } >reversed.po
mv reversed.po a.po
python3 "$script" --test 1 --valid 1 --out again a.po 2>/dev/null
diff -r out again || { echo "FAILED: the order of messages matters"; failures=1; }

printf 'msgid "a"\nnonsense\n' >bad.po
if python3 "$script" --out bad bad.po 2>err; then echo "FAILED: a damaged catalogue was accepted"; failures=1; fi
grep -q 'bad.po:2:' err || { echo "FAILED: no file and line in: $(cat err)"; failures=1; }
exit "$failures"
