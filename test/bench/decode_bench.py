"""Decoding speed of nmt-translate: LibTorch, the engine in float32 and in 8-bit integers, and PyTorch with cached keys as the outside baseline.

The weights are random (a model that was trained for one update), the sources are Multi30k's validation text; every sentence gets the same number of target tokens, since random
models hardly ever end. Tokens are those of the best hypothesis. The time of a run is that of the whole program less that of one that translates nothing.
"""
import gzip
import json
import os


import bench
import translation
from translation import PYTHON

STEPS = 24
options = bench.parse(__doc__, sizes=("S,B", "sizes of models, see test/bench/translation.py"), scale=(1.0, "times as many sentences"),
                      cases=("", "only cases whose name has this in it, such as 'batch 32, beam 5'"))
report = bench.Report("decode", options.json)
trainings = translation.Trainings(options.data)
# Sentences by size and batch: some seconds each.
SENTENCES = {("S", 1): 60, ("S", 32): 600, ("B", 1): 20, ("B", 32): 160}


def measured(line, text):
    """(seconds, peak bytes, records) of a command that reads this text."""
    program = ("import json, resource, subprocess, sys, time\n"
               "begin = time.perf_counter()\n"
               "subprocess.run(sys.argv[3:], check=True, stdin=open(sys.argv[1]), stdout=open(sys.argv[2], 'w'))\n"
               "print(json.dumps([time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))")
    out = os.path.join(trainings.folder, "out")
    seconds, peak = json.loads(bench.run([PYTHON, "-c", program, text, out, *line]))
    with open(out) as file:
        return seconds, peak, [json.loads(record) for record in file]


def ours(model, backend, sentences, batch, beam, threads):
    text, nothing = os.path.join(trainings.folder, f"source.{sentences}"), os.path.join(trainings.folder, "nothing")
    with gzip.open(trainings.text("val", "de"), "rt") as lines, open(text, "w") as out:
        out.writelines(line for _, line in zip(range(sentences), lines))
    open(nothing, "w").close()
    # A batch is given in source tokens: some 16 a sentence.
    line = [os.path.join(bench.BIN, "nmt-translate"), "--model", model, "--backend", backend, "--json", "--quiet", "--beam", str(beam), "--threads", str(threads),
            "--batch-tokens", str(1 if batch == 1 else 16 * batch), "--max-length", str(STEPS), "--max-extra", "1000"]

    def measure():
        start, _, _ = measured(line, nothing)
        seconds, peak, records = measured(line, text)
        tokens = sum(record["hypotheses"][0]["length"] for record in records)
        return {"tokens-per-second": tokens / (seconds - start), "peak-bytes": peak, "start": start}
    return measure


def peer(size, corpus, sentences, batch, beam, threads):
    def measure():
        return json.loads(bench.run([PYTHON, os.path.join(bench.ROOT, "test/bench/pytorch_decode.py"), corpus, "--vocabulary", str(size["vocabulary"]), "--dim",
                                     str(size["dim"]), "--ffn", str(size["ffn"]), "--heads", str(size["heads"]), "--layers", str(size["layers"]), "--threads",
                                     str(threads), "--sentences", str(sentences), "--batch", str(batch), "--beam", str(beam), "--steps", str(STEPS)]))
    return measure


for name in options.sizes.split(","):
    size = translation.SIZES[name]
    model, integers = os.path.join(trainings.folder, "model-" + name), os.path.join(trainings.folder, "int8-" + name)
    bench.run(trainings.command(size, model, ["--vocab", trainings.vocabulary(size)], ["--max-updates", "1", "--learning-rate", "0"]))
    bench.run([os.path.join(bench.BIN, "int8-quantize"), "--model", model, "--output", integers])
    weights = [os.path.getsize(os.path.join(folder, "model.safetensors")) / 2**20 for folder in (os.path.join(model, "ckpt/last"), integers)]
    report.add(name, "weights on disk", weights[:1], "MiB", "8-bit integers", weights[1:])
    for batch in (1, 32):
        for beam in (1, 5):
            for threads in sorted({1, options.threads}):
                case = f"{name}, batch {batch}, beam {beam}, {threads} threads"
                if options.cases not in case:
                    continue
                sentences = max(2, int(SENTENCES[name, batch] * options.scale / beam))
                results = bench.interleaved({
                    "torch": ours(model, "torch", sentences, batch, beam, threads), "engine": ours(model, "engine", sentences, batch, beam, threads),
                    "int8": ours(integers, "engine", sentences, batch, beam, threads),
                    "peer": peer(size, os.path.join(model, "cache/valid.tokens"), sentences, batch, beam, threads)}, options.runs)
                speed = {way: [result["tokens-per-second"] for result in results[way]] for way in results}
                memory = {way: [result["peak-bytes"] / 2**20 for result in results[way]] for way in results}
                report.add(f"{case}, LibTorch backend", "target tokens", speed["torch"], "1/s", "PyTorch", speed["peer"])
                report.add(f"{case}, engine", "target tokens", speed["engine"], "1/s", "LibTorch backend", speed["torch"])
                report.add(f"{case}, engine", "against PyTorch", speed["engine"], "1/s", "PyTorch", speed["peer"])
                report.add(f"{case}, int8", "target tokens", speed["int8"], "1/s", "engine", speed["engine"])
                report.add(f"{case}, int8", "peak memory", memory["int8"], "MiB", "engine", memory["engine"])
                if batch == 1 and beam == 1 and threads == 1:
                    for way in ("torch", "engine", "int8"):
                        report.add(f"{name}, {way}", "start and load", [1000 * result["start"] for result in results[way]], "ms")
report.print()
trainings.close()
