"""Training speed against PyTorch and against the machine's own products, on text of Multi30k (German to English).

Both sides train the same model on the same token ids. PyTorch is taken at its best over threads, precision, BLAS and OPENBLAS_CORETYPE: a short
run of each first, then the fastest one in turn with ours.
"""
import glob
import gzip
import itertools
import json
import os
import shutil
import statistics
import tempfile

import bench

SIZES = {
    "S": dict(dim=256, ffn=1024, heads=4, layers=3, vocabulary=8000, batch_tokens=4096),
    "B": dict(dim=512, ffn=2048, heads=8, layers=6, vocabulary=32000, batch_tokens=2048),
}
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
PTHREAD_BLAS = "/usr/lib/x86_64-linux-gnu/openblas-pthread"

options = bench.parse(__doc__, seconds=20.0, sizes="S,B")
report = bench.Report("train", options.json)
folder = tempfile.mkdtemp(prefix="seqmill-bench-")


def text(part, language):
    return os.path.join(options.data, "mt-multi30k", f"{part}.{language}.gz")


def vocabulary(size):
    """A vocabulary of that size. Multi30k alone has not words enough for a large one: other German and English text is taken in."""
    sides = []
    for language in ["de", "en"]:
        files = [text("train", language), *sorted(glob.glob(os.path.join(options.data, f"mt-doc-ende/*.dev.{language}.gz"))),
                 os.path.join(options.data, f"mt-bible/train.{language}.gz")]
        sides.append(os.path.join(folder, f"all.{language}"))
        with open(sides[-1], "wb") as out:
            for file in files:
                with gzip.open(file) as lines:
                    shutil.copyfileobj(lines, out)
    run = tempfile.mkdtemp(dir=folder)
    line = command(size, run, "fp32", options.threads, 1) + ["--model.dim", "16", "--model.ffn", "16", "--model.heads", "2", "--max-updates", "1"]
    line[line.index("--train-src") + 1], line[line.index("--train-tgt") + 1] = sides
    bench.run(line)
    return os.path.join(run, "vocab.spm")


def with_vocabulary(line, file):
    at = line.index("--vocab-size")
    return line[:at] + ["--vocab", file] + line[at + 4:]


def command(size, run, precision, threads, seconds):
    return [os.path.join(bench.BIN, "nmt-train"), "--run", run, "--train-src", text("train", "de"), "--train-tgt", text("train", "en"),
            "--valid-src", text("val", "de"), "--valid-tgt", text("val", "en"), "--vocab-size", str(size["vocabulary"]),
            "--vocab-type", "unigram" if size["vocabulary"] > 10000 else "bpe", "--model.dim", str(size["dim"]), "--model.ffn", str(size["ffn"]),
            "--model.heads", str(size["heads"]), "--model.encoder-layers", str(size["layers"]), "--model.decoder-layers", str(size["layers"]),
            "--model.tie", "all", "--model.dropout", "0.1", "--batch-tokens", str(size["batch_tokens"]), "--max-time", f"{seconds}s",
            "--save-every", "0", "--log-every", "1", "--precision", precision, "--threads", str(threads), "--quiet"]


def ours(size, vocabulary, precision, threads):
    def measure():
        run = tempfile.mkdtemp(dir=folder)
        line = with_vocabulary(command(size, run, precision, threads, options.seconds), vocabulary)
        used = json.loads(bench.run([PYTHON, "-c", "import json, resource, subprocess, sys\n"
                                     "subprocess.run(sys.argv[1:], check=True)\n"
                                     "print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))", *line]))
        with open(os.path.join(run, "metrics.jsonl")) as file:
            events = [json.loads(event) for event in file]
        rates = [event["target-tokens-per-second"] for event in events if event["split"] == "train"]
        shutil.rmtree(run)
        return {"tokens-per-second": statistics.median(rates[2:]), "peak-bytes": used}
    return measure


def peer(size, corpus, threads, precision, env, seconds):
    def measure():
        return json.loads(bench.run([PYTHON, os.path.join(bench.ROOT, "test/bench/pytorch_train.py"), corpus, "--vocabulary", str(size["vocabulary"]),
                                     "--dim", str(size["dim"]), "--ffn", str(size["ffn"]), "--heads", str(size["heads"]), "--layers", str(size["layers"]),
                                     "--batch-tokens", str(size["batch_tokens"]), "--threads", str(threads), "--precision", precision,
                                     "--seconds", str(seconds)], env))
    return measure


def environments():
    """The ways to run PyTorch's BLAS: {name: variables}."""
    coretypes = {"": os.environ.get("OPENBLAS_CORETYPE", "")}
    found = {}
    for blas, core in itertools.product(["openmp", "pthread"], ["set", "unset"]):
        if core == "set" and not coretypes[""] or blas == "pthread" and not os.path.isdir(PTHREAD_BLAS):
            continue
        variables = {}
        if blas == "pthread":
            variables.update(LD_LIBRARY_PATH=PTHREAD_BLAS, OMP_WAIT_POLICY="passive")
        if core == "unset":
            variables["OPENBLAS_CORETYPE"] = ""
        found[f"{blas}, core type {core}"] = variables
    return found


def flops_per_target_token(size, source_per_target):
    """Multiply-adds of the dense products, forward and backward, times two; attention's own products are left out."""
    dim, ffn, layers = size["dim"], size["ffn"], size["layers"]
    encoder = layers * (4 * dim * dim + 2 * dim * ffn)
    decoder = layers * (6 * dim * dim + 2 * dim * ffn) + dim * size["vocabulary"]
    keys = layers * 2 * dim * dim  # of the source, for cross-attention
    return 6 * (decoder + (encoder + keys) * source_per_target)


for name in options.sizes.split(","):
    size = SIZES[name]
    run = os.path.join(folder, "prepared-" + name)
    pieces = vocabulary(size)
    bench.run(with_vocabulary(command(size, run, "fp32", options.threads, 1), pieces))
    corpus = os.path.join(run, "cache/train.tokens")
    trials = {}
    for threads, precision, (blas, env) in itertools.product(sorted({1, options.threads}), ["fp32", "bf16"], environments().items()):
        trial = peer(size, corpus, threads, precision, env, options.seconds / 3)
        trials[f"{threads} threads, {precision}, {blas}"] = (trial()["tokens-per-second"], threads, precision, env)
        print(f"PyTorch {name}: {threads} threads, {precision}, {blas}: {trials[f'{threads} threads, {precision}, {blas}'][0]:.0f} tokens/s", flush=True)
    best = max(trials, key=lambda trial: trials[trial][0])
    _, threads, precision, env = trials[best]
    results = bench.interleaved({
        "bf16": ours(size, pieces, "bf16", options.threads), "fp32": ours(size, pieces, "fp32", options.threads),
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
report.print()
shutil.rmtree(folder)
