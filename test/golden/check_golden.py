#!/usr/bin/env python3
"""Compares seq-eval with the numbers of reference implementations.

The folder given by --golden (or GOLDEN_METRICS in the environment) holds expected.jsonl, tokenize.jsonl, stems.tsv and the
inputs that they refer to. Every record goes through the real binary and is held to its stated tolerance: scores 1e-4,
ratios, correlations and p-values 1e-6, counts, signatures, tokens and stems exactly, resampled values within the tolerance
given beside them. Exit 0: all agree; 1: some do not; 77: the folder is not there (ctest: skipped).
"""

import argparse
import collections
import json
import math
import os
import subprocess
import sys

SCORE = 1e-4
RATIO = 1e-6


class Comparison:
    """The deviations of one record."""

    def __init__(self):
        self.largest = 0.0
        self.problems = []

    def number(self, what, found, expected, tolerance):
        if expected is None or found is None:
            if expected is not None or found is not None:
                self.problems.append(f"{what}: {found} instead of {expected}")
            return
        difference = abs(found - expected)
        self.largest = max(self.largest, difference)
        if not difference <= tolerance:
            self.problems.append(f"{what}: {found} instead of {expected} (tolerance {tolerance})")

    def numbers(self, what, found, expected, tolerance):
        if len(found) != len(expected):
            self.problems.append(f"{what}: {len(found)} values instead of {len(expected)}")
        for f, e in zip(found, expected):
            self.number(what, f, e, tolerance)

    def equal(self, what, found, expected):
        if found != expected:
            self.problems.append(f"{what}: {found!r} instead of {expected!r}")


class Checker:
    def __init__(self, binary, golden):
        self.binary = binary
        self.golden = golden

    def run(self, flags, text=None):
        done = subprocess.run([self.binary] + flags, input=text, capture_output=True, text=True, encoding="utf-8",
                              cwd=self.golden)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(flags)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def run_json(self, flags, text=None):
        return json.loads(self.run(flags + ["--json"], text))

    def run_lines(self, flags, text=None):
        return [json.loads(line) for line in self.run(flags + ["--json"], text).splitlines()]

    def bleu(self, record, c):
        flags = text_flags(record) + bleu_flags(record["args"])
        whole = self.run_json(flags)["bleu"]
        c.equal("signature", whole["signature"], record["signature"])
        if record["level"] == "corpus":
            c.number("score", whole["score"], record["score"], SCORE)
            c.numbers("precisions", whole["precisions"], record["precisions"], SCORE)
            self.bleu_counts(whole, record, c)
            return
        lines = self.run_lines(flags + ["--sentence"])
        for i, line in enumerate(record["lines"]):
            expected = {key: record[key][i] for key in ("counts", "totals", "bp", "sys_len", "ref_len")}
            c.number(f"line {line} score", lines[line]["bleu"]["score"], record["scores"][i], SCORE)
            self.bleu_counts(lines[line]["bleu"], expected, c)

    def bleu_counts(self, found, expected, c):
        c.numbers("counts", found["counts"], expected["counts"], 0)
        c.numbers("totals", found["totals"], expected["totals"], 0)
        c.number("bp", found["bp"], expected["bp"], RATIO)
        c.equal("sys_len", found["sys_len"], expected["sys_len"])
        c.equal("ref_len", found["ref_len"], expected["ref_len"])

    def chrf(self, record, c):
        flags = text_flags(record) + chrf_flags(record["args"])
        whole = self.run_json(flags)["chrf"]
        c.equal("signature", whole["signature"], record["signature"])
        if record["level"] == "corpus":
            c.equal("name", whole["name"], record["name"])
            c.equal("statistics", whole["statistics"], record["statistics"])
            c.number("score", whole["score"], record["score"], SCORE)
            return
        lines = self.run_lines(flags + ["--sentence"])
        for line, expected in zip(record["lines"], record["scores"]):
            c.number(f"line {line} score", lines[line]["chrf"]["score"], expected, SCORE)

    def ter(self, record, c):
        flags = text_flags(record) + ter_flags(record["args"])
        whole = self.run_json(flags)["ter"]
        c.equal("signature", whole["signature"], record["signature"])
        if record["level"] == "corpus":
            found, expected = [whole], [(record["score"], record["num_edits"], record["ref_length"])]
        else:
            lines = self.run_lines(flags + ["--sentence"])
            found = [lines[line]["ter"] for line in record["lines"]]
            expected = zip(record["scores"], record["num_edits"], record["ref_length"])
        for f, (score, edits, length) in zip(found, expected):
            c.number("score", f["score"], score, SCORE)
            c.equal("num_edits", f["num_edits"], edits)
            c.number("ref_length", f["ref_length"], length, 1e-9)

    def rouge(self, record, c):
        args = record["args"]
        flags = ["--metric", ",".join(args["types"])] + file_flags(record)
        flags += ["--sentence-separator", args["sentence_separator"]] + ["--stem"] * args["stemmer"]
        whole = self.run_json(flags)
        lines = self.run_lines(flags + ["--sentence"])
        names = (("precision", "precision"), ("recall", "recall"), ("f", "fmeasure"))
        for kind, mean in record["mean"].items():
            for ours, theirs in names:
                c.number(f"{kind} {ours}", whole[kind][ours], mean[theirs], RATIO)
            for line, expected in zip(record["lines"], record["sentences"][kind]):
                found = [lines[line][kind][ours] for ours, _ in names]
                c.numbers(f"line {line} {kind}", found, expected, RATIO)
        if "bootstrap" not in record:
            return
        sampled = self.run_json(flags + ["--bootstrap", str(args["bootstrap_samples"])])
        for kind, expected in record["bootstrap"].items():
            for ours, theirs in names:
                for level in ("low", "mid", "high"):
                    found = sampled[kind]["bootstrap"][ours][level]
                    c.number(f"{kind} {ours} {level}", found, expected[level][theirs], expected["tolerance"])

    def paired(self, record, c):
        args = record["args"]
        if record["level"] == "vector":
            found = self.run_json(["--paired", "--input", record["data"], "--bootstrap", str(args["samples"])])
            c.number("baseline_mean", found["baseline_mean"], record["baseline_mean"], RATIO)
            c.number("system_mean", found["system_mean"], record["system_mean"], RATIO)
            c.number("delta", found["delta"], record["delta"], RATIO)
            sampled = found["bootstrap"]
        else:
            base = args["base"]
            flags = {"bleu": bleu_flags, "chrf": chrf_flags, "ter": ter_flags}[base](args["base_args"])
            flags += ["--metric", base, "--hyp", record["baseline"], "--system", record["system"]]
            flags += ["--bootstrap", str(args["samples"])] + [f"--ref={ref}" for ref in record["refs"]]
            whole = self.run_json(flags)
            of_baseline, system = whole[base], whole["systems"][0][base]
            c.number("baseline_score", of_baseline["score"], record["baseline_score"], SCORE)
            c.number("system_score", system["score"], record["system_score"], SCORE)
            c.number("delta", system["delta"], record["delta"], SCORE)
            sampled = dict(system["bootstrap"])
            sampled["system_bootstrap_mean"] = sampled["mean"]
            sampled["system_ci95_half_width"] = sampled["ci95_half_width"]
            sampled["baseline_bootstrap_mean"] = of_baseline["bootstrap"]["mean"]
            sampled["baseline_ci95_half_width"] = of_baseline["bootstrap"]["ci95_half_width"]
        sampled["delta_bootstrap_mean"] = sampled["delta_mean"]
        sampled["system_better_fraction"] = sampled["better_fraction"]
        for key, expected in record.items():
            if isinstance(expected, dict) and "tolerance" in expected:
                c.number(key, sampled[key], expected["value"], expected["tolerance"])

    def correlation(self, record, c):
        name = {"kendall-tau-b": "kendall"}.get(record["metric"], record["metric"])
        found = self.run_json(["--correlate", "--input", record["data"]])
        c.equal("n", found["n"], record["n"])
        c.number("score", found[name], record["score"], RATIO)
        c.equal("undefined", found["undefined-groups"] == 1, record["undefined"])
        if record["undefined"]:
            c.equal("reason", found["undefined-reason"], record["reason"])
            return
        c.number("p_value", found[name + "-p"], record.get("p_value"), RATIO)
        if name == "pearson" and "ci95_fisher" in record:
            c.numbers("ci95_fisher", found["pearson-ci95"], record["ci95_fisher"], RATIO)

    def kappa(self, record, c):
        found = self.run_json(["--kappa", "--input", record["data"], "--weights", record["args"]["weights"]])
        c.equal("n", found["n"], record["n"])
        c.number("score", found["kappa"], record["score"], RATIO)
        c.equal("undefined", "undefined-reason" in found, record["undefined"])
        if "observed_agreement" in record:
            c.number("observed_agreement", found["observed-agreement"], record["observed_agreement"], RATIO)

    def pass_at_k(self, record, c):
        key = f"pass@{record['args']['k']}"
        with open(os.path.join(self.golden, record["data"]), encoding="utf-8") as lines:
            pairs = [line.split() for line in lines]
        text = "".join(json.dumps({"n": int(n), "c": int(k)}) + "\n" for n, k in pairs)
        flags = ["--pass-at-k", str(record["args"]["k"])]
        found = self.run_json(flags, text)
        c.number("score", found[key], record["score"], RATIO)
        c.equal("undefined", "undefined-reason" in found, record["undefined"])
        if "per_problem" in record:
            lines = self.run_lines(flags + ["--sentence"], text)
            c.numbers("per_problem", [line[key] for line in lines], record["per_problem"], RATIO)

    def tokens(self, records):
        """Yields one (name, comparison) per tokeniser and text."""
        texts = "".join(record["text"] + "\n" for record in records)
        for name in records[0]["tokens"]:
            found = self.run(["--print-tokens"] + token_flags(name), texts).split("\n")
            for i, record in enumerate(records):
                c = Comparison()
                c.equal(f"tokens of {record['text']!r}", found[i], record["tokens"][name])
                yield f"tokens {name}", c

    def stems(self, pairs):
        words = "".join(word + "\n" for word, _ in pairs)
        found = self.run(["--print-tokens", "--metric", "rouge1", "--stem"], words).split("\n")
        for (word, stem), ours in zip(pairs, found):
            c = Comparison()
            c.equal(f"stem of {word}", ours, stem)
            yield "stems", c


def file_flags(record):
    return ["--hyp", record["hyp"]] + [f"--ref={ref}" for ref in record["refs"]]


def text_flags(record):
    return ["--metric", record["metric"]] + file_flags(record)


def bleu_flags(args):
    flags = ["--tokenize", args["tokenizer"], "--smooth", args["smoothing"], "--max-ngram-order", str(args["max_ngram_order"])]
    if args["smooth_value"] is not None:
        flags += ["--smooth-value", str(args["smooth_value"])]
    return flags + ["--lowercase"] * args["lowercase"] + ["--effective-order"] * args["effective_order"]


def chrf_flags(args):
    flags = ["--chrf-char-order", str(args["char_order"]), "--chrf-word-order", str(args["word_order"])]
    flags += ["--chrf-beta", str(args["beta"])] + ["--lowercase"] * args["lowercase"]
    return flags + ["--chrf-whitespace"] * args["whitespace"] + ["--chrf-eps-smoothing"] * args["eps_smoothing"]


def ter_flags(args):
    names = {"normalized": "--ter-normalized", "no_punct": "--ter-no-punct", "asian_support": "--ter-asian",
             "case_sensitive": "--ter-case-sensitive"}
    return [flag for name, flag in names.items() if args[name]]


def token_flags(name):
    if name == "chrf-words":
        return ["--metric", "chrf", "--chrf-word-order", "2"]
    if name.startswith("rouge"):
        return ["--metric", "rouge1"] + ["--stem"] * name.endswith("-stem")
    if name.startswith("tercom"):
        flags = {"norm": "--ter-normalized", "nopunct": "--ter-no-punct", "asian": "--ter-asian", "case": "--ter-case-sensitive"}
        return ["--metric", "ter"] + [flags[part] for part in name.split("+")[1:]]
    return ["--metric", "bleu", "--tokenize", name]


def read_jsonl(path):
    with open(path, encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def all_comparisons(checker):
    """Yields (group, id, comparison)."""
    kinds = {"bleu": checker.bleu, "chrf": checker.chrf, "ter": checker.ter, "rouge": checker.rouge,
             "paired-bootstrap": checker.paired, "pearson": checker.correlation, "spearman": checker.correlation,
             "kendall-tau-b": checker.correlation, "cohen-kappa": checker.kappa, "pass@k": checker.pass_at_k}
    for record in read_jsonl(os.path.join(checker.golden, "expected.jsonl")):
        c = Comparison()
        try:
            kinds[record["metric"]](record, c)
        except (RuntimeError, KeyError, IndexError) as error:
            c.problems.append(f"{type(error).__name__}: {error}")
        yield f"{record['metric']} {record['level']}", record["id"], c
    for group, c in checker.tokens(read_jsonl(os.path.join(checker.golden, "tokenize.jsonl"))):
        yield group, group, c
    with open(os.path.join(checker.golden, "stems.tsv"), encoding="utf-8") as lines:
        pairs = [line.rstrip("\n").split("\t") for line in lines]
    for group, c in checker.stems(pairs):
        yield group, group, c


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser.add_argument("--binary", default=os.path.join(root, "build", "bin", "seq-eval"))
    parser.add_argument("--golden", default=os.environ.get("GOLDEN_METRICS", os.path.join(root, "..", "shared", "data", "metrics-golden")))
    parser.add_argument("--show", type=int, default=20, help="how many disagreements to print")
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.golden):
        print(f"skipped: no folder {arguments.golden}")
        return 77
    checker = Checker(os.path.abspath(arguments.binary), os.path.abspath(arguments.golden))
    agree, total, largest = collections.Counter(), collections.Counter(), collections.defaultdict(float)
    shown = 0
    for group, name, c in all_comparisons(checker):
        total[group] += 1
        agree[group] += not c.problems
        largest[group] = max(largest[group], c.largest if math.isfinite(c.largest) else math.inf)
        for problem in c.problems:
            shown += 1
            if shown <= arguments.show:
                print(f"DIFFERS {name}: {problem[:500]}")
    print(f"{'group':<32}{'agree':>7}{'of':>7}   largest deviation")
    for group in sorted(total):
        print(f"{group:<32}{agree[group]:>7}{total[group]:>7}   {largest[group]:.3g}")
    print(f"{'all':<32}{sum(agree.values()):>7}{sum(total.values()):>7}")
    return 0 if agree == total else 1


if __name__ == "__main__":
    sys.exit(main())
