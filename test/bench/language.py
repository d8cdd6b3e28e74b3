"""The language models that benches measure: lm-train on WikiText-2 in two sizes, lm-generate on its validation text, and PyTorch doing the same."""
import gzip
import json
import os
import re
import shutil
import tempfile

import bench

SIZES = {
    "S": dict(dim=256, ffn=688, heads=4, kv_heads=4, layers=6, vocabulary=8000, batch_tokens=4096),
    "B": dict(dim=512, ffn=1376, heads=8, kv_heads=4, layers=8, vocabulary=16000, batch_tokens=2048),
}
LARGE = dict(dim=2048, ffn=5632, heads=32, kv_heads=4, layers=22, vocabulary=32000)
SHAPE = ("dim", "ffn", "heads", "kv_heads", "layers")
WINDOW, POSITIONS = 256, 1024
# What lm-generate says at the end: "... 1 prompts of 30 tokens, 192 tokens generated in 0.50 s: 384.0 tokens/s, 2.00 prompts/s, the first after 0.010 s"
SUMMARY = re.compile(r"prompts of (\d+) tokens, (\d+) tokens generated in [\d.]+ s: [\d.]+ tokens/s.*, the first after ([\d.]+) s")


def flags(size, prefix=""):
    return [text for name in SHAPE for text in (f"--{prefix}{name.replace('_', '-')}", str(size[name]))]


def parameters(size):
    """Of the matrices, without the embedding, and with the output layer alone."""
    dim, width = size["dim"], size["dim"] // size["heads"]
    layer = 2 * dim * dim + 2 * dim * size["kv_heads"] * width + 3 * dim * size["ffn"]
    return size["layers"] * layer + dim * size["vocabulary"]


class Models:
    """All files lie in a folder of its own, which close() removes."""

    def __init__(self, data):
        self.data = os.path.join(data, "lm-wikitext2")
        self.folder = tempfile.mkdtemp(prefix="seqmill-bench-")

    def close(self):
        shutil.rmtree(self.folder)

    def remove(self, path):
        shutil.rmtree(path)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    # Training

    def train_command(self, size, run, vocabulary, options):
        text = lambda part: os.path.join(self.data, part + ".txt.gz")
        return [os.path.join(bench.BIN, "lm-train"), "--run", run, "--train", text("train"), "--valid", text("valid"), "--format", "text", *vocabulary,
                "--model.type", "llama", *flags(size, "model."), "--model.max-positions", str(POSITIONS), "--window", str(WINDOW), "--batch-tokens",
                str(size["batch_tokens"]), "--save-every", "0", "--validate-every", "1000000", "--schedule", "constant", "--log-every", "1", "--quiet", *options]

    def prepare(self, name, updates):
        """A run of so many updates, with a vocabulary of its own."""
        size, run = SIZES[name], self.path("run-" + name)
        bench.run(self.train_command(size, run, ["--vocab-size", str(size["vocabulary"])], ["--max-updates", str(updates)]))
        return run

    def measure_training(self, size, vocabulary, options):
        run = tempfile.mkdtemp(dir=self.folder)
        figures = bench.measured_training(self.train_command(size, run, ["--vocab", vocabulary], options), run)
        shutil.rmtree(run)
        return figures

    def pytorch_training(self, size, corpus, threads, precision, env, seconds):
        return self.pytorch("train", size, threads, precision, env,
                            [corpus, "--window", str(WINDOW), "--batch-tokens", str(size["batch_tokens"]), "--seconds", str(seconds)])

    # Decoding

    def prompts(self, count, words):
        """A file of so many lines of validation text, of so many words each."""
        path = self.path(f"prompts.{count}.{words}")
        with gzip.open(os.path.join(self.data, "valid.txt.gz"), "rt") as lines:
            text = lines.read().split()
        with open(path, "w") as out:
            for i in range(count):
                begin = i * words % (len(text) - words)
                out.write(" ".join(text[begin:begin + words]) + "\n")
        return path

    def generate(self, model, backend, precision, prompts, samples, new_tokens, batch, threads):
        """Tokens a second, without start and load; seconds until the first token, likewise; tokens of a prompt; seconds and peak memory of the whole program."""
        line = [os.path.join(bench.BIN, "lm-generate"), "--model", model, "--backend", backend, "--precision", precision, "--format", "text",
                "--temperature", "1", "--samples", str(samples), "--max-new-tokens", str(new_tokens), "--min-new-tokens", str(new_tokens),
                "--batch", str(batch), "--threads", str(threads)]
        start = bench.watched(line)["seconds"]
        figures = bench.watched(line, prompts)
        records = [json.loads(record) for record in figures["out"].splitlines()]
        tokens = sum(hypothesis["length"] for record in records for hypothesis in record["hypotheses"])
        said = SUMMARY.search(figures["err"])
        if not said or int(said[2]) != tokens or tokens != len(records) * samples * new_tokens:
            raise SystemExit(f"{' '.join(line)}: {tokens} tokens in {len(records)} records; it says: {figures['err'][-1000:]}")
        return {"tokens-per-second": tokens / (figures["seconds"] - start), "seconds-to-first-token": float(said[3]), "start": start,
                "prompt-tokens": int(said[1]) / len(records), "seconds": figures["seconds"], "peak-bytes": figures["peak-bytes"]}

    def pytorch_decoding(self, size, prompt_tokens, new_tokens, batch, repeats, threads, precision, env):
        return self.pytorch("generate", size, threads, precision, env, ["--batch", str(batch), "--prompt-tokens", str(prompt_tokens), "--new-tokens",
                                                                        str(new_tokens), "--repeats", str(repeats)])

    def pytorch(self, command, size, threads, precision, env, options):
        program = os.path.join(bench.ROOT, "test/bench/pytorch_lm.py")
        return json.loads(bench.run([bench.PYTHON, program, command, *options, "--vocabulary", str(size["vocabulary"]), *flags(size),
                                     "--threads", str(threads), "--precision", precision], env))
