#!/usr/bin/env python3
"""Byte-level BPE in the most direct form: the reference for lib/text. Writes test/data/byte_level_bpe.json, or checks it.

usage: byte_level_bpe.py --write FILE | --check FILE

The file holds a small vocabulary with its merges, learnt here from the text below, and texts with the ids that each of three pre-tokenisers gives for them.
The pre-tokenisers are written out by hand instead of as regular expressions.
"""

import json
import random
import sys
import unicodedata

CORPUS = """
It's a small text, isn't it? We'll see what they've learnt, and I'd say they're fine; I'M SURE WE'LL DO IT'S.
The river runs down to the sea, the sea is wide and the river is long. In 2024 there were 1234567 fish in 12 rivers!
    def count(words):
        return sum(1 for word in words)      # how many
Die Straße führt über die Brücke; größer, schöner, öfter. Ça va très bien, naïve café. Привет, мир! Москва и река.
漢字かな交じり文、中文文本。 한국어 텍스트 مرحبا بالعالم שלום עולם \U0001F600\U0001F680 \u200b e\u0301 a\u0308
==> x = y + z; // <<== *** ... !!! ???
"""

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\t", " \n \n", "a", " a", "  a", "a ", "a  ", "a   b", "   a   ",
    "It's we'll I'M they'VE don't 'tis ''s 'S'T'Re'x'd", "IT'S\u2019s", "'s", " 's", "'", "''",
    "1", "12", "123", "1234", "1234567890", " 1 22 333 4444", "3.14159", "x1y22z333", "\u0661\u0662\u0663\u0664", "\u00bd\u00b2\u2167\u3007",
    "the river runs down to the sea", "the river  runs   down\n\n\nto the sea  \n", "line one\nline two\r\nline three\n\n", "\n\n\n", "a\n\n\nb", "a \n b", "a\t\tb",
    "trailing   ", "   leading", "tabs\t \tand spaces \t", "!!!", " !!!\n\n", "...\r\nx", "==> x = y;\n\n//", "#$%^&*()_+", "_under_score_", "a_b", "a-b",
    "漢字かな交じり文、中文文本。", "한국어 텍스트", "مرحبا بالعالم", "שלום עולם", "Привет, мир!",
    "\U0001F600", " \U0001F600\U0001F680", "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\u2764\ufe0f", "\U0001F1E9\U0001F1EA",
    "e\u0301te\u0301", "\u00e9t\u00e9", "a\u0308 o\u0308 \u212b \u1e9b\u0323", "\u0301", "x\u0301\u0302y", "\uac00 \u1100\u1161",
    "\u00a0", "a\u00a0b", "\u3000\u3000a", "\u2028x\u2029", "\u200b", "\ufeff", "\u0085a", "\x00", "a\x00b", "\x7f\x1f", "\ufffd\uffff\U0010ffff",
    "<|end|>", "<|end|> and <|end|", "<tool> x<tool>", "supercalifragilisticexpialidocious" * 3, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ab" * 100,
]

MERGES = 250


def spelling_table():
    """The printable character by which each byte is spelt."""
    own = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table, more = {}, 256
    for byte in range(256):
        table[byte] = chr(byte) if byte in own else chr(more)
        more += byte not in own
    return table


SPELLING = spelling_table()


def spell(text):
    return "".join(SPELLING[byte] for byte in text.encode("utf-8"))


def is_letter(c):
    return unicodedata.category(c).startswith("L")


def is_number(c):
    return unicodedata.category(c).startswith("N")


def is_space(c):
    return c in "\t\n\v\f\r\x85" or unicodedata.category(c).startswith("Z")


def is_other(c):
    return not (is_letter(c) or is_number(c) or is_space(c))


def run(text, start, belongs, most=None):
    end = start
    while end < len(text) and belongs(text[end]) and (most is None or end - start < most):
        end += 1
    return end


def contraction(text, i, any_case):
    for ending in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"):
        found = text[i : i + len(ending)]
        if found == ending or (any_case and found.lower() == ending):
            return i + len(ending)
    return i


def white_space(text, i):
    """All of a run at the end of the text; else all but its last character, which goes with what follows."""
    end = run(text, i, is_space)
    return end if end == len(text) or end == i + 1 else end - 1


def next_gpt2(text, i):
    end = contraction(text, i, False)
    if end > i:
        return end
    for belongs in (is_letter, is_number, is_other):
        for start in ([i + 1] if text[i] == " " else []) + [i]:
            end = run(text, start, belongs)
            if end > start:
                return end
    return white_space(text, i)


def next_llama3(text, i, digits=3):
    end = contraction(text, i, True)
    if end > i:
        return end
    marks = not (text[i] in "\r\n" or is_letter(text[i]) or is_number(text[i]))
    for start in ([i + 1] if marks else []) + [i]:
        end = run(text, start, is_letter)
        if end > start:
            return end
    end = run(text, i, is_number, digits)
    if end > i:
        return end
    for start in ([i + 1] if text[i] == " " else []) + [i]:
        end = run(text, start, is_other)
        if end > start:
            return run(text, end, lambda c: c in "\r\n")
    end = run(text, i, is_space)
    while end > i and text[end - 1] not in "\r\n":
        end -= 1
    return end if end > i else white_space(text, i)


def next_qwen2(text, i):
    return next_llama3(text, i, digits=1)


STYLES = {"gpt2": next_gpt2, "llama3": next_llama3, "qwen2": next_qwen2}


def words_of(text, style):
    words, i = [], 0
    while i < len(text):
        end = STYLES[style](text, i)
        assert end > i
        words.append(text[i:end])
        i = end
    return words


def merge_everywhere(symbols, pair):
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def learn():
    words = [list(spell(word)) for style in STYLES for word in words_of(CORPUS, style)]
    merges = []
    while len(merges) < MERGES:
        counts = {}
        for word in words:
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        words = [merge_everywhere(word, best) for word in words]
    return merges


def encode_word(word, ranks, vocabulary, whole_words_first):
    symbols = list(spell(word))
    if whole_words_first and "".join(symbols) in vocabulary:
        return [vocabulary["".join(symbols)]]
    while True:
        known = [pair for pair in zip(symbols, symbols[1:]) if pair in ranks]
        if not known:
            return [vocabulary[symbol] for symbol in symbols]
        symbols = merge_everywhere(symbols, min(known, key=ranks.get))


def random_texts(count):
    generator = random.Random(5)
    alphabet = "aaeiostrnSTR'''  \n\r\t0129.,!_-\u00e9\u00df\u0301\u6f22\u5b57\u3000\u00a0\u0436\u05d0\U0001F600\u200d"
    for _ in range(count):
        yield "".join(generator.choice(alphabet) for _ in range(generator.randrange(1, 40)))


def main(action, path):
    merges = learn()
    vocabulary = {SPELLING[byte]: byte for byte in range(256)}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    # A word that merging does not lead to: only a tokeniser that looks words up first finds it.
    vocabulary[spell(" supercalifragilistic")] = len(vocabulary)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    texts = TEXTS + [" supercalifragilistic supercali", CORPUS] + list(random_texts(120))
    cases = []
    for text in texts:
        case = {"text": text}
        for style in STYLES:
            normal = unicodedata.normalize("NFC", text) if style == "qwen2" else text
            words = words_of(normal, style)
            case[style] = [id for word in words for id in encode_word(word, ranks, vocabulary, style == "llama3")]
        cases.append(case)
    result = {"vocab": vocabulary, "merges": [list(pair) for pair in merges], "cases": cases}
    lines = ['{"vocab": ' + json.dumps(result["vocab"], ensure_ascii=False) + ",", ' "merges": ' + json.dumps(result["merges"], ensure_ascii=False) + ",", ' "cases": [']
    lines.append(",\n".join("  " + json.dumps(case) for case in cases))
    text = "\n".join(lines) + "\n]}\n"
    if action == "--write":
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return 0
    with open(path, encoding="utf-8") as file:
        same = file.read() == text
    print("byte_level_bpe.py: the file is", "what the reference gives" if same else "NOT what the reference gives; write it anew")
    return 0 if same else 1


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("--write", "--check"):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
