"""The trainings that benches measure: nmt-train on Multi30k, German to English, in two sizes."""
import glob
import gzip
import os
import shutil
import tempfile

import bench

SIZES = {
    "S": dict(dim=256, ffn=1024, heads=4, layers=3, vocabulary=8000, batch_tokens=4096),
    "B": dict(dim=512, ffn=2048, heads=8, layers=6, vocabulary=32000, batch_tokens=2048),
}


class Trainings:
    def __init__(self, data):
        self.data = data
        self.folder = tempfile.mkdtemp(prefix="seqmill-bench-")

    def close(self):
        shutil.rmtree(self.folder)

    def text(self, part, language):
        return os.path.join(self.data, "mt-multi30k", f"{part}.{language}.gz")

    def command(self, size, run, vocabulary, options):
        return [os.path.join(bench.BIN, "nmt-train"), "--run", run, "--train-src", self.text("train", "de"), "--train-tgt", self.text("train", "en"),
                "--valid-src", self.text("val", "de"), "--valid-tgt", self.text("val", "en"), *vocabulary, "--model.dim", str(size["dim"]),
                "--model.ffn", str(size["ffn"]), "--model.heads", str(size["heads"]), "--model.encoder-layers", str(size["layers"]),
                "--model.decoder-layers", str(size["layers"]), "--model.tie", "all", "--model.dropout", "0.1",
                "--batch-tokens", str(size["batch_tokens"]), "--save-every", "0", "--validate-every", "1000000", "--log-every", "1", "--quiet", *options]

    def vocabulary(self, size):
        """A vocabulary of that size. Multi30k alone has not words enough for a large one: other German and English text is taken in."""
        sides = []
        for language in ["de", "en"]:
            files = [self.text("train", language), *sorted(glob.glob(os.path.join(self.data, f"mt-doc-ende/*.dev.{language}.gz"))),
                     os.path.join(self.data, f"mt-bible/train.{language}.gz")]
            sides.append(os.path.join(self.folder, f"all.{language}"))
            with open(sides[-1], "wb") as out:
                for file in files:
                    with gzip.open(file) as lines:
                        shutil.copyfileobj(lines, out)
        run = tempfile.mkdtemp(dir=self.folder)
        kind = "unigram" if size["vocabulary"] > 10000 else "bpe"
        line = self.command(size, run, ["--vocab-size", str(size["vocabulary"]), "--vocab-type", kind],
                            ["--model.dim", "16", "--model.ffn", "16", "--model.heads", "2", "--max-updates", "1"])
        line[line.index("--train-src") + 1], line[line.index("--train-tgt") + 1] = sides
        bench.run(line)
        return os.path.join(run, "vocab.spm")

    def measure(self, size, vocabulary, options, launcher=(), env=None):
        """Target tokens per second, the largest memory of a process, the losses by update, and the shares of the time by kind of work."""
        run = tempfile.mkdtemp(dir=self.folder)
        line = [*launcher, *self.command(size, run, ["--vocab", vocabulary], options)]
        figures = bench.measured_training(line, run, env)
        shutil.rmtree(run)
        return figures
