"""Decoding speed of nmt-translate: LibTorch, the engine in float32, bfloat16 and 8-bit integers in both modes, and PyTorch with cached keys as the outside baseline.

The weights are random (models that were trained for one update), the sources are Multi30k's validation text; every sentence gets the same number of target tokens, since random
models hardly ever end. Long texts are twelve lines of it joined. Tokens are those of the best hypothesis. The time of a run is that of the whole program less that of one that
translates nothing. 8-bit integers in mode scale-propagation are of an integer-transformer of the same size, all others of a transformer.
"""
import gzip
import json
import os

import bench
import translation
from bench import PYTHON

options = bench.parse(__doc__, sizes=("S,B", "sizes of models, see test/bench/translation.py"), scale=(1.0, "times as many sentences"),
                      cases=("", "only cases whose name has this in it, such as 'batch 32, beam 5'"))
report = bench.Report("decode", options.json)
trainings = translation.Trainings(options.data)
# Sentences by size and batch: whole batches for every worker, several of them where more than one works.
SENTENCES = {("S", 1): 60, ("S", 32): 384, ("B", 1): 20, ("B", 32): 192}
KINDS = {"": dict(joined=1, steps=24), ", long text": dict(joined=12, steps=160)}


def measured(line, text):
    """(seconds, peak bytes, records) of a command that reads this text."""
    figures = bench.watched(line, text)
    return figures["seconds"], figures["peak-bytes"], [json.loads(record) for record in figures["out"].splitlines()]


def write_sources(sentences, joined):
    path = os.path.join(trainings.folder, f"source.{sentences}.{joined}")
    with gzip.open(trainings.text("val", "de"), "rt") as lines:
        text = [line.strip() for line in lines]
    with open(path, "w") as out:
        for i in range(sentences):
            out.write(" ".join(text[(i * joined + j) % len(text)] for j in range(joined)) + "\n")
    return path


def ours(model, backend, precision, sentences, kind, batch, beam, threads):
    nothing = os.path.join(trainings.folder, "nothing")
    open(nothing, "w").close()
    text = write_sources(sentences, kind["joined"])
    # A batch is given in source tokens: some 16 a sentence.
    line = [os.path.join(bench.BIN, "nmt-translate"), "--model", model, "--backend", backend, "--precision", precision, "--json", "--quiet", "--beam", str(beam),
            "--threads", str(threads), "--batch-tokens", str(1 if batch == 1 else 16 * batch * kind["joined"]), "--max-length", str(kind["steps"]), "--max-extra", "1000"]

    def measure():
        start, _, _ = measured(line, nothing)
        seconds, peak, records = measured(line, text)
        tokens = sum(record["hypotheses"][0]["length"] for record in records)
        return {"tokens-per-second": tokens / (seconds - start), "peak-bytes": peak, "start": start}
    return measure


def peer(size, corpus, sentences, kind, batch, beam, threads):
    def measure():
        return json.loads(bench.run([PYTHON, os.path.join(bench.ROOT, "test/bench/pytorch_decode.py"), corpus, "--vocabulary", str(size["vocabulary"]), "--dim",
                                     str(size["dim"]), "--ffn", str(size["ffn"]), "--heads", str(size["heads"]), "--layers", str(size["layers"]), "--threads",
                                     str(threads), "--sentences", str(sentences), "--joined", str(kind["joined"]), "--batch", str(batch), "--beam", str(beam),
                                     "--steps", str(kind["steps"])]))
    return measure


def models(name, size):
    """{way: (model, backend, precision)}, the weights on disk added to the report."""
    vocabulary = trainings.vocabulary(size)
    path = {kind: os.path.join(trainings.folder, f"{kind}-{name}") for kind in ("transformer", "integer-transformer", "dynamic", "scale-propagation")}
    for kind in ("transformer", "integer-transformer"):
        bench.run(trainings.command(size, path[kind], ["--vocab", vocabulary], ["--max-updates", "1", "--learning-rate", "0", "--model.type", kind]))
    for mode, source in (("dynamic", "transformer"), ("scale-propagation", "integer-transformer")):
        bench.run([os.path.join(bench.BIN, "int8-quantize"), "--model", path[source], "--output", path[mode], "--mode", mode])
        before, after = (os.path.getsize(os.path.join(folder, "model.safetensors")) / 2**20 for folder in (os.path.join(path[source], "ckpt/last"), path[mode]))
        report.add(name, "weights on disk", [before], "MiB", f"8-bit, {mode}", [after])
    ways = {"LibTorch backend": (path["transformer"], "torch", "fp32"), "float32": (path["transformer"], "engine", "fp32"),
            "bfloat16": (path["transformer"], "engine", "bf16"), "8-bit, dynamic": (path["dynamic"], "engine", "fp32"),
            "8-bit, scale-propagation": (path["scale-propagation"], "engine", "fp32")}
    if "avx512_bf16" not in open("/proc/cpuinfo").read():
        del ways["bfloat16"]
    return ways


def measure_case(name, size, ways, case, kind, batch, beam, threads):
    sentences = max(2, int(SENTENCES[name, batch] * options.scale / (beam if batch == 1 else 3 - threads if threads < 3 else 1)))
    if kind["joined"] > 1:
        sentences //= 12
    corpus = os.path.join(ways["float32"][0], "cache/valid.tokens")
    measures = {way: ours(*arguments, sentences, kind, batch, beam, threads) for way, arguments in ways.items()}
    # One batch is enough of what is slow.
    measures["PyTorch"] = peer(size, corpus, min(sentences, max(batch, 8)), kind, batch, beam, threads)
    results = bench.interleaved(measures, options.runs)
    speed = {way: [result["tokens-per-second"] for result in results[way]] for way in results}
    memory = {way: [result["peak-bytes"] / 2**20 for result in results[way]] for way in results}
    report.add(f"{case}, LibTorch backend", "target tokens", speed["LibTorch backend"], "1/s", "PyTorch", speed["PyTorch"])
    report.add(f"{case}, float32", "target tokens", speed["float32"], "1/s", "LibTorch backend", speed["LibTorch backend"])
    report.add(f"{case}, float32", "against PyTorch", speed["float32"], "1/s", "PyTorch", speed["PyTorch"])
    for way in ways:
        if way not in ("LibTorch backend", "float32"):
            report.add(f"{case}, {way}", "target tokens", speed[way], "1/s", "float32", speed["float32"])
            report.add(f"{case}, {way}", "peak memory", memory[way], "MiB", "float32", memory["float32"])
    return results


for name in options.sizes.split(","):
    size = translation.SIZES[name]
    ways = models(name, size)
    for label, kind in KINDS.items():
        for batch in (1, 32):
            for beam in (1, 5):
                for threads in sorted({1, options.threads}):
                    case = f"{name}{label}, batch {batch}, beam {beam}, {threads} threads"
                    # Long texts for what they are translated with, not in every cell.
                    if options.cases not in case or (label and (batch, threads) != (32, options.threads)):
                        continue
                    results = measure_case(name, size, ways, case, kind, batch, beam, threads)
                    if not label and batch == 1 and beam == 1 and threads == 1:
                        for way in ways:
                            report.add(f"{name}, {way}", "start and load", [1000 * result["start"] for result in results[way]], "ms")
    # The encoder alone against oneDNN's products, of 8-bit integers or float32: dense products per second of everything that it does.
    if options.cases in f"{name}, encoder, batch 32, 1 core":
        dim, ffn, layers = size["dim"], size["ffn"], size["layers"]
        operations = 2e-9 * layers * (4 * dim * dim + 2 * dim * ffn + 2 * dim * dim)
        text = write_sources(32, 1)
        encode = lambda way: lambda: json.loads(bench.run([os.path.join(bench.BUILD, "test/encoder-rate"), ways[way][0], text]))["tokens-per-second"] * operations
        measures = {way: encode(way) for way in ("float32", "8-bit, dynamic", "8-bit, scale-propagation")}
        # Of a shape at which oneDNN is at its best: at that of S its 8-bit product is five times as slow.
        measures["oneDNN"] = lambda: json.loads(bench.run([os.path.join(bench.BUILD, "test/gemm-rate"), "1", "512", "2048", "512"]))
        results = bench.interleaved(measures, options.runs)
        for way in ("float32", "8-bit, dynamic", "8-bit, scale-propagation"):
            limit = [result["fp32" if way == "float32" else "int8"] for result in results["oneDNN"]]
            report.add(f"{name}, encoder, batch 32, 1 core, {way}", "dense products", results[way], "GOP/s", "oneDNN's product alone", limit)
report.print()
trainings.close()
