"""Speed of language models: lm-train and lm-generate against PyTorch, and against what the machine's memory lets through.

Training: tokens a second of lm-train and of PyTorch (test/bench/pytorch_lm.py) on the same token ids of WikiText-2, PyTorch at its best over threads,
precision, BLAS and whether glibc keeps memory. Decoding: the most probable token each time, of models that were trained for a few updates, every text as
long as the others; the engine in float32, bfloat16 and with 8-bit weights, the LibTorch backend, and PyTorch with cached keys and values, in float32 and bfloat16,
each at its best over the same ways. A batch of 1 is one text at a time, 32 is 32 prompts shared out to the workers. Tokens a second leave out start
and load: the time of a program less that of one that reads no prompt. Large: a model of the shape of TinyLlama, 1.1 billion random weights in bfloat16, one
text at a time; what a token takes is told by texts of two lengths. The limit is the machine's measured memory bandwidth divided by the bytes of model.safetensors.
"""
import json
import os

import bench
import language

options = bench.parse(__doc__, seconds=(20.0, "of training in each run"), sizes=("S,B", "sizes of models, see test/bench/language.py; '' for none"),
                      parts=("train,decode,large", "what to measure"), new_tokens=(192, "of each text"), prompt_words=(24, "of each prompt"),
                      trials=("", "training: only the ways to run PyTorch whose name has this in it, such as '2 threads, bf16'"),
                      decode_trials=("", "decoding: likewise, such as 'memory kept'"),
                      cases=("", "decoding: only cases whose name has this in it, such as 'batch 32'"))
parts = options.parts.split(",")
report = bench.Report("lm", options.json)
models = language.Models(options.data)
has_bfloat16 = "avx512_bf16" in open("/proc/cpuinfo").read()
# One text takes little time: it is decoded so many times over.
SAMPLES = {"S": 12, "B": 6}


def column(results, key, scale=1.0):
    return [result[key] * scale for result in results]


def add_memory(case, results, peer, peer_results):
    report.add(case, "peak memory", column(results, "peak-bytes", 2**-20), "MiB", peer, column(peer_results, "peak-bytes", 2**-20))


def measure_training(name, run):
    size, corpus, pieces = language.SIZES[name], os.path.join(run, "cache/train.tokens"), os.path.join(run, "vocab.spm")
    trial = lambda threads, precision, env: models.pytorch_training(size, corpus, threads, precision, env, options.seconds / 3)["tokens-per-second"]
    best, threads, precision, env = bench.pytorch_at_its_best(name, trial, options.threads, ["fp32", "bf16"], options.trials)
    ours = lambda kind: lambda: models.measure_training(size, pieces, ["--precision", kind, "--threads", str(options.threads), "--max-time",
                                                                       f"{options.seconds}s"])
    results = bench.interleaved({"bf16": ours("bf16"), "fp32": ours("fp32"),
                                 "PyTorch": lambda: models.pytorch_training(size, corpus, threads, precision, env, options.seconds)}, options.runs)
    limits = json.loads(bench.run([os.path.join(bench.BUILD, "test/gemm-rate"), str(options.threads), str(size["batch_tokens"]), str(size["ffn"]),
                                   str(size["dim"])]))
    for kind in ("bf16", "fp32"):
        case, speed = f"{name}, training, {kind}", column(results[kind], "tokens-per-second")
        report.add(case, "tokens", speed, "1/s", f"PyTorch, {best}", column(results["PyTorch"], "tokens-per-second"))
        # Forward, and twice as much backward; attention's own products are left out.
        flops = 6 * language.parameters(size)
        report.add(case, "dense products", [rate * flops * 1e-9 for rate in speed], "GFLOP/s", f"gemm-rate, {kind}", [limits[kind]])
        add_memory(case, results[kind], "PyTorch", results["PyTorch"])
    for work in results["bf16"][0]["shares"]:
        report.add(f"{name}, training, bf16", f"time in {work}", [100 * result["shares"][work] for result in results["bf16"]], "%")


def quantised(model, output):
    bench.run([os.path.join(bench.BIN, "int8-quantize"), "--model", model, "--output", output, "--mode", "dynamic"])
    return output


def measure_decoding(name, ways, batch, threads, words):
    size = language.SIZES[name]
    case = f"{name}, batch {batch}, {threads} threads" + (f", prompts of {words} words" if words != options.prompt_words else "")
    if options.cases not in case:
        return
    prompts, samples = models.prompts(batch, words), SAMPLES[name] if batch == 1 else 1
    # Rows of each worker: one prompt gets one worker, which has all threads.
    rows = max(1, batch // threads)
    ours = lambda way: lambda: models.generate(*ways[way], prompts, samples, options.new_tokens, rows, threads)
    prompt_tokens = round(ours("float32")()["prompt-tokens"])
    measures = {way: ours(way) for way in ways}
    peers = {}
    for precision in ["fp32", "bf16"]:
        pytorch = lambda count, kind, env, new_tokens, repeats: models.pytorch_decoding(size, prompt_tokens, new_tokens, batch, repeats, count, kind, env)
        trial = lambda count, kind, env: pytorch(count, kind, env, options.new_tokens // 4, 1)["tokens-per-second"]
        best, *way = bench.pytorch_at_its_best(case, trial, threads, [precision], options.decode_trials)
        peers[precision] = "PyTorch, " + best
        measures[peers[precision]] = lambda way=way: pytorch(*way, options.new_tokens, 2)
    results = bench.interleaved(measures, options.runs)
    speed = {way: column(results[way], "tokens-per-second") for way in results}
    baseline = peers["fp32"]
    for way in ways:
        peer = peers["bf16"] if way == "bfloat16" else baseline
        report.add(f"{case}, {way}", "tokens", speed[way], "1/s", peer, speed[peer])
        if way != "LibTorch backend":
            report.add(f"{case}, {way}", "against our backend", speed[way], "1/s", "LibTorch backend", speed["LibTorch backend"])
        if way not in ("float32", "LibTorch backend"):
            report.add(f"{case}, {way}", "against float32", speed[way], "1/s", "float32", speed["float32"])
        report.add(f"{case}, {way}", "first token", column(results[way], "seconds-to-first-token", 1e3), "ms", peer,
                   column(results[peer], "seconds-to-first-token", 1e3))
        report.add(f"{case}, {way}", "start and load", column(results[way], "start", 1e3), "ms")
        add_memory(f"{case}, {way}", results[way], peer, results[peer])


def measure_size(name):
    run = models.prepare(name, 20)
    if "train" in parts:
        measure_training(name, run)
    if "decode" not in parts:
        return
    integers = quantised(run, models.path("integers-" + name))
    ways = {"LibTorch backend": (run, "torch", "fp32"), "float32": (run, "engine", "fp32"), "bfloat16": (run, "engine", "bf16"),
            "8-bit": (integers, "engine", "fp32")}
    if not has_bfloat16:
        del ways["bfloat16"]
    for batch in (1, 32):
        for threads in sorted({1, options.threads}):
            measure_decoding(name, ways, batch, threads, options.prompt_words)
    measure_decoding(name, ways, 1, options.threads, 8 * options.prompt_words)


def measure_large():
    folder = models.path("large")
    bench.run([bench.PYTHON, os.path.join(bench.ROOT, "test/reference/llama_reference.py"), "make", folder, "--shape", "tinyllama-1.1b", "--dtype", "bf16"])
    ways = {"bfloat16": (folder, "bf16"), "8-bit": (quantised(folder, models.path("large-integers")), "fp32")}
    prompts, short, long = models.prompts(1, options.prompt_words), 8, 72

    def ours(model, precision, threads):
        def measure():
            one, other = (models.generate(model, "engine", precision, prompts, 1, new_tokens, 1, threads) for new_tokens in (short, long))
            return {**other, "tokens-per-second": (long - short) / (other["seconds"] - one["seconds"])}
        return measure

    for threads in sorted({1, options.threads}):
        measures = {way: ours(*arguments, threads) for way, arguments in ways.items()}
        # GB/s by number of threads
        measures["memory"] = lambda: json.loads(bench.run([os.path.join(bench.BUILD, "test/memory-rate")]))
        pytorch = lambda count, precision, env: models.pytorch_decoding(language.LARGE, 32, 16, 1, 1, count, precision, env)
        trial = lambda *way: pytorch(*way)["tokens-per-second"]
        best, *best_way = bench.pytorch_at_its_best("large", trial, threads, ["fp32", "bf16"], options.decode_trials)
        measures["PyTorch"] = lambda: pytorch(*best_way)
        peer = "PyTorch, " + best
        results = bench.interleaved(measures, options.runs)
        report.add(f"large, {threads} threads", "memory bandwidth", column(results["memory"], str(threads)), "GB/s")
        for way, (model, _) in ways.items():
            case, speed = f"large, batch 1, {threads} threads, {way}", column(results[way], "tokens-per-second")
            gigabytes = os.path.getsize(os.path.join(model, "model.safetensors")) * 1e-9
            limit = [rate / gigabytes for rate in column(results["memory"], str(threads))]
            report.add(case, "tokens", speed, "1/s", f"bandwidth / {gigabytes:.2f} GB", limit)
            report.add(case, "tokens", speed, "1/s", peer, column(results["PyTorch"], "tokens-per-second"))
            report.add(case, "first token", column(results[way], "seconds-to-first-token", 1e3), "ms", peer,
                       column(results["PyTorch"], "seconds-to-first-token", 1e3))
            report.add(case, "start and load", column(results[way], "start", 1e3), "ms")
            add_memory(case, results[way], peer, results["PyTorch"])


try:
    for size_name in filter(None, options.sizes.split(",")):
        if "train" in parts or "decode" in parts:
            measure_size(size_name)
    if "large" in parts:
        measure_large()
    report.print()
finally:
    models.close()
