#!/usr/bin/env python3
"""Turns gettext catalogues (.po) into parallel text, split into train, valid and test.

Each message gives one or more pairs (translation, original): plural forms are paired by number, a message of several lines or
sentences is cut where both sides have equally many. Pairs are cleaned of markup, entities, escapes and accelerator marks, filtered,
and made unique. Messages that share a source or a target sentence fall into the same part, so that no sentence of
valid or test is seen in training. The parts depend on the messages alone, not on their order.
"""
import argparse
import collections
import hashlib
import html
import os
import re
import sys
import unicodedata

# ---------------------------------------------------------------------------------------------------------------- PO files

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "a": "", "b": "", "f": " ", "v": " "}


def unescape(text):
    return re.sub(r"\\(.)", lambda match: ESCAPES.get(match.group(1), match.group(0)), text)


def read_po(path):
    """Yields (identity, [(original, translation), ...]) for each translated message."""
    fields, current = {}, None

    def message():
        if not fields.get("msgid"):  # the header, or nothing yet
            return None
        if "msgid_plural" in fields:
            pairs = [(fields["msgid"] if n == 0 else fields["msgid_plural"], fields.get("msgstr[%d]" % n, ""))
                     for n in range(2)]
        else:
            pairs = [(fields["msgid"], fields.get("msgstr", ""))]
        return "\x04".join((os.path.basename(path), fields.get("msgctxt", ""), fields["msgid"])), pairs

    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            match = re.fullmatch(r'(?:(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)\s+)?"(.*)"', line)
            if not match:
                raise ValueError("%s:%d: not a line of a PO file: %.60s" % (path, number, line))
            keyword, text = match.groups()
            if keyword == "msgctxt" or (keyword == "msgid" and current != "msgctxt"):
                found = message()
                if found:
                    yield found
                fields = {}
            current = keyword or current
            fields[current] = fields.get(current, "") + unescape(text)
    found = message()
    if found:
        yield found


# ---------------------------------------------------------------------------------------------------------------- cleaning

TAGS = "a|b|br|bookmark|code|emph|em|font|h[1-6]|hr|href|html|i|image|img|item|keycode|li|link|literal|ol|p|pre|small|big|span|strong|" \
       "sub|sup|td|th|tr|table|tt|u|ul|variable|widget"
TAG = re.compile(r"</?(?:%s)(?:\s[^<>]*)?/?>" % TAGS)
BREAK = re.compile(r"<(?:br|p|/p|li|/li|hr)\s*/?>")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
PLACEHOLDER = re.compile(r"\$\([A-Za-z0-9_]+\)|\$\{?[A-Za-z0-9_]+\}?|%[A-Z][A-Z0-9_]*%?|%\d+|%[-+0#]*\d*[sdiuxXfgcO]\b|#\d+|\{\d*\}|"
                         r"@[A-Z]+@|\bARG\d+\b")
IDENTIFIER = re.compile(r"\b\w+_\w*|\b\w+\(\)|https?://|\bwww\.|\w+\.(?:com|org|xml|xcu)\b|\\\w|[{}|]|::|\w/\w+/\w")


def without_accelerator(text):
    """`~Datei`, `Da_tei`, `&Datei` -> `Datei`. Only the first of a kind is a mark."""
    text = re.sub(r"(?<!~)~(?=\w)", "", text, count=1)
    text = re.sub(r"&(?=\w)(?!\w+;)", "", text, count=1) if " & " not in text else text
    if text.count("_") == 1 and not re.search(r"[A-Z0-9]_[A-Z0-9]|_$|_\W", text):
        text = text.replace("_", "")
    return text


def clean(text):
    text = unicodedata.normalize("NFC", text)
    text = text.replace("\\n", "\n").replace("\\t", " ")
    text = BREAK.sub("\n", text)
    text = TAG.sub("", text)
    text = html.unescape(TAG.sub("", html.unescape(text)))
    text = INVISIBLE.sub("", text)
    text = text.replace("%PRODUCTNAME", "LibreOffice").replace("%PRODUCTVERSION", "7").replace("%PRODUCTEXTENSION", "")
    text = without_accelerator(text)
    text = text.replace("…", "...").replace(" ...", "...")
    text = re.sub(r"[^\S\n]+", " ", text)
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())


def clean_english(text):
    return text.translate({0x201C: '"', 0x201D: '"', 0x201E: '"', 0x2018: "'", 0x2019: "'"})


ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|z\.B|z\. B|d\.h|d\. h|u\.a|ca|bzw|Nr|No|Mr|Dr|St|vs|usw|ggf|max|min|inkl|evtl|Abb|Bsp|Std)|\b\w)\.$")


def sentences(text):
    parts, start = [], 0
    for match in re.finditer(r"(?<=[.!?])[\"')]?\s+(?=[\"'(„«]?[A-ZÄÖÜ])", text):
        if ABBREVIATION.search(text[start:match.start()]):
            continue
        parts.append(text[start:match.end()].strip())
        start = match.end()
    parts.append(text[start:].strip())
    return parts


ENDED = re.compile(r"[.!?:][\"')“»]?$")


def units(source, target):
    """The lines, then the sentences, of a message, where both sides agree on their number."""
    source_lines, target_lines = source.split("\n"), target.split("\n")
    if len(source_lines) != len(target_lines):
        source_lines, target_lines = [source.replace("\n", " ")], [target.replace("\n", " ")]
    # A line that does not end a sentence on either side goes on in the next.
    lines = []
    for one, other in zip(source_lines, target_lines):
        if lines and not ENDED.search(lines[-1][0]) and not ENDED.search(lines[-1][1]):
            one, other = lines[-1][0] + " " + one, lines[-1][1] + " " + other
            lines.pop()
        lines.append((one, other))
    for one, other in lines:
        left, right = sentences(one), sentences(other)
        if len(left) == len(right) and all(plausible_length(a, b) for a, b in zip(left, right)):
            yield from zip(left, right)
        else:
            yield one, other


# ---------------------------------------------------------------------------------------------------------------- filtering

MAX_CHARACTERS, MAX_WORDS = 300, 50

FUNCTION = re.compile(r"[A-ZÄÖÜ0-9.]{2,}")  # spreadsheet functions: SUMME, SUM


def plausible_length(source, target):
    """Like two wordings of one thing: a ratio that counts less the shorter they are."""
    ratio = (len(source) + 8) / (len(target) + 8)
    return 0.5 <= ratio <= 2.4


def key(text):
    """What two sentences that differ in case, punctuation or spacing alone have in common."""
    return "".join(c for c in text.casefold() if c.isalnum())


def reason_to_drop(source, target):
    for text in (source, target):
        if not text:
            return "empty"
        letters = sum(c.isalpha() for c in text)
        if letters < 2 or letters < 0.5 * len(text.replace(" ", "")):
            return "hardly any letters"
        if any(ord(c) > 0x24F and c.isalpha() and c != "ẞ" for c in text):
            return "letters of another script"
        if len(text) > MAX_CHARACTERS or len(text.split()) > MAX_WORDS:
            return "too long"
        if max(map(len, text.split())) > 50:
            return "no words"
        if text.count(";") >= 3 or text.count("/") >= 4 or text.count("=") >= 3:
            return "a list, not text"
        if IDENTIFIER.search(PLACEHOLDER.sub(" ", text)):
            return "code or address"
        if PLACEHOLDER.sub("", text).count("%") > 1:
            return "code or address"
    if key(source) == key(target):
        return "identical"
    if FUNCTION.fullmatch(source) and FUNCTION.fullmatch(target):
        return "a name in capitals"
    if sorted(PLACEHOLDER.findall(source)) != sorted(PLACEHOLDER.findall(target)):
        return "placeholders differ"
    if re.findall(r"\d+", source) != re.findall(r"\d+", target) and sorted(re.findall(r"\d", source)) != sorted(re.findall(r"\d", target)):
        return "numbers differ"
    if not plausible_length(source, target):
        return "lengths differ"
    return ""


# ---------------------------------------------------------------------------------------------------------------- splitting


class Groups:
    """Union-find over strings."""

    def __init__(self):
        self.parent = {}

    def find(self, item):
        self.parent.setdefault(item, item)
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, one, other):
        one, other = sorted((self.find(one), self.find(other)))
        self.parent[other] = one  # the smaller name leads: independent of the order of messages


def digest(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split(messages, test_size, valid_size):
    """messages: {identity: [(source, target)]}. Returns {part: [(source, target)]}."""
    groups = Groups()
    for identity, pairs in messages.items():
        groups.find("m" + identity)
        for source, target in pairs:
            groups.join("m" + identity, "s" + key(source))
            groups.join("m" + identity, "t" + key(target))
    members = collections.defaultdict(list)
    for identity in messages:
        members[groups.find("m" + identity)].append(identity)
    parts = {"test": [], "valid": [], "train": []}
    seen = set()
    for leader in sorted(members, key=digest):
        pairs = sorted({pair for identity in members[leader] for pair in messages[identity]})
        # Held-out text is drawn from small groups: a large one hangs together by frequent words, and belongs into training.
        if len(pairs) <= 6 and len(parts["test"]) < test_size:
            part = "test"
        elif len(pairs) <= 6 and len(parts["valid"]) < valid_size:
            part = "valid"
        else:
            part = "train"
        for source, target in pairs:
            # One wording per pair in training; one translation per source where translations are judged.
            mark = key(source) + ("\t" + key(target) if part == "train" else "")
            if mark not in seen:
                seen.add(mark)
                parts[part].append((source, target))
    for pairs in parts.values():
        pairs.sort(key=lambda pair: digest("\t".join(pair)))
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogues", nargs="+", metavar="FILE.po", help="as written by `msgunfmt --no-wrap FILE.mo`")
    parser.add_argument("--out", required=True, metavar="DIR", help="train.de, train.en, ... are written here")
    parser.add_argument("--source", default="de", help="language of the translations (default: de)")
    parser.add_argument("--target", default="en", help="language of the originals (default: en)")
    parser.add_argument("--test", type=int, default=1000, help="pairs of the test part, about (default: 1000)")
    parser.add_argument("--valid", type=int, default=500, help="pairs of the validation part, about (default: 500)")
    parser.add_argument("--show-dropped", metavar="FILE", help="write what was dropped, and why, as TSV")
    arguments = parser.parse_args()

    messages, dropped, counts = {}, [], collections.Counter()
    for path in arguments.catalogues:
        for identity, forms in read_po(path):
            counts["messages"] += 1
            pairs = []
            for original, translation in forms:
                source, target = clean(translation), clean_english(clean(original))
                for source_unit, target_unit in units(source, target):
                    reason = reason_to_drop(source_unit, target_unit)
                    if reason:
                        counts["dropped, " + reason] += 1
                        dropped.append((reason, source_unit, target_unit))
                    else:
                        pairs.append((source_unit, target_unit))
            if pairs:
                messages[identity] = pairs
    parts = split(messages, arguments.test, arguments.valid)
    if not parts["train"]:
        sys.exit("po_to_parallel.py: no pair is left for training")

    os.makedirs(arguments.out, exist_ok=True)
    for part, pairs in parts.items():
        for side, language in ((0, arguments.source), (1, arguments.target)):
            with open(os.path.join(arguments.out, "%s.%s" % (part, language)), "w", encoding="utf-8", newline="\n") as out:
                out.writelines(pair[side] + "\n" for pair in pairs)
    if arguments.show_dropped:
        with open(arguments.show_dropped, "w", encoding="utf-8", newline="\n") as out:
            out.writelines("%s\t%s\t%s\n" % (reason, one.replace("\n", " "), other.replace("\n", " "))
                           for reason, one, other in dropped)
    for name, count in counts.most_common():
        print("%7d  %s" % (count, name), file=sys.stderr)
    for part in ("train", "valid", "test"):
        pairs = parts[part]
        words = sum(len(target.split()) for _, target in pairs)
        print("%7d  pairs for %s, %.1f words each" % (len(pairs), part, words / max(1, len(pairs))), file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit("po_to_parallel.py: %s" % error)
