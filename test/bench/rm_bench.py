"""Speed of reward models: rm-train and rm-score against PyTorch on the same pairs, with prompts shared between the answers of a pair and not.

The pairs are those of HH (helpful), framed and tokenised alike for both: prompts as they are, answers with an end symbol, at most 256 tokens. PyTorch (test/bench/pytorch_rm.py) at its best
over threads, precision, BLAS and whether glibc keeps memory. Scoring leaves out start and load: the time of a program less that of one that reads a single pair.
"""
import gzip
import json
import os
import re

import bench
import language

options = bench.parse(__doc__, seconds=(15.0, "of training in each run"), sizes=("S", "sizes of models, see test/bench/language.py"), parts=("train,score", "what to measure"),
                      trials=("", "only the ways to run PyTorch whose name has this in it, such as '2 threads, bf16'"))
WINDOW, BATCH_TOKENS = 256, 4096
SAID = re.compile(r"([\d.]+) pairs/s")
report = bench.Report("rm", options.json)
models = language.Models(options.data)


def column(results, key, scale=1.0):
    return [result[key] * scale for result in results]


def pairs_file():
    """Pairs whose longer answer fits behind its prompt, so that nothing is cut on either side."""
    with gzip.open(os.path.join(options.data, "pref-hh-helpful/pairs.jsonl.gz"), "rt") as lines:
        return [json.loads(line) for line in lines]


def tokenised(pairs, vocabulary, path):
    """Their ids for PyTorch. Returns the pairs that fit the window, and their tokens when prompts count once as a share of those when they count for each answer."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=vocabulary)
    kept, once, twice = [], 0, 0
    with open(path, "w") as out:
        for pair in pairs:
            ids = {"prompt": [pieces.bos_id()] * (pieces.bos_id() >= 0) + pieces.encode(pair["prompt"])}
            ids.update({answer: pieces.encode(pair[answer]) + [pieces.eos_id()] for answer in ("chosen", "rejected")})
            if len(ids["prompt"]) + max(len(ids["chosen"]), len(ids["rejected"])) <= WINDOW - 8:
                kept.append(pair)
                answers = len(ids["chosen"]) + len(ids["rejected"])
                once, twice = once + len(ids["prompt"]) + answers, twice + 2 * len(ids["prompt"]) + answers
                out.write(json.dumps(ids) + "\n")
    return kept, once / twice


def pytorch(command, size, corpus, threads, precision, env, seconds=0.0, limit=0):
    program = os.path.join(bench.ROOT, "test/bench/pytorch_rm.py")
    more = ["--seconds", str(seconds)] if command == "train" else ["--limit", str(limit)]
    return json.loads(bench.run([bench.PYTHON, program, command, corpus, "--vocabulary", str(size["vocabulary"]), *language.flags(size), "--threads", str(threads), "--precision", precision,
                                 "--window", str(WINDOW), "--batch-tokens", str(BATCH_TOKENS), *more], env))


def measure_size(name):
    size, base = language.SIZES[name], models.prepare(name, 20)
    corpus, data = models.path(f"pairs-{name}.ids"), models.path(f"pairs-{name}.jsonl")
    pairs, share_of_tokens = tokenised(pairs_file(), os.path.join(base, "vocab.spm"), corpus)
    with open(data, "w") as out:
        out.writelines(json.dumps(pair) + "\n" for pair in pairs)
    # So many pairs in an update as PyTorch has in one.
    batch_tokens = round(BATCH_TOKENS * share_of_tokens)
    print(f"{len(pairs)} pairs; prompts that count once leave {100 * share_of_tokens:.0f} % of the tokens", flush=True)

    def training(precision, share):
        run = models.path("rm-run")
        line = [os.path.join(bench.BIN, "rm-train"), "--model", base, "--run", run, "--train", data, "--valid", data, "--window", str(WINDOW), "--batch-tokens", str(batch_tokens),
                "--schedule", "constant", "--log-every", "1", "--validate-every", "1000000", "--save-every", "0", "--threads", str(options.threads), "--precision", precision,
                "--max-time", f"{options.seconds}s", "--quiet", *([] if share else ["--no-share-prompts"])]
        figures = bench.measured_training(line, run, rate="comparisons-per-second")
        models.remove(run)
        return figures

    def scoring(model, precision, share):
        line = [os.path.join(bench.BIN, "rm-score"), "--model", model, "--pairs", "--json", "--precision", precision, "--threads", str(options.threads), "--window", str(WINDOW),
                *([] if share else ["--no-share-prompts"])]
        one = models.path("one.jsonl")
        with open(one, "w") as out:
            out.write(json.dumps(pairs[0]) + "\n")
        start, figures = bench.watched(line, one)["seconds"], bench.watched(line, data)
        return {"pairs-per-second": (len(pairs) - 1) / (figures["seconds"] - start), "peak-bytes": figures["peak-bytes"]}

    def compare(what, ours, seconds):
        trial = lambda threads, precision, env: pytorch(what, size, corpus, threads, precision, env, seconds / 3, 100)["pairs-per-second"]
        best, threads, precision, env = bench.pytorch_at_its_best(f"{name}, {what}", trial, options.threads, ["fp32", "bf16"], options.trials)
        results = bench.interleaved({**ours, "PyTorch": lambda: pytorch(what, size, corpus, threads, precision, env, seconds)}, options.runs)
        for way in ours:
            report.add(f"{name}, {what}, {way}", "pairs", column(results[way], "pairs-per-second"), "1/s", f"PyTorch, {best}", column(results["PyTorch"], "pairs-per-second"))
            report.add(f"{name}, {what}, {way}", "peak memory", column(results[way], "peak-bytes", 2**-20), "MiB", "PyTorch", column(results["PyTorch"], "peak-bytes", 2**-20))

    if "train" in options.parts:
        renamed = lambda precision, share: lambda: {**(figures := training(precision, share)), "pairs-per-second": figures["tokens-per-second"]}
        compare("train", {"bf16": renamed("bf16", True), "fp32": renamed("fp32", True), "bf16, prompts not shared": renamed("bf16", False)}, options.seconds)
    if "score" in options.parts:
        run = models.path("rm-scored")
        bench.run([os.path.join(bench.BIN, "rm-train"), "--model", base, "--run", run, "--train", data, "--valid", data, "--window", str(WINDOW), "--max-updates", "1", "--warmup", "0",
                   "--schedule", "constant", "--quiet"])
        compare("score", {"float32": lambda: scoring(run, "fp32", True), "bf16": lambda: scoring(run, "bf16", True),
                          "float32, prompts not shared": lambda: scoring(run, "fp32", False)}, options.seconds)


try:
    for size in filter(None, options.sizes.split(",")):
        measure_size(size)
finally:
    models.close()
report.print()
