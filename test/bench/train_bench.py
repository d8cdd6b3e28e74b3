"""Training speed against PyTorch and against the machine's own products, on text of Multi30k (German to English).

Both sides train the same model on the same token ids. PyTorch is taken at its best over threads, precision, BLAS, OPENBLAS_CORETYPE and whether glibc is
told to keep the memory it frees: a short run of each first, then the fastest one in turn with ours.
"""
import json
import os

import bench
import translation
from bench import PYTHON

options = bench.parse(__doc__, seconds=(20.0, "of training in each run"), sizes=("S,B", "sizes of models to train, see test/bench/translation.py"),
                      trials=("", "try only the ways to run PyTorch whose name has this in it, such as '2 threads, bf16'"))
report = bench.Report("train", options.json)
trainings = translation.Trainings(options.data)


def ours(size, vocabulary, precision):
    return lambda: trainings.measure(size, vocabulary, ["--precision", precision, "--threads", str(options.threads), "--max-time",
                                                        f"{options.seconds}s"])


def peer(size, corpus, threads, precision, env, seconds):
    def measure():
        return json.loads(bench.run([PYTHON, os.path.join(bench.ROOT, "test/bench/pytorch_train.py"), corpus, "--vocabulary", str(size["vocabulary"]),
                                     "--dim", str(size["dim"]), "--ffn", str(size["ffn"]), "--heads", str(size["heads"]), "--layers", str(size["layers"]),
                                     "--batch-tokens", str(size["batch_tokens"]), "--threads", str(threads), "--precision", precision,
                                     "--seconds", str(seconds)], env))
    return measure


def flops_per_target_token(size, source_per_target):
    """Multiply-adds of the dense products, forward and backward, times two; attention's own products are left out."""
    dim, ffn, layers = size["dim"], size["ffn"], size["layers"]
    encoder = layers * (4 * dim * dim + 2 * dim * ffn)
    decoder = layers * (6 * dim * dim + 2 * dim * ffn) + dim * size["vocabulary"]
    keys = layers * 2 * dim * dim  # of the source, for cross-attention
    return 6 * (decoder + (encoder + keys) * source_per_target)


for name in options.sizes.split(","):
    size = translation.SIZES[name]
    run = os.path.join(trainings.folder, "prepared-" + name)
    pieces = trainings.vocabulary(size)
    bench.run(trainings.command(size, run, ["--vocab", pieces], ["--max-updates", "1"]))
    corpus = os.path.join(run, "cache/train.tokens")
    trial = lambda threads, precision, env: peer(size, corpus, threads, precision, env, options.seconds / 3)()["tokens-per-second"]
    best, threads, precision, env = bench.pytorch_at_its_best(name, trial, options.threads, ["fp32", "bf16"], options.trials)
    results = bench.interleaved({
        "bf16": ours(size, pieces, "bf16"), "fp32": ours(size, pieces, "fp32"),
        "peer": peer(size, corpus, threads, precision, env, options.seconds)}, options.runs)
    rates = json.loads(bench.run([os.path.join(bench.BUILD, "test/gemm-rate"), str(options.threads), str(size["batch_tokens"]), str(size["ffn"]),
                                  str(size["dim"])]))
    values = lambda case, key: [result[key] for result in results[case]]
    for case in ["bf16", "fp32"]:
        speed = values(case, "tokens-per-second")
        report.add(f"{name}, {case}", "target tokens", speed, "1/s", f"PyTorch, {best}", values("peer", "tokens-per-second"))
        flops = flops_per_target_token(size, 1.03)
        report.add(f"{name}, {case}", "dense products", [rate * flops * 1e-9 for rate in speed], "GFLOP/s", f"gemm-rate, {case}", [rates[case]])
        report.add(f"{name}, {case}", "peak memory", [value / 2**20 for value in values(case, "peak-bytes")], "MiB", "PyTorch",
                   [value / 2**20 for value in values("peer", "peak-bytes")])
    for work in results["bf16"][0]["shares"]:
        report.add(f"{name}, bf16", f"time in {work}", [100 * shares[work] for shares in values("bf16", "shares")], "%")
report.print()
trainings.close()
