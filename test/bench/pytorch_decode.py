"""Decodes a random Transformer with PyTorch, as the outside baseline of `scripts/bench.sh decode`.

Keys and values are cached, sentences are sorted by length and padded in batches, beam rows are reordered with index_select: the way such a decoder is usually
written with PyTorch's operators. Every sentence gets the same number of tokens. Prints one JSON object.
"""
import argparse
import json
import math
import resource
import time

import torch
from pytorch_train import read_corpus
from torch.nn import functional


class Weights:
    """Of one Transformer, pre-norm, all embeddings tied; numbers do not matter here."""

    def __init__(self, vocabulary, dim, ffn, layers):
        matrix = lambda rows, columns: (torch.randn(rows, columns) * columns ** -0.5, torch.zeros(rows))
        norm = lambda: (torch.ones(dim), torch.zeros(dim))
        self.embedding = torch.randn(vocabulary, dim) * dim ** -0.5
        self.bias = torch.zeros(vocabulary)
        layer = lambda: dict(norm=norm(), qkv=matrix(3 * dim, dim), out=matrix(dim, dim), cross_norm=norm(), cross_q=matrix(dim, dim),
                             cross_kv=matrix(2 * dim, dim), cross_out=matrix(dim, dim), ffn_norm=norm(), up=matrix(ffn, dim), down=matrix(dim, ffn))
        self.encoder, self.decoder = [layer() for _ in range(layers)], [layer() for _ in range(layers)]
        self.encoder_norm, self.decoder_norm = norm(), norm()
        position = torch.arange(2048).unsqueeze(1) * torch.exp(torch.arange(dim // 2) * (-math.log(10000.0) / (dim // 2)))
        self.positions = torch.cat([position.sin(), position.cos()], 1)


class Decoder:
    def __init__(self, weights, heads, dim):
        self.w, self.heads, self.dim = weights, heads, dim

    def normed(self, x, norm):
        return functional.layer_norm(x, (self.dim,), *norm)

    def split(self, x):
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def attend(self, q, k, v, hidden=None):
        scores = q @ k.transpose(2, 3) / math.sqrt(q.size(3))
        if hidden is not None:
            scores = scores.masked_fill(hidden[:, None, None, :], float("-inf"))
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(q.size(0), q.size(2), self.dim)

    def feed_forward(self, x, layer):
        return x + functional.linear(functional.relu(functional.linear(self.normed(x, layer["ffn_norm"]), *layer["up"])), *layer["down"])

    def embed(self, tokens, first):
        return self.w.embedding[tokens] * math.sqrt(self.dim) + self.w.positions[first:first + tokens.size(1)]

    def encode(self, source, hidden):
        x = self.embed(source, 0)
        for layer in self.w.encoder:
            q, k, v = (self.split(part) for part in functional.linear(self.normed(x, layer["norm"]), *layer["qkv"]).chunk(3, -1))
            x = self.feed_forward(x + functional.linear(self.attend(q, k, v, hidden), *layer["out"]), layer)
        return self.normed(x, self.w.encoder_norm)

    def decode(self, source, beam, steps, pad):
        hidden = (source == pad).repeat_interleave(beam, 0)
        memory = self.encode(source, source == pad)
        cross = []
        for layer in self.w.decoder:
            keys, values = functional.linear(memory, *layer["cross_kv"]).chunk(2, -1)
            cross.append(tuple(self.split(part).repeat_interleave(beam, 0) for part in (keys, values)))
        rows = source.size(0) * beam
        caches = [None] * len(self.w.decoder)
        tokens = torch.ones(rows, 1, dtype=torch.long)
        scores = torch.zeros(source.size(0), beam)
        scores[:, 1:] = float("-inf")
        first_row = torch.arange(source.size(0)).unsqueeze(1) * beam
        for step in range(steps):
            x = self.embed(tokens, step)
            for i, layer in enumerate(self.w.decoder):
                q, k, v = (self.split(part) for part in functional.linear(self.normed(x, layer["norm"]), *layer["qkv"]).chunk(3, -1))
                if caches[i] is not None:
                    k, v = torch.cat([caches[i][0], k], 2), torch.cat([caches[i][1], v], 2)
                caches[i] = (k, v)
                x = x + functional.linear(self.attend(q, k, v), *layer["out"])
                q = self.split(functional.linear(self.normed(x, layer["cross_norm"]), *layer["cross_q"]))
                x = x + functional.linear(self.attend(q, *cross[i], hidden), *layer["cross_out"])
                x = self.feed_forward(x, layer)
            logits = functional.linear(self.normed(x[:, -1], self.w.decoder_norm), self.w.embedding, self.w.bias)
            if beam == 1:
                tokens = logits.argmax(-1, keepdim=True)
                continue
            total = scores.view(-1, 1) + logits.log_softmax(-1)
            scores, best = total.view(source.size(0), -1).topk(beam, -1)
            parents = (first_row + best // logits.size(-1)).view(-1)
            tokens = (best % logits.size(-1)).view(-1, 1)
            caches = [(k.index_select(0, parents), v.index_select(0, parents)) for k, v in caches]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", help="RUN/cache/valid.tokens of an nmt-train run")
    for name in ["vocabulary", "dim", "ffn", "heads", "layers", "threads", "sentences", "joined", "batch", "beam", "steps"]:
        parser.add_argument("--" + name, type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    pad, eos = 3, 2
    decoder = Decoder(Weights(options.vocabulary, options.dim, options.ffn, options.layers), options.heads, options.dim)
    lines = [source.tolist() for source, _ in read_corpus(options.corpus)]
    joined = lambda i: [token for j in range(options.joined) for token in lines[(i * options.joined + j) % len(lines)]]
    sources = [torch.tensor([*joined(i), eos]) for i in range(options.sentences)]
    sources.sort(key=len, reverse=True)
    batches = [torch.nn.utils.rnn.pad_sequence(sources[i:i + options.batch], True, pad) for i in range(0, len(sources), options.batch)]
    with torch.inference_mode():
        decoder.decode(batches[-1], options.beam, 2, pad)
        begin = time.perf_counter()
        for batch in batches:
            decoder.decode(batch, options.beam, options.steps, pad)
        seconds = time.perf_counter() - begin
    print(json.dumps({"tokens-per-second": len(sources) * options.steps / seconds,
                      "peak-bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
